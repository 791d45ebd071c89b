"""MMLU's tables: every row an example or refused by its line; dev rows are shown in their order."""

from __future__ import annotations

import collections
import csv
import gzip
import io
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import MixtureConfig, plan
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.sources.base import BrokenTask
from iml_jax.bench.sources.suites.mmlu import Mmlu
from iml_jax.bench.variants import FewShot, ZeroShot
from iml_jax.foundation.errors import UserError


def table(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def question(number: int, answer: str = "B") -> list[str]:
    return [f"Which, {number}?\nSay.", "one", 'tw"o', "three, or so", "4", answer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table(tmp_path / "data/dev/own_things_dev.csv", [question(n, "ABCDA"[n]) for n in range(5)])
    table(tmp_path / "data/test/own_things_test.csv.gz", [question(n) for n in range(10, 13)])
    table(tmp_path / "data/val/own_things_val.csv", [question(20, "c ")])
    table(tmp_path / "data/test/virology_test.csv", [question(30)])
    (tmp_path / "data/test/notes.txt").write_text("no table")
    return tmp_path


def examples(source: Mmlu, subject: str, split: str = "test") -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == subject]
    return list(source.examples(info, split, skipped)), dict(skipped)


def test_subjects_and_prompt(folder: Path) -> None:
    for place in (folder, folder / "data"):
        own, known = Mmlu(str(place)).tasks()
        assert (own.task, own.splits, own.role, own.metric) == (
            "own_things", ("validation", "test"), "evaluation", "accuracy",
        )  # fmt: skip
        assert (known.category, known.kind, known.splits) == ("MMLU", "Question Answering", ("test",))
    found, skipped = examples(Mmlu(str(folder)), "own_things")
    assert (len(found), skipped) == (3, {})
    assert found[0].instruction.endswith("about  own things.")
    assert found[0].source == 'Which, 10?\nSay.\nA. one\nB. tw"o\nC. three, or so\nD. 4\nAnswer:'
    assert (found[0].references, found[0].options) == (("B",), ("A", "B", "C", "D"))
    assert [shown.target for shown in found[0].demonstrations] == list("ABCDA")
    (validation,), _ = examples(Mmlu(str(folder)), "own_things", "validation")
    assert validation.references == ("C",)


@pytest.mark.parametrize("shots", [2, 5])
def test_demonstrations_are_the_first_dev_rows_in_order(folder: Path, shots: int) -> None:
    prompts = (FewShot(shots=shots, separators=("\n\n",)),)
    config = MixtureConfig("m", (Mmlu(str(folder)),), evaluation_prompts=prompts, exclude=("mmlu:virology",))
    (planned,) = plan(config)
    shown: collections.Counter[str] = collections.Counter()
    rows = list(prompted_examples(planned, "test", 0, collections.Counter(), demonstrations=shown))
    head, *blocks = rows[0].prompt_text.split("\n\n")
    assert head.startswith("The following are multiple choice questions")
    assert [block[:8] for block in blocks] == [f"Which, {n}" for n in range(shots)] + ["Which, 1"]
    assert [block[-9:] for block in blocks[:-1]] == [f"Answer: {letter}" for letter in "ABCDA"[:shots]]
    assert blocks[-1].endswith("Answer:")
    assert shown == {"shown": 3 * shots}


def test_a_table_with_a_header_is_read_by_it(folder: Path) -> None:
    rows = [["", "answer", "question", "A", "B", "C", "D"], ["0", "3", "q?", "w", "x", "y", "z"]]
    table(folder / "data/test/headed_test.csv", rows)
    (one,), _ = examples(Mmlu(str(folder)), "headed")
    assert (one.source, one.references) == ("q?\nA. w\nB. x\nC. y\nD. z\nAnswer:", ("D",))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (["q", "a", "b", "c", "d"], r"virology_test\.csv:3: 5 cells; a row is the question"),
        (["q", "a", "b", "c", "d", "E"], r"virology_test\.csv:3: answer 'E' is none of A, B, C, D"),
        (["q", "a", "b", "c", "d", "1"], "answer '1' is none"),
    ],
)
def test_malformed_rows_are_refused(folder: Path, row: list[str], told: str) -> None:
    table(folder / "data/test/virology_test.csv", [question(1), row])
    with pytest.raises(UserError, match=told):
        examples(Mmlu(str(folder)), "virology")


def test_blank_questions_are_counted(folder: Path) -> None:
    table(folder / "data/test/virology_test.csv", [question(1), [" ", *question(2)[1:]]])
    found, skipped = examples(Mmlu(str(folder)), "virology")
    assert (len(found), skipped) == (1, {"empty question": 1})


def test_folders_that_are_not_mmlu(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder test"):
        Mmlu(str(tmp_path / "data/dev")).tasks()


def test_a_subject_without_its_test_table_is_told(folder: Path) -> None:
    """Its dev table is there, so that somebody lost the other."""
    table(folder / "data/dev/astronomy_dev.csv", [question(1)])
    with pytest.raises(UserError, match=r"test/astronomy_test\.csv: missing, beside .*astronomy_dev\.csv"):
        Mmlu(str(folder)).tasks()
    (broken,) = [one for one in Mmlu(str(folder)).survey() if isinstance(one, BrokenTask)]
    assert broken.task == "astronomy"


def test_never_trained_on(folder: Path) -> None:
    source = Mmlu(str(folder))
    (info, _) = source.tasks()
    assert source.assigned(info, trained=True, evaluated=True).role == "excluded"
    assert source.assigned(info, trained=False, evaluated=True).role == "evaluation"


def test_real_files(shared: Path) -> None:
    source = Mmlu(str(shared / "data/mmlu"))
    tasks = source.tasks()
    assert len(tasks) >= 40
    for info in tasks:
        found, skipped = examples(source, info.task)
        with gzip.open(shared / f"data/mmlu/data/test/{info.task}_test.csv.gz", "rt", newline="") as stream:
            rows = list(csv.reader(stream))
        assert len(found) + sum(skipped.values()) == len(rows)
        assert not skipped
        assert [one.references[0] for one in found] == [row[5] for row in rows]
        assert {len(one.demonstrations) for one in found} == {5}


def _as_the_authors_print_it(subject: str, shown: list[list[str]], asked: list[str]) -> str:
    """format_subject, format_example and gen_prompt of hendrycks/test (evaluate.py), over lists of cells."""
    head = "".join(" " + entry for entry in subject.split("_"))
    prompt = f"The following are multiple choice questions (with answers) about {head}.\n\n"
    for cells, answered in [*((cells, True) for cells in shown), (asked, False)]:
        prompt += cells[0]
        for letter, choice in zip("ABCD", cells[1:5], strict=True):
            prompt += f"\n{letter}. {choice}"
        prompt += "\nAnswer:"
        if answered:
            prompt += f" {cells[5]}\n\n"
    return prompt


@pytest.mark.parametrize("shots", [0, 3])
def test_the_prompt_is_the_authors_byte_for_byte(tmp_path: Path, shots: int) -> None:
    shown = [[f" Which  {n}?\n", " a", "b ", "\tc", "d", "ABC"[n]] for n in range(3)]
    asked = [["\n Who is it? ", "1 ", " 2", "  ", "4", "D"], ["Plain", "a", "b", "c", "d", "A"]]
    table(tmp_path / "dev/high_school_us_history_dev.csv", shown)
    table(tmp_path / "test/high_school_us_history_test.csv", asked)
    prompts = (FewShot(shots=shots, separators=("\n\n",)),) if shots else (ZeroShot(),)
    (planned,) = plan(MixtureConfig("m", (Mmlu(str(tmp_path)),), evaluation_prompts=prompts))
    rows = list(prompted_examples(planned, "test", 0, collections.Counter()))
    wanted = [_as_the_authors_print_it("high_school_us_history", shown[:shots], row) for row in asked]
    assert [row.prompt_text for row in rows] == wanted
    assert [row.target_text for row in rows] == ["D", "A"]


def test_a_subject_without_its_dev_table_is_told(folder: Path) -> None:
    source = Mmlu(str(folder))
    before = source.missing()
    lost = folder / "data/dev/own_things_dev.csv"
    assert before.keys() == {folder / "data/dev/virology_dev.csv"}
    lost.unlink()
    assert source.missing().keys() == {*before, lost}
    assert source.missing()[lost].startswith("missing, beside ")
    assert examples(source, "own_things")[0]
