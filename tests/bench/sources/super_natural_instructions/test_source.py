"""Every published schema of Super-NaturalInstructions, roles, splits, derived options, malformed files."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench import known_tasks, roles
from iml_jax.bench.example import Example
from iml_jax.bench.sources.super_natural_instructions.contamination import contaminated
from iml_jax.bench.sources.super_natural_instructions.source import SuperNaturalInstructions
from iml_jax.foundation.errors import UserError

UPSTREAM: dict[str, Any] = {
    "Contributors": ["A"],
    "Source": ["s"],
    "URL": [""],
    "Categories": ["Question Answering", "Other"],
    "Reasoning": [],
    "Definition": ['Answer it. "Categories": no.'],
    "Input_language": ["English"],
    "Output_language": ["English"],
    "Instruction_language": ["English"],
    "Domains": ["Web"],
    "Positive Examples": [{"input": "pi ", "output": " po", "explanation": "e"}],
    "Negative Examples": [],
    "Instances": [
        {"id": "t-0", "input": " What? ", "output": ["this", " this", "that"]},
        {"id": "t-1", "input": "Which?", "output": [" "]},
        {"id": "t-1", "input": "Who?", "output": ["me"]},
        {"id": "t-1", "input": "Me?", "output": ["you \ud800"]},
    ],
    "Instance License": ["x"],
}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _all(source: SuperNaturalInstructions) -> tuple[dict[tuple[str, str], list[Example]], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    found = {
        (task.task, split): list(source.examples(task, split, skipped))
        for task in source.tasks()
        for split in task.splits
    }
    return found, dict(skipped)


def _numbered(count: int, answers: str = "ab") -> list[dict[str, Any]]:
    return [{"input": f"i{index}", "output": [answers[index % len(answers)]]} for index in range(count)]


def test_upstream_schema(tmp_path: Path) -> None:
    _write(tmp_path / "task001_odd-man.json.gz", UPSTREAM)
    source = pickle.loads(pickle.dumps(SuperNaturalInstructions(str(tmp_path))))
    (task,) = source.tasks()
    assert (task.key, task.category, task.role, task.splits, task.metric) == (
        "super_natural_instructions:task001_odd-man",
        "Question Answering",
        "train",
        ("train",),
        "rouge_l_stemmed",
    )
    found, skipped = _all(source)
    first, second = found["task001_odd-man", "train"]
    assert (first.source, first.references, first.example_id) == ("What?", ("this", "that"), "t-0")
    assert first.instruction == 'Answer it. "Categories": no.'
    assert [(shown.source, shown.target) for shown in first.demonstrations] == [("pi", "po")]
    assert (second.example_id, second.source) == ("t-1#2", "Who?")
    assert skipped == {"no reference": 1, "text that is not valid Unicode": 1}


def test_relatives_of_the_schema(tmp_path: Path) -> None:
    early = {"Categories": ["Classification"], "Definition": "Do.", "Instances": _numbered(2)}
    version_1 = {
        "Title": "t",
        "Definition": "Do.",
        "Examples": {"Positive Examples": [{"input": "i", "output": "o", "reason": "r"}, "-"]},
        "Instances": _numbered(1),
    }
    sapt = {"Categories": "Sentiment", "Definition": ["Do."], "Instances": [{"input": "i", "output": "o"}]}
    _write(tmp_path / "early.json", early)
    _write(tmp_path / "subtask1.json", version_1)
    for split in ("train", "dev", "test"):
        _write(tmp_path / "sapt" / f"{split}.json", sapt | {"Instances": [{"input": split, "output": "o"}]})
    source = SuperNaturalInstructions(str(tmp_path), held_out_instances=0)
    assert {task.task: (task.category, task.splits) for task in source.tasks()} == {
        "early": ("Classification", ("train",)),
        "sapt": ("Sentiment", ("train", "validation", "test")),
        "subtask1": ("Uncategorised: subtask1", ("train",)),
    }
    found, skipped = _all(source)
    assert {key: [example.source for example in examples] for key, examples in found.items()} == {
        ("early", "train"): ["i0", "i1"],
        ("sapt", "train"): ["train"],
        ("sapt", "validation"): ["dev"],
        ("sapt", "test"): ["test"],
        ("subtask1", "train"): ["i0"],
    }
    assert [shown.target for shown in found["subtask1", "train"][0].demonstrations] == ["o"]
    assert not skipped


def test_roles_and_evaluation_instances(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _write(tmp_path / "tasks" / f"{name}.json", UPSTREAM | {"Instances": _numbered(150)})
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "train_tasks.txt").write_text("a\nabsent\n\n")
    (splits / "test_tasks.txt").write_text("b\n")
    source = SuperNaturalInstructions(str(tmp_path / "tasks"), str(splits))
    assert {task.task: (task.role, task.splits, task.metric) for task in source.tasks()} == {
        "a": ("train", ("train",), "rouge_l_stemmed"),
        "b": ("evaluation", ("test",), "accuracy"),
        "c": ("excluded", ("train",), "rouge_l_stemmed"),
    }
    found, _ = _all(source)
    assert [example.source for example in found["b", "test"]] == [f"i{index}" for index in range(100)]
    assert found["b", "test"][0].options == ("a", "b")
    everything = SuperNaturalInstructions(str(tmp_path / "tasks"), str(splits), evaluation_instances=0)
    assert len(_all(everything)[0]["b", "test"]) == 150


def test_held_out_instances_are_never_trained_on(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [{"input": f"i{rng.randrange(60)}", "output": ["o"]} for _ in range(100)]
    _write(tmp_path / "a.json", UPSTREAM | {"Instances": rows})
    source = SuperNaturalInstructions(str(tmp_path), held_out_instances=25)
    found, skipped = _all(source)
    held_out = [example.source for example in found["a", "test"]]
    trained = [example.source for example in found["a", "train"]]
    assert held_out == [row["input"] for row in rows[:25]]
    assert trained == [row["input"] for row in rows[25:] if row["input"] not in held_out]
    assert skipped == {"same input as a held-out instance": 75 - len(trained)}
    assert source.settings() != SuperNaturalInstructions(str(tmp_path)).settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"Categories": ["c"], "Instances": [}', "a.json:1: malformed JSON"),
        ("[]", "no task object with a list 'Instances'"),
        ('{"Categories": ["c"], "Instances": {}}', "no task object with a list 'Instances'"),
        ('{"Categories": [3], "Instances": []}', "Categories must be a string"),
        ('{"Categories": ["c"], "Definition": 3, "Instances": []}', "'Definition' must be a string"),
        ('{"Categories": ["c"], "Definition": "d", "Instances": [3]}', "Instances[0] is a int"),
        (
            '{"Categories": ["c"], "Definition": "d", "Instances": [{"input": 3, "output": "o"}]}',
            "Instances[0]: 'input' must be a string",
        ),
        (
            '{"Categories": ["c"], "Definition": "d", "Instances": [{"id": [1], "input": "", "output": ""}]}',
            "Instances[0]: 'id' must be a string or a number",
        ),
        (
            '{"Categories": ["c"], "Definition": "d", "Instances": [{"input": "i", "output": [3]}]}',
            "Instances[0]: 'output' must be a string",
        ),
    ],
)
def test_malformed_tasks(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError) as caught:
        _all(SuperNaturalInstructions(str(tmp_path)))
    assert message in str(caught.value)
    assert str(tmp_path / "a.json") in str(caught.value)


def test_folders_and_split_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data_dir is empty"):
        SuperNaturalInstructions("").tasks()
    with pytest.raises(UserError, match="no such folder"):
        SuperNaturalInstructions(str(tmp_path / "absent")).tasks()
    with pytest.raises(UserError, match="no task file"):
        SuperNaturalInstructions(str(tmp_path)).tasks()
    _write(tmp_path / "tasks" / "a.json", UPSTREAM)
    with pytest.raises(UserError, match=r"no task file .*; bind .*tasks"):
        SuperNaturalInstructions(str(tmp_path)).tasks()
    splits = tmp_path / "splits"
    splits.mkdir()
    source = SuperNaturalInstructions(str(tmp_path / "tasks"), str(splits))
    with pytest.raises(UserError, match=r"train_tasks\.txt: cannot be read"):
        source.tasks()
    (splits / "train_tasks.txt").write_text("other\n")
    (splits / "test_tasks.txt").write_text("")
    with pytest.raises(UserError, match="names no task of"):
        source.tasks()
    (splits / "test_tasks.txt").write_text("other\n")
    with pytest.raises(UserError, match=r"other is in train_tasks\.txt and in test_tasks\.txt"):
        source.tasks()
    with pytest.raises(UserError, match="must be >= 0"):
        SuperNaturalInstructions(str(tmp_path), held_out_instances=-1)


def test_a_file_and_a_folder_of_one_task(tmp_path: Path) -> None:
    """The whole task is read, not the part of it in SAPT's folder."""
    _write(tmp_path / "a.json", UPSTREAM)
    _write(tmp_path / "a" / "train.json", UPSTREAM)
    _write(tmp_path / "b" / "dev.json", UPSTREAM)
    _write(tmp_path / "b" / "validation.json", UPSTREAM)
    source = SuperNaturalInstructions(str(tmp_path))
    assert [task.files for task in source.tasks()] == [(tmp_path / "a.json",), (tmp_path / "b" / "dev.json",)]
    assert _all(source)[0]["a", "train"]
    assert source.set_aside() == {
        tmp_path / "a" / "train.json": f"the same task as {tmp_path / 'a.json'}, which is read",
        tmp_path / "b" / "validation.json": f"the same task as {tmp_path / 'b' / 'dev.json'}, which is read",
    }


@pytest.mark.parametrize(
    ("folder", "tasks", "instances", "skipped"),
    [
        ("tasks", 192, 58_333, 2),
        ("tasks_early_schema", 20, 6_878, 0),
        ("tasks_sapt", 8, 1_651, 0),
        ("v1_tasks", 35, 2_064, 0),
    ],
)
def test_all_public_files(shared: Path, folder: str, tasks: int, instances: int, skipped: int) -> None:
    source = SuperNaturalInstructions(str(shared / "data" / "superni" / folder))
    found, reasons = _all(source)
    assert len(source.tasks()) == tasks
    assert sum(reasons.values()) == skipped
    read = sum(map(len, found.values()))
    paths = Path(source.data_dir).glob("**/*.json.gz")
    contents = [json.loads(gzip.decompress(path.read_bytes())) for path in paths]
    assert read + skipped == sum(len(content["Instances"]) for content in contents) == instances
    for examples in found.values():
        assert all(example.instruction and example.demonstrations for example in examples)
        assert len({example.example_id for example in examples}) == len(examples)


def test_roles_of_the_public_split(shared: Path) -> None:
    folder = shared / "data" / "superni"
    source = SuperNaturalInstructions(str(folder / "tasks"), str(folder / "splits" / "default"))
    counts = collections.Counter(task.role for task in source.tasks())
    assert counts == {"train": 137, "evaluation": 15, "excluded": 40}  # as ../shared/data/README.md


@pytest.mark.parametrize("with_splits", [False, True])
def test_contaminated_tasks_are_excluded(tmp_path: Path, with_splits: bool) -> None:
    names = ("task062_bigbench_repeat_copy_logic", "task666_mmmlu_answer_generation_astronomy", "task1_own")
    for name in names:
        _write(tmp_path / "tasks" / f"{name}.json", UPSTREAM)
    (tmp_path / "train_tasks.txt").write_text("\n".join(names))
    (tmp_path / "test_tasks.txt").write_text("")
    source = SuperNaturalInstructions(str(tmp_path / "tasks"), str(tmp_path) if with_splits else "")
    tasks = {task.task: task for task in source.tasks()}
    for name, role in zip(names, ["excluded", "excluded", "train"], strict=True):
        assert tasks[name].role == role
        assert source.assigned(tasks[name], trained=True, evaluated=False).role == role
    (use,) = roles.assign(roles.OPT_IML_MAX, [(source, tasks[names[0]])])
    assert not use.trained
    switched_off = dataclasses.replace(source, decontaminate=False)
    assert {task.role for task in switched_off.tasks()} == {"train"}
    (use,) = roles.assign(roles.OPT_IML_MAX, [(switched_off, tasks[names[0]])])
    assert use.trained


def test_contamination_table(shared: Path) -> None:
    listed = set()
    for stem in ("train", "test"):
        listed |= set((shared / f"data/superni/splits/default/{stem}_tasks.txt").read_text().split())
    named = {task for task in listed if "mmlu" in task or "bigbench" in task}
    assert contaminated().keys() == named
    subjects = {row.task for row in known_tasks.every("mmlu")}
    assert {held.removeprefix("mmlu:") for held in contaminated().values() if "mmlu:" in held} == subjects
    for task, held in contaminated().items():
        row = known_tasks.lookup("super_natural_instructions", task)
        assert row is not None
        assert row.same_as in (held, "")  # MMLU's are duplicates in the taxonomy too


@pytest.mark.parametrize("line", ["a\tb", "x" * 300, "a\0"])
def test_a_line_of_a_split_file_that_cannot_be_a_name_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"Definition": ["d"], "Instances": []}))
    for name, text in (("train", f"a\n{line}\n"), ("test", "b\n")):
        (tmp_path / f"{name}_tasks.txt").write_text(text)
    source = SuperNaturalInstructions(str(tmp_path), str(tmp_path))
    with pytest.raises(UserError, match=r"train_tasks\.txt:2: .* cannot be a task's name"):
        source.tasks()
