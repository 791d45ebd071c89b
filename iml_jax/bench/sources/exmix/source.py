"""ExMix, rebuilt from its datasets' own distributions (ExT5's mixture was never released; OPT-IML A.1)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iml_jax.bench.categories import category_of
from iml_jax.bench.sources.base import (
    NothingFoundError,
    Outcome,
    Source,
    TaskInfo,
    TaskSource,
    without_repeats,
)
from iml_jax.bench.sources.exmix import choices, dialogue, texts
from iml_jax.bench.sources.exmix.formats import NO_LABEL, SPLIT_WORDS, Format, TaskFiles
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.bounds import LONG_ROW, is_long
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.datasets import LocalDataset, locate_first
from iml_jax.bench.sources.formats.files import directory
from iml_jax.config.paths import SourcePath
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables
from iml_jax.storage.folders import walk

TABLE = Path(__file__).with_name("tasks.tsv")
FORMATS = Path(__file__).with_name("formats.tsv")
READERS = {**choices.READERS, **dialogue.READERS, **texts.READERS}
# What OPT-IML Bench has of ExMix: what no other of its benchmarks has (OPT-IML appendix A.1).
OPT_IML_TASKS = (
    "aidayago2",
    "clinc150",
    "cogs",
    "funql",
    "gpt2_output",
    "hwu64",
    "newsquizqa",
    "restaurant8k",
    "shakespeare",
    "styleptb",
    "top",
    "ukp",
    "wikipedia_toxicity_subtypes",
    "wned",
)
# Tasks whose rows may also come as a TFDS (or Hugging Face, or JSONL ...) dataset of this name.
_DATASETS = {
    "wikipedia_toxicity_subtypes": (
        "wikipedia_toxicity_subtypes/EnglishSubtypes",
        "wikipedia_toxicity_subtypes",
    )
}
_CORRECTED = "_fixed"


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of the table.

    Attributes:
      task: the task's name; ``NAME/*`` stands for a task for each folder below NAME.
      folders: where its files are, below ``data_dir``; the first that has some is read.
      format: how they are read.
      instruction: one sentence that says what to do; ours.
    """

    task: str
    folders: tuple[str, ...]
    format: Format
    instruction: str


@dataclasses.dataclass(frozen=True)
class _Found:
    """A task with its files, or with a dataset in a common layout; ``copies`` of it are not read."""

    row: _Row
    files: TaskFiles
    local: LocalDataset | None = None
    copies: Copies = dataclasses.field(default_factory=Copies)

    def splits(self) -> dict[str, list[Path]]:
        """Split -> files with rows; a hidden test set goes with the last split that has labels."""
        if self.local:
            return {split: list(paths) for split, paths in self.local.splits.items() if split in SPLITS}
        held: dict[str, list[Path]] = collections.defaultdict(list)
        hidden = [path for path, split in self.files.rows.items() if split == "test" and self._hidden(path)]
        for path, split in self.files.rows.items():
            if path not in hidden:
                for name in (split,) if split else SPLITS:
                    held[name].append(path)
        last = next((split for split in ("validation", "train", "test") if split in held), "test")
        if hidden:
            held[last] += hidden
        return held

    def _hidden(self, path: Path) -> bool:
        """Whether the first row of a test file has no label; a file that cannot be read is not hidden."""
        if not self.row.format.hides:
            return False
        try:
            first = next(self.row.format.read(self.files, path, "test"), None)
        except UserError:
            return False
        return first is not None and first[1] == NO_LABEL

    def outcomes(self, split: str) -> list[Iterator[Outcome]]:
        """For each file of a split, its rows; their numbers begin with the file's name."""
        if self.local:
            return [self._local(split)]
        return [self._numbered(path, split) for path in self.splits()[split]]

    def _numbered(self, path: Path, split: str) -> Iterator[Outcome]:
        name = path.relative_to(self.files.folder).as_posix().removesuffix(".gz")
        for number, made in self.row.format.read(self.files, path, split):
            yield f"{name}:{number}", made

    def _local(self, split: str) -> Iterator[Outcome]:
        assert self.local is not None
        for number, row in enumerate(self.local.records(split), 1):
            made = LONG_ROW if is_long(row.values) else choices.toxicity_item(row.values, row.place)
            yield f"{split}:{number}", made


@functools.cache
def _table() -> dict[str, _Row]:
    formats = dict(tables.read(FORMATS, _format))
    return {row["task"]: _row(row, formats[row["reader"]]) for row in tables.rows(TABLE)}


def _format(**row: str) -> tuple[str, Format]:
    """(name of the reader, its format)."""
    made = Format(
        files=re.compile(row["files"]),
        read=READERS[row["reader"]],
        metric=row["metric"],
        side=re.compile(row["side"]) if row["side"] else None,
        by_row=row["splits"] == "by row",
        hides=row["test_labels"] == "may be hidden",
    )
    return row["reader"], made


def _row(row: Mapping[str, str], made: Format) -> _Row:
    if row["files"]:
        made = dataclasses.replace(made, files=re.compile(row["files"]))
    return _Row(row["task"], tuple(row["folder"].split("|")), made, row["instruction"])


@dataclasses.dataclass(frozen=True)
class ExMix(TaskSource):
    """One folder a dataset, with the files of its public distribution (plain or ``.gz``; docs/data.md).

    The prompt is one sentence that says what to do, and the row's input below it; the sentences, folders and
    formats are in ``tasks.tsv`` and ``formats.tsv``.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder of the datasets' folders."})
    tasks_kept: str = dataclasses.field(
        default="all",
        metadata={
            "help": "all, or opt_iml: every task that OPT-IML Bench does not have of ExMix is excluded.",
            "choices": ("all", "opt_iml"),
        },
    )

    strict: bool = dataclasses.field(
        default=False,
        kw_only=True,
        metadata={
            "help": "refuse a malformed optional file (a list of labels, SGD's schema.json), which is "
            "otherwise done without and counted; a task that a mixture names is read so."
        },
    )

    name = "exmix"

    def __post_init__(self) -> None:
        if self.tasks_kept not in ("all", "opt_iml"):
            raise UserError(f"ExMix.tasks_kept = {self.tasks_kept!r}: must be all or opt_iml")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"strict": self.strict}

    @staticmethod
    def known() -> tuple[str, ...]:
        """The names of all tasks that can be read, sorted; ``NAME/*``: one for each folder below NAME."""
        return tuple(sorted(_table()))

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; of a test file whose labels may be hidden the first row is read."""
        found = self._found()
        if not found:
            raise NothingFoundError(
                f"{self.data_dir}: no dataset of ExMix; put one into a folder such as {self.known()[0]}"
            )
        return {task: functools.partial(self._info, task, made) for task, made in found.items()}

    def unread(self) -> dict[Path, str]:
        """Every file below the folder that no task reads -> why."""
        found = self._found()
        read = {path for made in found.values() for path in (*made.files.rows, *made.files.side)}
        aside = self.set_aside()
        unread = {}
        for folder, _, names in walk(directory(self.data_dir, "ExMix.data_dir")):
            for path in (folder / name for name in names):
                if path not in read and not any(_holds(made, path) for made in found.values()):
                    corrected = _with_correction(path)
                    why = "replaced by its corrected version" if corrected in read else "no known form"
                    unread[path] = aside.get(path, why)
        return unread

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        found = self._found()
        read = {path for made in found.values() for path in (*made.files.rows, *made.files.side)}
        return {p: why for made in found.values() for p, why in made.copies.items() if p not in read}

    def _found(self) -> dict[str, _Found]:
        data = directory(self.data_dir, "ExMix.data_dir")
        found: dict[str, _Found] = {}
        for row in _table().values():
            for task, folder in _places(data, row):
                files, twins = _files(folder, row)
                if task in found:
                    more = dict.fromkeys(files.rows, copies.same(found[task].files.folder, "dataset"))
                    found[task].copies.update(more | twins)
                elif files.rows:
                    found[task] = _Found(row, files, copies=twins)
            if local := locate_first(data, _DATASETS.get(row.task, ())):
                if row.task in found:
                    more = dict.fromkeys(local.files, copies.same(found[row.task].files.folder, "dataset"))
                    found[row.task].copies.update(more)
                else:
                    found[row.task] = _Found(row, TaskFiles(data, {}), local, dict(local.copies))
        return found

    def _info(self, task: str, found: _Found) -> TaskInfo:
        kept = self.tasks_kept == "all" or task in OPT_IML_TASKS
        held, metadata = found.splits(), found.local.metadata if found.local else ()
        files = (path for split in SPLITS for path in held.get(split, ()))
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role="train" if kept else "excluded",
            splits=tuple(split for split in SPLITS if split in held),
            metric=found.row.format.metric,
            files=tuple(dict.fromkeys((*files, *found.files.side, *metadata))),
        )

    def asked_for(self, task: str) -> Source:
        """As ``Source.asked_for``."""
        return dataclasses.replace(self, strict=True)

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, of utterances, turns, questions or sentences."""
        found = self._found()[task.task]
        for identity, made in without_repeats(found.outcomes(split)):
            if isinstance(made, str):
                yield identity, made
            else:
                source = f"{found.row.instruction}\n{made.source}"
                yield identity, dataclasses.replace(made, source=source)


def _places(data: Path, row: _Row) -> Iterator[tuple[str, Path]]:
    """(task, folder) for every folder where a row of the table may have files."""
    for name in row.folders:
        if not name.endswith("/*"):
            yield row.task, data / name
            continue
        base = data / name.removesuffix("/*")
        for folder, _, _ in walk(base):
            if folder != base:
                yield row.task.removesuffix("*") + folder.relative_to(base).as_posix(), folder


def _files(folder: Path, row: _Row) -> tuple[TaskFiles, Copies]:
    """The files of a folder that a row of the table takes, and their copies."""
    rows: dict[Path, str] = {}
    side: list[Path] = []
    patterns = [pattern for pattern in (row.format.files, row.format.side) if pattern]
    taken = ((name, path) for name, path in _walk(folder) if any(p.fullmatch(name) for p in patterns))
    named, twins = copies.once(taken, "file")
    for name, path in named.items():
        if match := row.format.files.fullmatch(name):
            split = match.groupdict().get("split")
            rows[path] = "" if row.format.by_row else SPLIT_WORDS[split] if split else "test"
        else:
            side.append(path)
    corrected = {path for path in rows if _with_correction(path) in rows}
    kept = {path: split for path, split in rows.items() if path not in corrected}
    return TaskFiles(folder, kept, tuple(side)), twins


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to the folder, without ``.gz``; path) of every file below a folder, sorted."""
    for place, _, names in walk(folder):
        for name in names:
            path = place / name
            yield path.relative_to(folder).as_posix().removesuffix(".gz"), path


def _with_correction(path: Path) -> Path:
    """What the corrected version of a file is called: ``job_funql_test_fixed.tsv``."""
    stem, dot, endings = path.name.partition(".")
    return path.with_name(f"{stem}{_CORRECTED}{dot}{endings}")


def _holds(found: _Found, path: Path) -> bool:
    """Whether a file belongs to a dataset that is not read file by file."""
    return found.local is not None and found.local.folder in path.parents
