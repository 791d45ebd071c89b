"""Chain-of-thought TSV files as FLAN v2 publishes them."""

from __future__ import annotations

import collections
import gzip
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.foundation.errors import UserError


def _examples(source: Reasoning, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, split, skipped)), dict(skipped)


def test_form_of_prompt_and_target(tmp_path: Path) -> None:
    (tmp_path / "gsm8k_train.tsv").write_text("How\\nmany?\t 72\tFirst 48.\\nThen 24.\n")
    source = Reasoning(str(tmp_path))
    (task,) = source.tasks()
    assert (task.task, task.category, task.role, task.splits) == ("gsm8k", "Reasoning", "train", ("train",))
    (example,), skipped = _examples(source, "gsm8k", "train")
    assert example.instruction == "Answer the following question by reasoning step by step."
    assert example.source == "How\nmany?"
    assert example.references == ("First 48.\nThen 24. The answer is 72.",)
    assert example.example_id == "1"
    assert not skipped


def test_splits_held_out_rows_and_evaluation_tasks(tmp_path: Path) -> None:
    rows = "".join(f"q{index % 12}\ta\tr\n" for index in range(20))
    for name in ("a_train.tsv", "b_train.tsv", "b_dev.tsv", "b_test.tsv", "c_d_train.tsv", "other.txt"):
        (tmp_path / name).write_text(rows)
    with gzip.open(tmp_path / "e_test.tsv.gz", "wt") as stream:
        stream.write(rows)
    source = Reasoning(str(tmp_path), held_out_rows=5, evaluation_tasks=("c_d", "e"))
    assert {task.task: (task.role, task.splits) for task in source.tasks()} == {
        "a": ("train", ("train", "test")),
        "b": ("train", ("train", "validation", "test")),
        "c_d": ("evaluation", ("test",)),
        "e": ("evaluation", ("test",)),
    }
    held_out, _ = _examples(source, "a", "test")
    trained, skipped = _examples(source, "a", "train")
    assert [example.source for example in held_out] == [f"q{index}" for index in range(5)]
    assert not {example.source for example in held_out} & {example.source for example in trained}
    assert skipped == {"same input as a held-out instance": 5}
    assert len(trained) == 10
    assert {example.example_id for example in trained}.isdisjoint(example.example_id for example in held_out)
    for task, split in (("b", "train"), ("b", "test"), ("c_d", "test"), ("e", "test")):
        assert len(_examples(source, task, split)[0]) == 20


def test_rows_without_what_they_need_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a_train.tsv").write_text("\ta\tr\nq\t\tr\nq\ta\t\n\nq\ta\tr\n")
    examples, skipped = _examples(Reasoning(str(tmp_path)), "a", "train")
    assert len(examples) == 1
    assert skipped == {"empty question": 1, "empty answer": 1, "empty rationale": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"q\ta\tr\nq\ta\n", r"a_train\.tsv:2: 2 fields; expected question, answer, rationale"),
        (b"q\ta\tr\tmore\n", r"a_train\.tsv:1: 4 fields"),
        (b"q\ta\tr\n\xff\ta\tr\n", r"a_train\.tsv:2: byte 0xff is not UTF-8"),
    ],
)
def test_malformed_rows(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a_train.tsv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        _examples(Reasoning(str(tmp_path)), "a", "train")


def test_folders_and_names_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file NAME_train"):
        Reasoning(str(tmp_path)).tasks()
    (tmp_path / "a_train.tsv").write_text("q\ta\tr\n")
    with pytest.raises(UserError, match="has no task b; it has a"):
        Reasoning(str(tmp_path), evaluation_tasks=("b",)).tasks()
    with pytest.raises(UserError, match="must be >= 0"):
        Reasoning(str(tmp_path), held_out_rows=-1)
    (tmp_path / "a_train.tsv.gz").write_bytes(gzip.compress(b"q\ta\tr\n"))
    (task,) = Reasoning(str(tmp_path)).tasks()
    assert task.files == (tmp_path / "a_train.tsv",)
    assert Reasoning(str(tmp_path)).unread() == {tmp_path / "a_train.tsv.gz": copies.PACKED}


def test_all_public_files(shared: Path) -> None:
    source = Reasoning(str(shared / "data" / "reasoning" / "cot_data"))
    counts = {task.task: len(_examples(source, task.task, "train")[0]) for task in source.tasks()}
    assert counts == dict.fromkeys(("aqua", "ecqa", "gsm8k", "sensemaking"), 2500)
