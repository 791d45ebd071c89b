"""CrossFit's files: splits, seeds, repeated rows, roles, options and instructions."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import pickle
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.sources import SOURCES
from iml_jax.bench.sources.base import BrokenTask
from iml_jax.bench.sources.crossfit import tasks as crossfit_tasks
from iml_jax.bench.sources.crossfit.source import CrossFit
from iml_jax.foundation.errors import UserError

HEADER = "task\ttype\tchoices\tinstruction\n"


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _all(source: CrossFit) -> tuple[dict[tuple[str, str], list[Example]], collections.Counter[str]]:
    skipped: collections.Counter[str] = collections.Counter()
    found = {
        (task.task, split): list(source.examples(task, split, skipped))
        for task in source.tasks()
        for split in task.splits
    }
    return found, skipped


def _inputs(examples: list[Example]) -> list[str]:
    return [example.source.partition("\n")[2] for example in examples]


def test_form_of_prompts(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "boolq/boolq_16_13_train.tsv": "question: q [SEP] context: c\tyes\nr\tno\n",
            "boolq/boolq-BartTokenized.json": "[]",
            "ai2_arc/ai2_arc_32_100_train.tsv.gz": "Why? (A) one (B) two\ttwo\n",
            "kilt_nq_32_13_test.tsv": "Who?\tA\tB\n",  # flat, and two right answers
            "limit_32_13_test.tsv": "He ran.\tHe\n",
            "mocha_16_13_dev.tsv": "q\t3\n",
        },
    )
    source = pickle.loads(pickle.dumps(CrossFit(str(tmp_path))))
    assert {task.task: (task.category, task.role, task.splits, task.metric) for task in source.tasks()} == {
        "ai2_arc": ("Question Answering", "train", ("train",), "accuracy"),
        "boolq": ("Question Answering", "train", ("train",), "accuracy"),
        "kilt_nq": ("Question Answering", "train", ("test",), "rouge_l"),
        "limit": ("Information Extraction", "train", ("test",), "exact_match"),
        "mocha": ("Question Answering", "train", ("validation",), "exact_match"),
    }
    found, skipped = _all(source)
    assert not skipped
    first, _ = found["boolq", "train"]
    assert first == Example(
        benchmark="crossfit",
        task="boolq",
        example_id="16_13:1",
        split="train",
        instruction="",
        source="Read the context and answer the question with yes or no.\nquestion: q [SEP] context: c",
        references=("yes",),
        options=("no", "yes"),
    )
    (choice,) = found["ai2_arc", "train"]
    assert (choice.references, choice.options) == (("two",), ("one", "two"))
    (open_question,) = found["kilt_nq", "test"]
    assert (open_question.references, open_question.options) == (("A", "B"), ())
    assert found["mocha", "validation"][0].options == ()


def test_seeds_and_repeated_rows(tmp_path: Path) -> None:
    test = "t1\tno\nt2\tyes\nt2\tyes\nb\tno\n"
    _write(
        tmp_path / "boolq",
        {
            "boolq_16_100_train.tsv": "a\tyes\nb\tno\nb\tno\n",
            "boolq_16_13_train.tsv": "c\tno\na\tyes\na\tno\n",
            "boolq_16_100_dev.tsv": "c\tno\nd\tyes\n",
            "boolq_16_13_dev.tsv": "d\tyes\ne\tyes\n",
            "boolq_16_100_test.tsv.gz": test,
            "boolq_16_13_test.tsv": test + "t3\tno\n",
        },
    )
    found, skipped = _all(CrossFit(str(tmp_path)))
    assert _inputs(found["boolq", "train"]) == ["c", "a", "a", "b"]  # seed 13 goes before 100
    assert [example.references[0] for example in found["boolq", "train"]] == ["no", "yes", "no", "no"]
    assert _inputs(found["boolq", "validation"]) == ["d", "e"]
    assert _inputs(found["boolq", "test"]) == ["t1", "t2", "t2", "t3"]  # as published, but once
    assert skipped == {"the same row as an earlier one": 2 + 1 + 4, "same input as a training row": 1 + 1}
    for examples in found.values():
        assert len({example.example_id for example in examples}) == len(examples)
    found, skipped = _all(CrossFit(str(tmp_path), seeds=(100,)))
    assert _inputs(found["boolq", "train"]) == ["a", "b"]
    assert _inputs(found["boolq", "validation"]) == ["c", "d"]
    assert _inputs(found["boolq", "test"]) == ["t1", "t2", "t2", "t3"]  # they do not depend on the seed
    assert skipped == {"the same row as an earlier one": 1 + 4, "same input as a training row": 1}
    (task,) = CrossFit(str(tmp_path), seeds=(100,)).tasks()
    assert not any("_13_train" in path.name or "_13_dev" in path.name for path in task.files)
    with pytest.raises(UserError, match=r"boolq has no file of seed 7, it has 13, 100; fix CrossFit.seeds"):
        CrossFit(str(tmp_path), seeds=(100, 7)).tasks()


def test_rows_of_no_use_are_counted(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "boolq_16_1_train.tsv": "a\tyes\nb\tc\tno\nnothing\n\n\tno\nd\t\ne\tno\n",
            "race-high_32_1_train.tsv": "q (A) x (B) y\tx\nq (A) x (B) y\tz\nq\tx\n",
        },
    )
    found, skipped = _all(CrossFit(str(tmp_path)))
    assert _inputs(found["boolq", "train"]) == ["a", "e"]
    assert len(found["race-high", "train"]) == 1
    assert skipped == {
        "several outputs where there is one": 1,
        "line without a tab": 1,
        "empty line": 1,
        "empty input": 1,
        "empty output": 1,
        "output that is none of the options": 1,
        "no options in the input": 1,
    }


def test_jsonl_of_metaicl(tmp_path: Path) -> None:
    def rows(*entries: tuple[str, str, list[str]]) -> str:
        return "".join(
            json.dumps({"task": "t", "input": source, "output": output, "options": options}) + "\n"
            for source, output, options in entries
        )

    numbers = ["one", "two", "three"]
    _write(
        tmp_path,
        {
            "numer_sense_16_1_test.jsonl": rows(
                ("[MASK] legs", "two", numbers), ("[MASK] arms", "ten", numbers)
            ),
            "race-high_16_1_test.jsonl.gz": rows(("context q", "x", ["x", "y"])),
            "qa_srl_16384_1_train.jsonl": rows(("q", "a", [])),
            "discovery_16_1_train.jsonl": rows(("s", "o7", [f"o{index}" for index in range(174)])),
            "freebase_qa_16_1_dev.jsonl": rows(("q", "a", ["a", "b"])),
            "freebase_qa_16_2_dev.tsv": "r\tb\n",  # not every row has options: the task is generated
            "inst:piqa:what_16_1_train.jsonl": "not read",
            "sick_16_1_train.jsonl": rows(("s", "neutral", ["entailment", "neutral"])),
            "sick_16_2_train.tsv": "s2\tcontradiction\n",  # both forms: the labels of all files
        },
    )
    source = CrossFit(str(tmp_path))
    metrics = {task.task: task.metric for task in source.tasks()}
    assert metrics == dict.fromkeys(("discovery", "numer_sense", "race-high", "sick"), "accuracy") | {
        "freebase_qa": "rouge_l",
        "qa_srl": "rouge_l",
    }
    found, skipped = _all(source)
    assert found["numer_sense", "test"][0].options == tuple(numbers)
    assert skipped == {"output that is none of the options": 1}
    assert [example.options for example in found["freebase_qa", "validation"]] == [(), ()]
    (choice,) = found["race-high", "test"]
    assert _inputs([choice]) == ["context q (A) x (B) y"]
    assert len(found["discovery", "train"][0].options) == 174
    assert [example.options for example in found["sick", "train"]] == [
        ("entailment", "neutral"),
        ("contradiction", "entailment", "neutral"),
    ]


def test_too_many_labels_are_generated(tmp_path: Path) -> None:
    _write(tmp_path, {"discovery_16_1_train.tsv": "".join(f"s{n}\tc{n}\n" for n in range(65))})
    (task,) = CrossFit(str(tmp_path)).tasks()
    assert task.metric == "exact_match"
    found, skipped = _all(CrossFit(str(tmp_path)))
    assert len(found["discovery", "train"]) == 65
    assert not found["discovery", "train"][0].options
    assert not skipped


def test_roles_of_a_partition(tmp_path: Path) -> None:
    for task in ("boolq", "piqa", "anli", "paws"):
        _write(
            tmp_path / "data",
            {f"{task}_16_1_{split}.tsv": f"{split}\t0\n{split} 1\t1\n" for split in ("train", "dev", "test")},
        )
    lists = {"train": ["boolq", "absent", "paws"], "dev": ["piqa"], "test": ["paws"], "all": ["anli"]}
    (tmp_path / "p.json").write_text(json.dumps(lists))
    source = CrossFit(str(tmp_path / "data"), partition=str(tmp_path / "p.json"))
    tasks = {task.task: task for task in source.tasks()}
    every = ("train", "validation", "test")
    assert {name: (task.role, task.splits) for name, task in tasks.items()} == {
        "anli": ("excluded", every),
        "boolq": ("train", every),
        "paws": ("evaluation", every[1:]),
        "piqa": ("evaluation", every[1:]),
    }
    shown = list(source.demonstrations(tasks["piqa"], collections.Counter()))
    assert [example.split for example in shown] == ["train", "train"]
    for trained, evaluated, role in ((True, True, "train"), (False, True, "evaluation")):
        made = source.assigned(tasks["anli"], trained=trained, evaluated=evaluated)
        assert (made.role, "train" in made.splits) == (role, trained)
        found = [
            example
            for split in made.splits
            for example in source.examples(made, split, collections.Counter())
        ]
        assert len(found) == 2 * len(made.splits)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no object with lists of tasks"),
        ('{"train": "boolq"}', "no object with lists of tasks"),
        ('{"train": [3]}', "no object with lists of tasks"),
        ('{"train": ["piqa"]}', "names no task of"),
        ("{", "malformed JSON"),
    ],
)
def test_malformed_partitions(tmp_path: Path, content: str, message: str) -> None:
    _write(tmp_path, {"boolq_16_1_train.tsv": "a\tyes\n", "p.json": content})
    with pytest.raises(UserError, match=rf"p\.json.*{message}"):
        CrossFit(str(tmp_path), partition=str(tmp_path / "p.json")).tasks()


def test_instructions_of_ones_own(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "data/mine_16_1_train.tsv": "q\tx\nr\ty\n",
            "data/boolq_16_1_train.tsv": "q\tyes\nr\tno\n",
            "own.tsv": f"{HEADER}mine\tclassification\t\tSort it.\nboolq\ttext_to_text\t\tAnswer.\n",
        },
    )
    with pytest.raises(UserError, match=r"no instruction is known for the task mine.*CrossFit.instructions"):
        CrossFit(str(tmp_path / "data")).tasks()
    survey = list(CrossFit(str(tmp_path / "data")).survey())
    assert [isinstance(task, BrokenTask) for task in survey] == [False, True]
    source = CrossFit(str(tmp_path / "data"), instructions=str(tmp_path / "own.tsv"))
    found, _ = _all(source)
    assert found["mine", "train"][0].source == "Sort it.\nq"
    assert found["mine", "train"][0].options == ("x", "y")
    assert found["boolq", "train"][0].source == "Answer.\nq"
    assert {task.task: task.metric for task in source.tasks()} == {"mine": "accuracy", "boolq": "rouge_l"}
    assert all(task.files[-1] == tmp_path / "own.tsv" for task in source.tasks())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task\ttype\tinstruction\na\tclassification\tDo.\n", ":1: no column choices"),
        (f"{HEADER}a\tlabels\t\tDo.\n", ":2: type 'labels'; use one of classification"),
        (f"{HEADER}a\tclassification\tyes\tDo.\n", ":2: choices 'yes'; use in_input"),
        (f"{HEADER}a\tclassification\t\t\n", ":2: no task or no instruction"),
        (f"{HEADER}a\tregression\t\tDo.\na\tregression\t\tDo.\n", ":3: a second row of a"),
    ],
)
def test_malformed_instructions(tmp_path: Path, content: str, message: str) -> None:
    _write(tmp_path, {"boolq_16_1_train.tsv": "a\tyes\n", "own.tsv": content})
    with pytest.raises(UserError, match=rf"own\.tsv{message}"):
        CrossFit(str(tmp_path), instructions=str(tmp_path / "own.tsv")).tasks()


def test_folders_and_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data_dir is empty"):
        CrossFit("").tasks()
    with pytest.raises(UserError, match="no file TASK_SHOTS_SEED_SPLIT"):
        CrossFit(str(tmp_path)).tasks()
    _write(tmp_path, {"data/boolq/boolq_16_1_train.tsv": "a\tyes\n"})
    with pytest.raises(UserError, match=r"no file TASK_SHOTS.*; bind .*data"):
        CrossFit(str(tmp_path)).tasks()
    _write(tmp_path, {"data/boolq_16_1_train.jsonl": "{}"})
    own = CrossFit(str(tmp_path / "data"))
    read, other = tmp_path / "data/boolq/boolq_16_1_train.tsv", tmp_path / "data/boolq_16_1_train.jsonl"
    assert own.tasks()[0].files[0] == read
    assert own.set_aside() == {other: f"the same rows as {read}, which is read"}
    (tmp_path / "data/boolq_16_1_train.jsonl").unlink()
    _write(tmp_path, {"data/boolg_16_1_train.tsv": "a\tyes\n"})
    with pytest.raises(
        UserError, match=r"no instruction is known for the task boolg; the nearest .* is boolq"
    ):
        CrossFit(str(tmp_path / "data")).tasks()


def test_gin_name() -> None:
    assert SOURCES["CrossFit"] == f"{CrossFit.__module__}:CrossFit"


def test_table_of_tasks(shared: Path) -> None:
    folder = shared / "data/crossfit/meta"
    known = crossfit_tasks.known_tasks()
    lists = {path.stem: json.loads(path.read_text()) for path in (folder / "custom_tasks_splits").iterdir()}
    assert list(known) == lists["random"]["all"]
    assert len({entry.instruction for entry in known.values()}) == 160
    assert all(entry.instruction[-1] in ".?" for entry in known.values())
    classification = {task for task, entry in known.items() if entry.type == "classification"}
    assert set(lists["train_classification_test_classification"]["all"]) <= classification
    # CrossFit draws 16 rows of each label, or 32 rows where there are no labels.
    names = json.loads(gzip.decompress((folder / "md5sum.json.gz").read_bytes()))
    labelled = {name.rsplit("_", 3)[0] for name in names if name.rsplit("_", 3)[1] == "16"}
    regression = {task for task, entry in known.items() if entry.type == "regression"}
    assert classification | regression == labelled | {"kilt_fever"}
    choices = {task for task, entry in known.items() if entry.choices}
    multiple = set(lists["train_non_multiple_choice_qa_test_multiple_choice"]["dev"])
    assert choices == multiple | {"definite_pronoun_resolution"}


@pytest.mark.parametrize(("folder", "tasks", "lines"), [("data", 27, 14_378), ("metaicl_jsonl", 3, 1_946)])
def test_all_public_files(shared: Path, folder: str, tasks: int, lines: int) -> None:
    source = CrossFit(str(shared / "data/crossfit" / folder))
    found, skipped = _all(source)
    assert len(source.tasks()) == tasks
    paths = list(Path(source.data_dir).glob("*/*.gz"))
    assert sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in paths) == lines
    assert sum(map(len, found.values())) + skipped.total() == lines
    assert skipped.keys() <= {"the same row as an earlier one", "same input as a training row"}
    for task in source.tasks():
        for split in task.splits:
            examples = found[task.task, split]
            assert examples
            for example in examples:
                assert (task.metric == "accuracy") == bool(example.options)
                assert not example.options or set(example.references) <= set(example.options)
    trained = {example.source for (_, split), rows in found.items() if split == "train" for example in rows}
    held_out = {example.source for (_, split), rows in found.items() if split != "train" for example in rows}
    assert not trained & held_out


def test_every_partition(shared: Path) -> None:
    folder = shared / "data/crossfit"
    plain = CrossFit(str(folder / "data"))
    for path in (folder / "meta/custom_tasks_splits").iterdir():
        lists = json.loads(path.read_text())
        roles = {task.task: task.role for task in dataclasses.replace(plain, partition=str(path)).tasks()}
        for task, role in roles.items():
            parts = [part for part in ("dev", "test", "train") if task in lists[part]]
            assert role == {"train": "train", "dev": "evaluation", "test": "evaluation"}.get(
                parts[0] if parts else "", "excluded"
            )
        assert len(roles) == 27
