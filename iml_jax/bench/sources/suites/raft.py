"""RAFT: text classification tasks from practice, with 50 labelled rows per task."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import Item, Outcome, Source, TaskInfo
from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.records import Record, csv_records, document
from iml_jax.bench.sources.suites.evaluation_only import EMPTY, NO_LABEL, EvaluationOnly, packed, with_gz
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables
from iml_jax.storage.folders import entries, is_there
from iml_jax.storage.reading import parse_json, read_lines

_TABLE = Path(__file__).with_name("raft_tasks.tsv")
_PROMPTS = "prompt_construction_settings.jsonl"
_FILES = ("task.json", "train.csv", "test.csv", "test_unlabeled.csv")
_ID, _LABEL = "ID", "Label"


@dataclasses.dataclass(frozen=True)
class _Known:
    """What of a task is known without its files: the columns its prompt shows, its instruction and kind."""

    columns: tuple[str, ...]
    instruction: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Raft(EvaluationOnly):
    """RAFT's folders ``TASK/``: ``task.json``, ``train.csv`` and ``test_unlabeled.csv``, plain or ``.gz``.

    The labels of the test rows are not public. A test table that has them (``test.csv``) is evaluated, with
    the train rows as demonstrations; without one the 50 train rows are evaluated, each with the others as
    demonstrations and never itself, and the rows without a label are counted as skipped.

    The prompt is that of the authors' baseline: instruction, numbered labels, ``Column: text`` lines,
    ``Label:``. Instructions and columns are the baseline's where its ``prompt_construction_settings.jsonl``
    is there, else our own words. Tasks that are not among the 11 of the benchmark are excluded.
    Never trained on.
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder of the tasks' folders, or the one above (``data`` below it)."}
    )
    prompt_dir: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "the folder with prompt_construction_settings.jsonl; empty: below or beside data_dir."
        },
    )
    strict: bool = dataclasses.field(
        default=False,
        kw_only=True,
        metadata={
            "help": "refuse a malformed prompt_construction_settings.jsonl, which is otherwise done "
            "without and counted; a file of ``prompt_dir`` is refused in any case, a task "
            "that a mixture names is read so."
        },
    )

    header = True
    name = "raft"

    def expected(self) -> tuple[str, ...]:
        """As ``Source.expected``."""
        return tuple(_known())

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"strict": self.strict or bool(self.prompt_dir)}

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; no table is read."""
        return {task: functools.partial(self._info, task, folder) for task, folder in self._find().items()}

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        pairs = itertools.product(self._find().values(), _FILES)
        return {path: why for folder, name in pairs for path, why in packed(folder, name).items()}

    def _find(self) -> dict[str, Path]:
        """Task -> its folder."""
        root = directory(self.data_dir, "Raft.data_dir")
        found = _folders(root) or _folders(root / "data")
        if not found:
            raise UserError(f"{root}: no folder TASK with task.json and train.csv; bind RAFT's folder data")
        return found

    def _settings_file(self) -> Path | None:
        if self.prompt_dir:
            folder = directory(self.prompt_dir, "Raft.prompt_dir")
            if not is_there(folder / _PROMPTS):
                raise UserError(f"Raft.prompt_dir = {folder}: has no {_PROMPTS}; bind the folder that has it")
            return folder / _PROMPTS
        root = Path(self.data_dir)
        beside = (root, root / "prompts", root.parent / "prompts", root.parent)
        return next((place / _PROMPTS for place in beside if is_there(place / _PROMPTS)), None)

    def _info(self, task: str, folder: Path) -> TaskInfo:
        files = [with_gz(folder, name) for name in _FILES]
        for path, name in zip(
            files[:2], ("task.json (its labels)", "train.csv (its labelled rows)"), strict=True
        ):
            if path is None:
                raise UserError(f"{folder}: no {name}; fetch the whole folder again")
        labels_of(next(filter(None, files)))
        known = _known().get(task)
        settings = self._settings_file()
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category="RAFT",
            role="evaluation" if known else "excluded",
            splits=("test",),
            metric="accuracy",
            files=(*filter(None, files), *([settings] if settings else [])),
            kind=known.kind if known else "",
        )

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``: of a test table with labels, else of the train table."""
        paths = {name: path for path in task.files if (name := path.name.partition(".")[0]) != "task"}
        asked = split != "train"
        if asked and "test" in paths and any(isinstance(made, Item) for _, made in self._rows(task, "test")):
            yield from self._rows(task, "test")
            return
        if asked and "test_unlabeled" in paths:
            for record in csv_records(paths["test_unlabeled"]):
                if record.text(_LABEL, ""):
                    raise record.error(f"has a {_LABEL}; call a test table with labels test.csv")
                yield "", NO_LABEL
        yield from self._rows(task, "train")

    def asked_for(self, task: str) -> Source:
        """As ``Source.asked_for``."""
        return dataclasses.replace(self, strict=True)

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``: the train rows."""
        yield from self.examples(task, "train", skipped)

    def _rows(self, task: TaskInfo, part: str) -> Iterator[Outcome]:
        """The labelled rows of a table."""
        paths = {path.name.partition(".")[0]: path for path in task.files}
        labels = labels_of(paths["task"])
        columns, instruction = self._prompt(task.task, paths)
        numbered = "".join(f"\n{number}. {label}" for number, label in enumerate(labels, start=1))
        for record in csv_records(paths[part]):
            if missing := [
                column
                for column in (*columns, *([_LABEL] if part == "train" else []))
                if column not in record.values
            ]:
                raise UserError(
                    f"{record.place}: no column {missing[0]!r}; the table has {', '.join(record.values)}"
                )
            label = record.text(_LABEL, "")
            texts = [(column, record.text(column)) for column in columns]
            identity = f"{part}-{record.text(_ID, '') or record.number}"
            if not label:
                yield identity, NO_LABEL
            elif label not in labels:
                raise record.error(
                    f"label {label[:60]!r} is none of the {len(labels)} of {paths['task'].name}"
                )
            elif not any(text for _, text in texts):
                yield identity, EMPTY
            else:
                shown = "".join(f"{column}: {text}\n" for column, text in texts if text)
                item = Item(
                    source=f"{shown}{_LABEL}:",
                    references=(label,),
                    options=labels,
                    instruction=f"{instruction}\nPossible labels:{numbered}",
                )
                yield identity, item

    def _prompt(self, task: str, paths: Mapping[str, Path]) -> tuple[tuple[str, ...], str]:
        """The columns that a task's prompt shows, and its instruction."""
        settings = paths.get(_PROMPTS.partition(".")[0])
        if settings is not None:
            prompts = _settings(settings) if self.prompt_dir else side_files.said(settings, _settings)
            if prompts and task in prompts:
                return prompts[task]
        if known := _known().get(task):
            return known.columns, known.instruction
        content = document(paths["task"])
        columns = tuple(name for name in content.texts("data_columns") if name != _ID)
        return columns, content.text("description", "") or "Which label does this text have?"


def _folders(root: Path) -> dict[str, Path]:
    """Task -> its folder."""
    inside = entries(root) if root.is_dir() else ()
    return {
        path.name: path
        for path in inside
        if path.is_dir() and (with_gz(path, "task.json") or with_gz(path, "train.csv"))
    }


def labels_of(path: Path) -> tuple[str, ...]:
    """The labels of a ``task.json``, in its order.

    Raises:
      UserError: it has no list of at least two different labels.
    """
    content = document(path)
    labels = content.record("label_columns").texts(_LABEL)
    if len(set(labels)) < 2 or len(set(labels)) != len(labels) or not all(labels):
        raise UserError(f"{path}: label_columns.{_LABEL} must list two or more different labels; fix it")
    return labels


@functools.cache
def _known() -> dict[str, _Known]:
    return {
        row["task"]: _Known(tuple(row["columns"].split(";")), row["instruction"], row["kind"])
        for row in tables.rows(_TABLE)
    }


def _settings(path: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """Task -> (columns, instruction) of the baseline's settings: its first line and its second.

    Raises:
      UserError: they are not of that form.
    """
    found = [
        Record(f"{path}:{number}", number, _object(line, path, number))
        for number, line in read_lines(path)
        if line.strip()
    ]
    if len(found) < 2:
        raise UserError(f"{path}: two lines are expected, of columns and of instructions; fetch it again")
    columns, instructions = found[:2]
    return {
        task: (columns.texts(task), instructions.text(task))
        for task in columns.values
        if task in instructions.values
    }


def _object(line: str, path: Path, number: int) -> dict[str, object]:
    value = parse_json(line, path, number, halves=True)
    if not isinstance(value, dict):
        raise UserError(f"{path}:{number}: a {type(value).__name__}; each line must be a JSON object")
    return value
