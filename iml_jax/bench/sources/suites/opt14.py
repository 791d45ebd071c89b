"""The 14 tasks that OPT was evaluated on (OPT paper, figures 3 and 4; OPT-IML table 9), and HellaSwag."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.categories import category_of
from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import Item, Outcome, TaskInfo
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.formats.rows import read_rows
from iml_jax.bench.sources.shared_datasets.superglue import superglue_rows
from iml_jax.bench.sources.suites.evaluation_only import (
    EMPTY,
    NO_LABEL,
    EvaluationOnly,
    known_word,
    split_files,
)
from iml_jax.bench.sources.suites.opt14_rows import READERS, Question
from iml_jax.config.paths import SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables
from iml_jax.storage.folders import entries

# Task; other names of its folder; the same data among the tasks of PromptSource, whose category is its kind.
TABLE = Path(__file__).with_name("opt14_tasks.tsv")
QUESTION_METRIC = "question_accuracy"


def _names() -> dict[str, tuple[str, ...]]:
    """Task -> other names of its folder."""
    return {row["task"]: tuple(filter(None, row["folders"].split("|"))) for row in tables.rows(TABLE)}


def _kinds() -> dict[str, str]:
    """Task -> the same data among PromptSource's tasks."""
    return {row["task"]: row["kind"] for row in tables.rows(TABLE)}


@dataclasses.dataclass(frozen=True)
class Opt14(EvaluationOnly):
    """A folder with a folder for each task (``boolq``, ``ARC-Easy``, ``wsc273`` ...) that holds its rows.

    A file is a split (its name holds train, validation, dev, val or test) as JSON lines, CSV or Parquet,
    plain or ``.gz``, with the columns of Hugging Face's datasets or of the task's own distribution. Evaluated
    is the first of test, validation and train whose rows have labels. Demonstrations come from the first of
    the others with labels, train before validation; where there is no other, from the evaluated rows
    themselves, as GPT-3 does for Winograd, never the one asked. Every answer is an option. Never trained on.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder of the tasks' folders."})
    hellaswag: bool = dataclasses.field(
        default=False, metadata={"help": "evaluate HellaSwag as well; it is not among OPT-IML's 14."}
    )

    header = True
    name = "opt14"

    def expected(self) -> tuple[str, ...]:
        """As ``Source.expected``."""
        return tuple(task for task in _names() if self.hellaswag or task != "hellaswag")

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; of each file the first row is read."""
        found, _ = self._find()
        return {task: functools.partial(self._info, task, folder) for task, folder in found.items()}

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        found, left = self._find()
        for folder in found.values():
            with contextlib.suppress(UserError):  # said where the task is listed
                left |= split_files(folder)[1]
        return left

    def _find(self) -> tuple[dict[str, Path], Copies]:
        """Task -> its folder; and the files of other folders of the same tasks."""
        root = directory(self.data_dir, "Opt14.data_dir")
        folders = [path for path in entries(root) if path.is_dir()]
        named = [(task, path) for path in folders if (task := known_word(path.name, _names()))]
        if not named:
            raise UserError(f"{root}: no folder of {', '.join(_names())}; bind the folder that holds them")
        own = set(_names())
        found, twins = copies.once(named, "task", lambda path: (path.name not in own, *copies.by_name(path)))
        left = Copies()
        for task, folder in named:
            if folder in twins:
                left |= copies.below(folder, found[task], "task")
        return found, left

    def _info(self, task: str, folder: Path) -> TaskInfo:
        files, _ = split_files(folder)
        labelled = [
            split for split in ("test", "validation", "train") if _labelled(task, files.get(split, ()))
        ]
        if not labelled:
            raise UserError(
                f"{folder}: no file SPLIT.jsonl (.csv, .parquet, .gz) whose rows have labels; put one there"
            )
        evaluated = labelled[0]
        kept = [evaluated, *(split for split in reversed(labelled[1:]))]
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category="OPT-14",
            role="excluded" if task == "hellaswag" and not self.hellaswag else "evaluation",
            splits=("test" if evaluated == "test" else "validation",),
            metric=QUESTION_METRIC if task == "multirc" else "accuracy",
            files=tuple(path for split in kept[:2] for path in files[split]),
            kind=category_of("promptsource", _kinds()[task]),
        )

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"prompts": 1}

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``; MultiRC's rows are answers, distinguished after the ``/`` of their id."""
        evaluated, *others = _parts(task)
        for identity, question in _questions(task.task, others[0] if split == "train" else evaluated):
            if reason := _unusable(question):
                yield identity, reason
                continue
            assert question.right is not None
            right = (question.options[question.right],)
            yield identity, Item(question.source, right, question.options, completion=question.completion)

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``."""
        others = _parts(task)[1:]
        yield from self.examples(task, "train" if others else task.splits[0], skipped)


def _parts(task: TaskInfo) -> list[tuple[Path, ...]]:
    """The files of the evaluated split, and of the one of the demonstrations where that is another."""
    parts, _ = split_files(task.files[0].parent, task.files)
    first = next(split for split, paths in parts.items() if task.files[0] in paths)
    return [parts[first], *(paths for split, paths in parts.items() if split != first)]


def _labelled(task: str, paths: Sequence[Path]) -> bool:
    """Whether the first row of the files has a label; an unreadable one counts: reading will say why."""
    try:
        first = next(_questions(task, paths), None)
    except UserError:
        return True
    return first is not None and first[1].right is not None


def _questions(task: str, paths: Sequence[Path]) -> Iterator[tuple[str, Question]]:
    """(id, question) of every row; an id is unique over the files."""
    for number, path in enumerate(paths):
        shard = f"{number}-" if len(paths) > 1 else ""
        for identity, row in _records(task, path):
            yield shard + identity, READERS[task](row)


def _records(task: str, path: Path) -> Iterator[tuple[str, Record]]:
    if task != "multirc":
        for line, row in read_rows(path):
            yield str(line), Record(f"{path}:{line}", line, row)
        return
    first = next(iter(read_rows(path)), None)
    if first is not None and "passage" in first[1]:  # SuperGLUE's own: all questions of a passage in a row
        for place, row in superglue_rows(path, "multirc"):
            passage, question, one = place.split(".")  # line, question and answer
            yield f"{passage}.{question}/{one}", Record(f"{path}:{passage}", int(passage), row)
        return
    # Hugging Face's rows: an answer each, those of a question one after the other.
    asked, number, answer = ("", ""), 0, 0
    for at, values in read_rows(path):
        record = Record(f"{path}:{at}", at, values)
        now = (record.text("paragraph"), record.text("question"))
        number, answer = (number, answer + 1) if now == asked else (number + 1, 0)
        asked = now
        yield f"{number}/{answer}", record


def _unusable(item: Question) -> str:
    """Why a row yields no question; empty if it does."""
    if not item.source:
        return EMPTY if not item.completion else "nothing stands before the blank"
    if item.right is None:
        return NO_LABEL
    if len(set(item.options)) != len(item.options) or len(item.options) < 2 or not all(item.options):
        return "options missing or alike"
    return ""
