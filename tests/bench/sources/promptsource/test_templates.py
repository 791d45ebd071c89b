"""templates.yaml is read as data: no tags that build objects, no aliases, no surprises in its fields."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from iml_jax.bench.sources.promptsource.templates import PromptTemplate, load_templates, told_apart
from iml_jax.foundation.errors import UserError

GOOD = """\
dataset: d
templates:
  11111111-0000: !Template
    answer_choices: no ||| yes
    id: 11111111-0000
    jinja: '{{a}} ||| {{answer_choices[label]}}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      languages:
      - en
      metrics:
      - Accuracy
      original_task: true
    name: same
    reference: ''
  22222222-0000: !Template
    answer_choices: null
    id: 22222222-0000
    jinja: b ||| c
    metadata: !TemplateMetadata {}
    name: same
    reference: ''
"""


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def test_names_are_told_apart_in_linear_time() -> None:
    names = [Counted(f"template {number // 2 if number < 100 else number}") for number in range(1000)]
    templates = [(str(number), PromptTemplate(name, "", "", True, ())) for number, name in enumerate(names)]
    Counted.compared = 0
    found = [template.name for template in told_apart(templates)]
    assert Counted.compared <= 2 * len(names)
    assert found[:3] == ["template 0 0", "template 0 1", "template 1 2"]
    assert found[100:] == names[100:]


def test_fields_and_repeated_names(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(GOOD)
    aliased = GOOD.replace("- Accuracy", "- &metric Accuracy").replace("ta {}", "ta {metrics: [*metric]}")
    path.write_text(aliased)  # as in the public squad_v2
    assert [template.metrics for template in load_templates(path)] == [("Accuracy",)] * 2
    path.write_text(GOOD)
    first, second = load_templates(path)
    assert (first.name, second.name) == ("same 11111111-0000", "same 22222222-0000")
    assert first.ranks_choices and first.original_task and first.metrics == ("Accuracy",)
    assert (second.answer_choices, second.original_task, second.ranks_choices) == ("", False, False)


def test_choices_as_the_first_files_have_them(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(
        GOOD.replace("answer_choices: no ||| yes", "answer_choices: ['No', 'Yes, so']").replace(
            "answer_choices: null", "answer_choices: null\n    answer_choices_key: candidates"
        )
    )
    first, second = load_templates(path)
    assert first.answer_choices == "No|||Yes, so"
    assert second.answer_choices == "{{ candidates | join('|||') }}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("!Template\n", "!!python/object/apply:os.system\n", "templates.yaml:3: malformed"),
        ("!Template\n", "!Other\n", "templates.yaml:3: malformed"),
        ("id: 11111111-0000", "id: [", "templates.yaml"),
        ("jinja: b ||| c", "jinja: 3", "'jinja' is a int"),
        ("jinja: b ||| c", "jinja: null", "'jinja' is a NoneType"),
        ("name: same", "name: [a]", "'name' is a list"),
        ("metadata: !TemplateMetadata {}", "metadata: [x]", "'metadata' is no mapping"),
        ("templates:", "other:", "no mapping 'templates'"),
        ("dataset: d", "dataset: \x01", "malformed"),
        ("dataset: d", "dataset: 2020-99-99", "malformed"),
        ("dataset: d", "dataset: &a [*a]", "YAML alias"),
        ("dataset: d", "dataset: " + "[" * 100 + "]" * 100, "nested deeper than 32"),
        ("dataset: d", "? [a]\n: b", "malformed"),
    ],
)
def test_malformed_templates(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_templates(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_billion_laughs_and_a_deep_well_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
    )
    for content in (laughs, "templates: " + "[" * 200_000):
        path.write_text(content)
        started = time.process_time()
        with pytest.raises(UserError, match=r"templates\.yaml:\d+: (YAML aliases that repeat|nested deeper)"):
            load_templates(path)
        assert time.process_time() - started < 60  # not a speed test: unbounded growth would never return


def test_the_public_templates_load(shared: Path) -> None:
    folder = shared / "data" / "promptsource" / "templates"
    counts = [len(load_templates(path)) for path in sorted(folder.rglob("templates.yaml"))]
    assert sum(counts) == 1897  # the number given in ../shared/data/README.md
