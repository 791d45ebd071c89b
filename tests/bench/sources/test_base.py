"""What every source shares: listing, splits by role, demonstrations, examples of items, repeats of files."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest

from iml_jax.bench import known_tasks
from iml_jax.bench.sources import LAYOUT, base, remedy
from iml_jax.bench.sources.base import (
    REPEATED,
    BrokenTask,
    Item,
    Outcome,
    TaskInfo,
    TaskSource,
    rows_of,
    splits_in_role,
    without_repeats,
)
from iml_jax.bench.sources.formats.bounds import LONG_ROW, NOT_UNICODE, ROW_CHARACTERS
from iml_jax.foundation.errors import UserError

ROWS: dict[str, dict[str, list[Outcome]]] = {
    "both": {"train": [("1", Item("a", ("b",)))], "validation": [("2", Item("c", ("d",), ("d", "e"), "t"))]},
    "trained": {"train": [("1", Item("f", ("g",)))]},
    "odd": {
        "train": [
            ("1", Item("\ud800", ("x",))),
            ("2", "no label"),
            ("3", Item("y" * (ROW_CHARACTERS + 1), ("x",))),
            ("4", Item("kept", ("x",), instruction="Do.", completion=True)),
        ]
    },
}


@dataclasses.dataclass(frozen=True)
class Rows(TaskSource):
    """The rows above; its task ``broken`` cannot be described."""

    name = "rows"
    data_dir: str = "data"
    role: str = "train"

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        return {"trained": lambda: self._info("trained"), "broken": self._broken, "both": self._both}

    def _broken(self) -> TaskInfo:
        raise UserError("broken.tsv:3: two cells; fix the row")

    def _both(self) -> TaskInfo:
        return self._info("both")

    def _info(self, task: str) -> TaskInfo:
        splits = self.offered(ROWS[task], self.role)
        return TaskInfo(self.name, task, "Category", self.role, splits, "rouge_l", (Path("f"),))

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        return ROWS[task.task]

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        yield from ROWS[task.task][rows_of(split, ROWS[task.task])]


def test_tasks_are_listed_by_name_and_a_broken_one_keeps_no_other_from_the_survey() -> None:
    found = list(Rows().survey())
    assert [task.task for task in found] == ["both", "broken", "trained"]
    assert found[1] == BrokenTask("broken", "broken.tsv:3: two cells; fix the row")
    with pytest.raises(UserError, match="two cells"):
        Rows().tasks()


@pytest.mark.parametrize(
    ("available", "role", "splits"),
    [
        ({"test", "train"}, "train", ("train", "test")),
        ({"test", "train"}, "excluded", ("train", "test")),
        ({"test", "train", "validation"}, "evaluation", ("validation", "test")),
        ({"train"}, "evaluation", ("test",)),
        (set(), "evaluation", ()),
    ],
)
def test_the_role_of_a_task_decides_its_splits(
    available: set[str], role: str, splits: tuple[str, ...]
) -> None:
    assert splits_in_role(available, role) == splits


def test_assigned_tasks_have_the_splits_of_their_role() -> None:
    both, trained = (Rows()._info(task) for task in ("both", "trained"))
    evaluated = Rows().assigned(both, trained=False, evaluated=True)
    assert (evaluated.role, evaluated.splits) == ("evaluation", ("validation",))
    assert Rows().assigned(evaluated, trained=True, evaluated=True) == both
    assert Rows().assigned(trained, trained=False, evaluated=True).splits == ("test",)


@pytest.mark.parametrize(
    ("task", "role", "shown"),
    [
        ("both", "train", ["a"]),
        ("both", "evaluation", ["a"]),
        ("trained", "train", ["f"]),
        ("trained", "evaluation", []),
    ],
)
def test_training_rows_are_shown_unless_they_are_what_is_asked(
    task: str, role: str, shown: list[str]
) -> None:
    source = Rows(role=role)
    skipped = collections.Counter[str]()
    assert [one.source for one in source.demonstrations(source._info(task), skipped)] == shown


def test_items_become_examples_and_what_is_none_is_counted() -> None:
    skipped = collections.Counter[str]()
    (example,) = Rows().examples(Rows()._info("odd"), "train", skipped)
    assert (example.benchmark, example.task, example.example_id) == ("rows", "odd", "4")
    assert (example.instruction, example.source, example.completion) == ("Do.", "kept", True)
    assert skipped == {NOT_UNICODE: 1, "no label": 1, LONG_ROW: 1}
    (asked,) = Rows().examples(Rows()._info("both"), "validation", skipped)
    assert (asked.split, asked.options, asked.template) == ("validation", ("d", "e"), "t")


def test_the_remedy_is_the_row_of_the_task_else_that_of_its_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "downloads.tsv"
    table.write_text(
        "benchmark\ttask\tfile\torigin\n"
        "rows\t*\t{data_dir}/{task}.tsv\texample.org\n"
        "rows\tcopa\t{data_dir}/copa/\task for it\n"
    )
    monkeypatch.setattr(base, "DOWNLOADS", table)
    base._downloads.cache_clear()
    assert Rows().remedy("rte") == "data/rte.tsv; example.org"
    assert Rows().remedy("copa") == "data/copa/; ask for it"
    base._downloads.cache_clear()


def test_every_known_task_of_a_data_folder_has_a_remedy(tmp_path: Path) -> None:
    for row in known_tasks.every():
        if row.benchmark in LAYOUT:
            assert str(tmp_path / row.benchmark) in remedy(row.benchmark, row.task, tmp_path)


def test_items_that_an_earlier_file_had_are_repeats_and_those_inside_one_file_stay() -> None:
    one, two = Item("q", ("a",)), Item("q", ("b",))
    first: list[Outcome] = [("1", one), ("2", one), ("3", "empty")]
    second: list[Outcome] = [("4", one), ("5", two), ("6", "empty")]
    made = list(without_repeats([iter(first), iter(second)]))
    assert made == [*first, ("4", REPEATED), *second[1:]]
    assert list(without_repeats([iter(first)])) == first
