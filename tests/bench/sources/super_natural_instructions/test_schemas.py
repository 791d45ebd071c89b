"""What the published schemas of Super-NaturalInstructions differ in: instruction, category, options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.super_natural_instructions import schemas
from iml_jax.bench.sources.super_natural_instructions.schemas import derive_options
from iml_jax.foundation.errors import UserError

PATH = Path("a.json")


@pytest.mark.parametrize(
    ("content", "instruction"),
    [
        ({"Definition": [" Do it. ", "Not this."]}, "Do it."),
        ({"Definition": "Do it."}, "Do it."),
        ({"Definition": []}, ""),
        (
            {
                "Title": "T",
                "Prompt": "P",
                "Definition": "Do it. ",
                "Things to Avoid": "No that.",
                "Emphasis & Caution": " Heed. ",
            },
            "Do it. No that. Heed.",
        ),
        ({"Definition": "Do.", "Things to Avoid": "-", "Emphasis & Caution": " - "}, "Do."),
    ],
)
def test_instruction(content: dict[str, Any], instruction: str) -> None:
    assert schemas.instruction(content, PATH) == instruction


@pytest.mark.parametrize("key", ["Definition", "Things to Avoid", "Emphasis & Caution"])
@pytest.mark.parametrize("value", [3, None, [3], "\ud800"])
def test_instruction_that_is_no_text(key: str, value: object) -> None:
    if key != "Definition" and value == [3]:
        value = ["a list"]
    with pytest.raises(UserError, match=rf"a.json: '{key}' must be a string"):
        schemas.instruction({"Definition": "d", key: value}, PATH)


@pytest.mark.parametrize(
    ("task", "category"),
    [
        ("subtask003_mctaco_question_generation_event_duration", "Question Generation"),
        ("subtask046_miscellaenous_question_typing", "Question Understanding"),  # version 2 spells it right
        ("subtask999_mine", "Uncategorised: subtask999_mine"),
        ("task003_mctaco_question_generation_event_duration", "Question Generation"),
        ("own", "Uncategorised: own"),
    ],
)
def test_category_without_categories(tmp_path: Path, task: str, category: str) -> None:
    path = tmp_path / f"{task}.json"
    path.write_text(json.dumps({"Definition": "d", "Instances": []}))
    assert schemas.category(path, task) == category


def test_categories_of_old_schemas(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"Categories": ["Classification"], "Definition": "d", "Instances": []}))
    assert schemas.category(path, "task318_stereoset_classification_gender") == "Stereotype Detection"
    assert schemas.category(path, "task9999_mine") == "Classification"


def test_category_behind_a_long_head(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"Definition": '"Categories": ["no"] ' + "é" * 40_000, "Categories": "Yes", "Instances": []}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert schemas.category(path, "a") == "Yes"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", 3),
        ("input", ["a"]),
        ("output", {}),
        ("output", [1]),
        ("explanation", {}),
        ("explanation", 2),
    ],
)
def test_demonstrations_that_are_no_text(name: str, value: object) -> None:
    example = {"input": "i", "output": "o", "explanation": "e"}
    content = {"Positive Examples": ["-", example, example | {name: value}]}
    with pytest.raises(UserError, match=rf"a.json: '{name}' of Positive Examples\[2\] is no text; fix"):
        list(schemas.demonstrations(content, PATH))


def test_demonstrations_of_every_schema() -> None:
    shown = {"input": " i ", "output": ["o ", "p"], "reason": "r"}
    for content in ({"Positive Examples": [shown]}, {"Examples": {"Positive Examples": [shown, "-"]}}):
        assert [(entry.source, entry.target) for entry in schemas.demonstrations(content, PATH)] == [
            ("i", "o")
        ]
    assert not list(schemas.demonstrations({"Examples": {"Positive Examples": "-"}}, PATH))
    assert not list(schemas.demonstrations({"Examples": "-"}, PATH))


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([("i", ("yes",)), ("j", ("no",))] * 10, ("no", "yes")),
        ([("i", ("yes",)), ("j", ("no",))] * 9 + [("k", ())] * 5, ()),  # too few instances
        ([("i", ("yes",))] * 99, ()),  # one answer only
        ([("i", (str(index),)) for index in range(21)] * 30, ()),  # too many answers
        ([("i", ("yes",)), ("j", ("no",))] * 50 + [("k", ("yes", "no"))], ()),  # two right answers
        ([("i", ("y" * 41,)), ("j", ("no",))] * 50, ()),
        ([("i", ("a\nb",)), ("j", ("no",))] * 50, ()),
    ],
)
def test_options_only_of_closed_sets(rows: list, options: tuple[str, ...]) -> None:
    assert derive_options(rows) == options
    assert derive_options(rows[::-1]) == options


def test_categories_of_version_1(shared: Path) -> None:
    known = {row.category for row in known_tasks.every(schemas.BENCHMARK)}
    paths = sorted((shared / "data/superni/v1_tasks").iterdir())
    assert {schemas.category(path, path.name.removesuffix(".json.gz")) for path in paths} <= known
    assert len(paths) == 35


def test_categories_of_the_final_files(shared: Path) -> None:
    """The list and the files of the final schema name the same."""
    paths = sorted((shared / "data/superni/tasks").iterdir())
    for path in paths:
        task = path.name.removesuffix(".json.gz")
        assert schemas.survey((path,)).head["Categories"] == [schemas.category(path, task)]
    assert len(paths) == 192


def test_version_1_says_what_version_2_says(shared: Path) -> None:
    """Where version 2 took a field over unchanged, its definition has it after the first one's text."""
    path = shared / "data/superni/v1_tasks/subtask059_ropes_story_generation.json.gz"
    later = shared / "data/superni/tasks/task059_ropes_story_generation.json.gz"
    ours = schemas.instruction(schemas.survey((path,)).head, path)
    theirs = schemas.instruction(schemas.survey((later,)).head, later)

    def words(text: str) -> list[str]:  # version 2 fixed punctuation and numbering
        return [word.strip(".,") for word in text.split() if word not in ("1.", "2.")]

    assert words(ours) == words(theirs)


@pytest.mark.parametrize(
    ("first", "odd", "told"),
    [
        ({}, {"input": "b", "output": "y"}, "no list as 'output'"),
        ({}, {"id": "1", "input": "b", "output": ["y"]}, "an 'id'"),
        ({"id": "0"}, {"input": "b", "output": ["y"]}, "no 'id'"),
        ({"id": 0}, {"id": None, "input": "b", "output": ["y"]}, "no 'id'"),
    ],
)
def test_instances_of_a_file_are_alike(
    tmp_path: Path, first: dict[str, object], odd: dict[str, object], told: str
) -> None:
    path = tmp_path / "task1_a.json"
    instances = [{**first, "input": "a", "output": ["x"]}, odd]
    path.write_text(json.dumps({"Definition": ["d"], "Instances": instances}))
    with pytest.raises(UserError, match=rf"task1_a\.json: Instances\[1\] has {told}, unlike those before it"):
        list(schemas.instances(path))
    path.write_text(json.dumps({"Instances": [{**one, "output": "x"} for one in ({"input": "a"},) * 2]}))
    assert len(list(schemas.instances(path))) == 2
