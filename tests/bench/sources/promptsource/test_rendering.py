"""One template on one row: separators, targets, choices, and whose mistake a failure is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.formats.bounds import text_length
from iml_jax.bench.sources.promptsource.rendering import Renderer
from iml_jax.bench.sources.promptsource.sandbox import MissingColumnError
from iml_jax.bench.sources.promptsource.template_limits import NullPrintedError
from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.foundation.errors import UserError


def _renderer(jinja: str, choices: str = "", metric: str = "Accuracy") -> Renderer:
    return Renderer(PromptTemplate("t", jinja, choices, True, (metric,)), Path("templates.yaml"))


def _render(jinja: str, row: dict[str, Any], choices: str = "", metric: str = "Accuracy") -> Any:
    return _renderer(jinja, choices, metric).render(row, 0, "rows.jsonl:1")


def test_both_sides_are_stripped_and_choices_offered() -> None:
    made = _render(
        "\n{{a}} {{answer_choices | join(', ')}}?\n|||\n {{answer_choices[label]}} \n",
        {"a": "x", "label": 1},
        "no ||| {{a}} yes|||no",
    )
    assert (made.prompt, made.references, made.options) == ("x no, x yes, no?", ("x yes",), ("no", "x yes"))


def test_several_targets_are_references() -> None:
    assert _render("q ||| a ||| b ||| a |||", {}).references == ("a", "b")


def test_a_separator_in_the_row_is_text() -> None:
    row = {"a": "one ||| two", "choices": ["x|||y", "z"]}
    made = _render("{{a}} ||| {{answer_choices[0]}}", row, "{{ choices | join('|||') }}")
    assert (made.prompt, made.references) == ("one ||| two", ("x|||y",))
    assert made.options == ("x|||y", "z")


@pytest.mark.parametrize("jinja", ["{% if a == 'no' %}q ||| t{% endif %}", "||| t", "q |||", "q", " ||| "])
def test_templates_that_do_not_apply(jinja: str) -> None:
    assert _render(jinja, {"a": "yes"}) is None


def test_choices_are_options_only_where_accuracy_ranks_them() -> None:
    assert _render("q ||| a, since b", {}, "a ||| b", "Other").options == ()


def test_rows_are_not_changed() -> None:
    row = {"list": [1, 2], "map": {"k": ["v"]}}
    before = copy.deepcopy(row)
    made = _render("{{ list.append(3) or '' }}{{ map.k.pop() }}{{ list | length }} ||| t", row)
    assert made.prompt == "v3"
    assert row == before


def test_a_missing_column_and_an_empty_field() -> None:
    with pytest.raises(MissingColumnError) as caught:
        _render("{{lable}} ||| t", {"label": 0})
    assert caught.value.column == "lable"
    assert _render("{{ answers[0] }} ||| t", {"answers": []}) is None
    assert _render("q {{ answers[0] }} ||| t", {"answers": []}).prompt == "q"
    with pytest.raises(ValueError, match="not in list"):
        _render("{{ answers.index('B') }} ||| t", {"answers": ["A"]})
    with pytest.raises(ValueError, match="the row has a column 'answer_choices'"):
        _render("{{ answers }} ||| t", {"answers": ["A"], "answer_choices": ["B"]})


@pytest.mark.parametrize("jinja", ["{{ a }}", "x {{ a ~ 'y' }}", "{{ answer_choices }}"])
@pytest.mark.parametrize("null", [None, float("nan")])
def test_a_null_is_never_printed_as_a_word(jinja: str, null: object) -> None:
    with pytest.raises(NullPrintedError):
        _render(f"{jinja} ||| t", {"a": null})


@pytest.mark.parametrize(
    ("jinja", "message"),
    [
        ("a\n{% if %} ||| t", "template 't', line 2"),
        ("{{ a | nothing }} ||| t", "nothing"),
        ("{% include 'x' %} ||| t", "Include is not allowed"),
        ("{{ a ||| t", "template 't', line 1"),
    ],
)
def test_templates_that_cannot_be_compiled(jinja: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        _renderer(jinja)
    assert message in str(caught.value)
    assert str(caught.value).startswith("templates.yaml: template 't'")
    assert "\n" not in str(caught.value)


def test_too_much_work_names_template_and_row() -> None:
    with pytest.raises(UserError, match=r"template 't' on rows\.jsonl:1: a range of more than"):
        _render("{% for i in range(10**9) %}x{% endfor %} ||| t", {})


def test_text_length_counts_nested_texts() -> None:
    assert text_length({"a": "xy", "b": [{"c": "z"}, 3, None]}) == 3
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    assert text_length(deep) == 1
