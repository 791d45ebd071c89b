"""FLAN's patterns: rendered as ``str.format`` renders them, files that are malformed, what is filtered."""

from __future__ import annotations

import gzip
import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iml_jax.bench.sources.flan.fields import forms
from iml_jax.bench.sources.flan.patterns import (
    OPTION_FIELDS,
    PatternError,
    Template,
    changes_task,
    filtered,
    load,
    parse,
    templates_of,
)
from iml_jax.foundation.errors import UserError

NAMES = ("premise", "options_", "a1", "_b")
VALUES = {"premise": "It {rains}.", "options_": "OPTIONS:\n- {{", "a1": "}", "_b": ""}
PIECES = st.one_of(
    st.text(st.characters(exclude_characters="{}", exclude_categories=("Cs",)), max_size=8),
    st.sampled_from(("{{", "}}", *(f"{{{name}}}" for name in NAMES))),
)
# What a target may also be made of than the answer: translation goes both ways.
BACKWARDS = {("para_crawl", "sent1"), ("wmt14_enfr", "sent1"), ("wmt16_translate", "sent1")}


@given(st.lists(PIECES, max_size=12).map("".join))
def test_rendered_as_python_formats(text: str) -> None:
    pattern = parse(text)
    assert pattern.render(VALUES) == text.format(**VALUES)
    named = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    assert pattern.fields == named
    assert pattern.text == text


@pytest.mark.parametrize(
    "text",
    [
        "{premise.__class__}",
        "{premise[0]}",
        "{premise!r}",
        "{premise:>10}",
        "{0}",
        "{}",
        "{ premise}",
        "{premise",
        "a } b",
        "{a{b}}",
        "{{{",
        "{prémisse}",
    ],
)
def test_nothing_but_named_fields(text: str) -> None:
    with pytest.raises(PatternError, match="braces hold the name of a field"):
        parse(text)


def test_a_missing_value_leaves_out_its_line_or_the_pattern() -> None:
    assert parse("{fact}\n{question}\n {fact} \nEnd").render({"question": "Q"}) == "Q\nEnd"
    assert parse("Fact: {fact}\n{question}").render({"question": "Q"}) is None
    assert parse("{fact}\n{question} {fact}").render({"question": "Q"}) is None
    assert parse("{fact}").render({}) is None
    assert parse("{fact}\nWrite.").render({}) is None
    assert parse("{fact}\n{question}").render({"question": "Q", "fact": ""}) == "\nQ"


def _file(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_json_and_python_files(tmp_path: Path) -> None:
    wanted = {"rte": [["{premise}\nso?", "{answer}"]], "snli": []}
    assert load(_file(tmp_path / "a.json", wanted)) == wanted
    assert load(_file(tmp_path / "b.json.gz", wanted)) == wanted
    module = (
        '"""Templates."""\nimport os\nos.abort()\n'
        'OTHER = {}\nPATTERNS = {\n  "rte": [("{premise}"\n   "\\nso?", "{answer}"),],\n  "snli": [],\n}\n'
        "PATTERNS = None\n"
    )
    read = load(_file(tmp_path / "templates.py", module))
    assert read == {"rte": [("{premise}\nso?", "{answer}")], "snli": []}
    (template,) = templates_of(read, "rte", forms()["rte"].fields, tmp_path)
    assert (template.index, template.name, template.source.text) == (0, "0", "{premise}\nso?")
    assert templates_of(read, "wnli", forms()["wnli"].fields, tmp_path) == []
    _file(tmp_path / "a.json", {"rte": []})  # a changed file is read anew
    assert load(tmp_path / "a.json") == {"rte": []}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "[1]", "no mapping of tasks to patterns"),
        ("a.json", '{"rte": [', "a.json:1: malformed JSON"),
        ("a.json", "[" * 100_000, "a.json:1: JSON that cannot be read"),
        ("a.py", "x = 1", "assigns no PATTERNS"),
        ("a.py", "a = 1\nPATTERNS = {", "a.py:2: not Python"),
        ("a.py", "PATTERNS = {'a': open('/etc/passwd')}", "PATTERNS is no literal"),
        ("a.py", "PATTERNS = " + "(" * 5_000 + ")" * 5_000, "a.py"),
        ("a.py", "PATTERNS = [1]", "no mapping of tasks to patterns"),
        ("a.py", "PATTERNS = {1: []}", "no mapping of tasks to patterns"),
        ("missing.json", None, "missing.json: cannot be read"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        _file(tmp_path / name, content)
    with pytest.raises(UserError, match=says) as raised:
        load(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({}, "'rte' is a dict; it must be a list of pairs"),
        ([["{premise}"]], r"t.json: rte\[0\]: no pair"),
        ([["a", "b"], {"inputs": "a"}], r"rte\[1\]: no pair"),
        ([["a", 3]], r"rte\[0\]: no pair"),
        ([["{premise", "{answer}"]], r"rte\[0\]: '\{premise': braces"),
        (
            [["{context}", "{answer}"]],
            r"rte\[0\]: no field 'context'; the task has answer, glm_answer, hypothesis",
        ),
    ],
)
def test_malformed_patterns(entries: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        templates_of({"rte": entries}, "rte", forms()["rte"].fields, Path("t.json"))


def _every(path: Path) -> list[tuple[str, Template]]:
    """(key, template) of every pattern of FLAN's tasks in a public file."""
    content = load(path)
    by_key = {form.patterns: form for form in forms().values()}
    return [
        (key, template)
        for key, form in by_key.items()
        for template in templates_of(content, key, form.fields, path)
    ]


def _asks_for_the_answer(key: str, template: Template) -> bool:
    target = next(form.target.name for form in forms().values() if form.patterns == key)
    asked = template.target.fields - OPTION_FIELDS
    return asked <= {"answer", target} or any((key, field) in BACKWARDS for field in asked)


def test_all_610_public_patterns(shared: Path) -> None:
    """The 610 patterns of 2021 render as ``str.format`` does, and those filtered are the reversed ones."""
    every = _every(shared / "data" / "flan" / "templates_v1.json")
    assert len(every) == 610
    for key, template in every:
        fields = next(form.fields for form in forms().values() if form.patterns == key)
        for number, pattern in enumerate((template.source, template.target)):
            for values in (
                {name: f"<{name} {number}>" for name in fields},
                {name: f"{{{name}}} }}{{\n" for name in fields},
                dict.fromkeys(fields, ""),
            ):
                assert pattern.render(values) == pattern.text.format(**values)
    removed = {(key, template.index) for key, template in every if changes_task(key, template)}
    assert removed == set(filtered())  # the table has no row that meets no template
    asked = {(key, template.index) for key, template in every if not _asks_for_the_answer(key, template)}
    assert asked < removed
    # Besides, those that ask for the answer and do not give what it is to be made from.
    assert removed - asked == {
        ("opinion_abstracts_idebate", 2),
        ("opinion_abstracts_idebate", 3),
        ("opinion_abstracts_rotten_tomatoes", 6),
        ("para_crawl", 8),
        ("para_crawl", 9),
        ("wmt14_enfr", 8),
        ("wmt16_translate", 8),
    }
    kept = sum(10 - sum(key == form.patterns for key, _ in removed) for form in forms().values())
    assert kept == 591  # 8.4 a task; OPT-IML's table 1 has 8.5


def test_the_patterns_of_2022(shared: Path) -> None:
    """FLAN v2 reworded 322 of them; of the reversed ones it turned three back, and these are kept."""
    every = _every(shared / "data" / "flan" / "templates_v2_zeroshot.json.gz")
    assert len(every) == 610
    removed = {(key, template.index) for key, template in every if changes_task(key, template)}
    assert set(filtered()) - removed == {("copa", 9), ("imdb_reviews", 7), ("imdb_reviews", 8)}
    assert all(
        _asks_for_the_answer(key, template) for key, template in every if (key, template.index) not in removed
    )
