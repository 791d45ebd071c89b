"""CrossFit: few-shot files of 160 tasks, each with a sentence of instruction (OPT-IML appendix A.1)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.categories import category_of
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.base import Item, NothingFoundError, Outcome, TaskInfo, TaskSource
from iml_jax.bench.sources.crossfit import rows as crossfit_rows
from iml_jax.bench.sources.crossfit import tasks as crossfit_tasks
from iml_jax.bench.sources.crossfit.rows import FILE
from iml_jax.bench.sources.crossfit.tasks import CLASSIFICATION, KnownTask
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import SPLIT_NAMES, directory
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries
from iml_jax.storage.reading import parse_json, read_text

_PARTS = {"train": "train", "dev": "evaluation", "test": "evaluation"}


@dataclasses.dataclass(frozen=True)
class CrossFit(TaskSource):
    """What CrossFit's ``tasks/_build_gym.py`` writes, and MetaICL's JSONL files of the same names.

    Files are ``TASK_SHOTS_SEED_{train,dev,test}.tsv`` or ``.jsonl``, plain or ``.gz``, in a folder for each
    task or all in one. A task's training rows are those of all its train files (seeds, numbers of shots),
    each row once; its validation rows come from all dev files. The test files of all seeds hold the same
    rows, which are taken once. Rows of dev and test files whose input is also a training row's are skipped:
    CrossFit draws train and dev of each seed from the same rows. Other files are left alone, MetaICL's
    ``inst:`` and ``unifiedqa:`` ones too, which are prompts of other benchmarks. Of a file that is there in
    both forms CrossFit's own (TSV) is read, of one in several folders that in its task's.

    A prompt is the task's sentence, a line break and the input. Its options are the choices that the input
    lists, those of the JSONL row, or for classification the labels seen in all files of the task, if they
    are 2 to 64. Rows whose output is none of them are skipped.
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder of the files or of the tasks' folders."}
    )
    partition: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "one of CrossFit's ``dataloader/custom_tasks_splits/*.json``: tasks under "
            '"train" are trained on, those under "dev" and "test" evaluated, those '
            "under both (SICK in one of CrossFit's files) too, others excluded; empty: every "
            "task is trained on."
        },
    )
    seeds: tuple[int, ...] = dataclasses.field(
        default=(), metadata={"help": "read the train and dev files of these seeds only; empty: all."}
    )
    instructions: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "a table (TSV) of your own with the columns task, type, choices and instruction; "
            "its rows go before ours."
        },
    )

    header = False
    name = "crossfit"

    def settings(self) -> dict[str, object]:
        """Nothing: seeds and instructions decide which files a task has."""
        return {}

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; files of tasks with options are read for these."""
        found, _ = _find(directory(self.data_dir, "CrossFit.data_dir"))
        known = crossfit_tasks.known_tasks(self.instructions)
        role = self._roles(found)
        return {
            task: functools.partial(self._info, task, paths, known, role(task))
            for task, paths in found.items()
        }

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return _find(directory(self.data_dir, "CrossFit.data_dir"))[1]

    def _roles(self, found: Mapping[str, object]) -> Callable[[str], str]:
        if not self.partition:
            return lambda task: "train"
        path = Path(self.partition)
        content = parse_json(read_text(path), path, halves=True)
        roles: dict[str, str] = {}
        for part, role in _PARTS.items():
            tasks = content.get(part, []) if isinstance(content, dict) else None
            if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
                raise UserError(f"{path}: no object with lists of tasks under {', '.join(_PARTS)}; fix it")
            roles |= dict.fromkeys(tasks, role)
        if not roles.keys() & found.keys():
            raise UserError(f"{path}: names no task of {self.data_dir}; bind the partition of these tasks")
        return lambda task: roles.get(task, "excluded")

    def _info(self, task: str, paths: Sequence[Path], known: Mapping[str, KnownTask], role: str) -> TaskInfo:
        entry = crossfit_tasks.lookup(known, task, paths[0])
        files = self._chosen(task, paths)
        chosen = tuple(path for split in SPLITS for path in files.get(split, ()))
        scored, _ = _answers(entry, chosen)
        metric = "rouge_l" if entry.type == "text_to_text" else "exact_match"
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role=role,
            splits=self.offered(files, role),
            metric="accuracy" if scored else metric,
            files=(*chosen, entry.table),
        )

    def _chosen(self, task: str, paths: Sequence[Path]) -> dict[str, list[Path]]:
        """Split -> its files; of train and dev those of ``seeds``."""
        there = {_seed(path) for path in paths}
        if absent := sorted(set(self.seeds) - there):
            has = ", ".join(map(str, sorted(there)))
            place = f"{paths[0].parent}: {task} has no file of seed {absent[0]}"
            raise UserError(f"{place}, it has {has}; fix CrossFit.seeds")
        every = _by_split(paths)
        for split in ("train", "validation"):
            kept = [path for path in every.pop(split, []) if not self.seeds or _seed(path) in self.seeds]
            if kept:
                every[split] = kept
        return every

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        """As ``TaskSource.available_splits``."""
        return _by_split(task.files)

    def offered(self, available: Collection[str], role: str) -> tuple[str, ...]:
        """As ``TaskSource.offered``; the training rows of an evaluation task are never its test split."""
        unused = "train" if role == "evaluation" else ""
        return tuple(split for split in SPLITS if split in available and split != unused)

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, of lines."""
        files = _by_split(task.files)
        entry = self._entry(task)
        scored, labels = _answers(entry, [path for paths in files.values() for path in paths])
        trained = set() if split == "train" else _inputs(files.get("train", ()), entry)
        for identity, row in _once(files[split], entry, within=split != "test"):
            made = row
            if isinstance(row, Item) and stable_hash(row.source) in trained:
                made = "same input as a training row"
            elif isinstance(row, Item) and scored:
                made = crossfit_rows.with_answers(row, labels, choices=entry.choices)
            if isinstance(made, str):
                yield identity, made
            else:
                options = made.options if scored else ()
                yield identity, Item(f"{entry.instruction}\n{made.source}", made.references, options)

    def _entry(self, task: TaskInfo) -> KnownTask:
        known = crossfit_tasks.known_tasks(self.instructions)
        return crossfit_tasks.lookup(known, task.task, task.files[0])


def _find(folder: Path) -> tuple[dict[str, list[Path]], Copies]:
    """Task -> its files; and copies."""
    every = (path for entry in entries(folder) for path in (entries(entry) if entry.is_dir() else (entry,)))
    named, twins = copies.once(
        ((_stem(path, match), path) for path in every if (match := FILE.fullmatch(path.name))), "rows", _order
    )
    found: dict[str, list[Path]] = collections.defaultdict(list)
    for path in named.values():
        found[_matched(path)["task"]].append(path)
    if not found:
        remedy = f"bind {folder / 'data'}" if (folder / "data").is_dir() else "bind CrossFit's data folder"
        raise NothingFoundError(
            f"{folder}: no file TASK_SHOTS_SEED_SPLIT.tsv (or .jsonl, or .gz of it); {remedy}"
        )
    return dict(found), twins


def _stem(path: Path, match: re.Match[str]) -> str:
    return path.name.partition(f".{match['form']}")[0]


def _order(path: Path) -> tuple[Any, ...]:
    """Of the same rows in several files: CrossFit's own form first, then the folder of the task."""
    elsewhere = path.parent.name != _matched(path)["task"]
    return crossfit_rows.is_jsonl(path), elsewhere, *copies.by_name(path)


def _matched(path: Path) -> re.Match[str]:
    return FILE.fullmatch(path.name)  # type: ignore[return-value]  # only such files are kept


def _seed(path: Path) -> int:
    return int(_matched(path)["seed"])


def _by_split(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Split -> the data files among ``paths``, by number of shots and seed."""
    found: dict[str, list[tuple[int, int, Path]]] = collections.defaultdict(list)
    for path in paths:
        if match := FILE.fullmatch(path.name):
            found[SPLIT_NAMES[match["split"]]].append((int(match["shots"]), int(match["seed"]), path))
    return {split: [path for _, _, path in sorted(entries)] for split, entries in found.items()}


def _answers(entry: KnownTask, paths: Sequence[Path]) -> tuple[bool, tuple[str, ...]]:
    """Whether the rows of a task have options, and the options of rows that do not bring their own."""
    if entry.choices or crossfit_rows.lists_options(paths):
        return True, ()
    labels = crossfit_rows.labels(paths) if entry.type == CLASSIFICATION else ()
    return bool(labels), labels


def _once(paths: Sequence[Path], entry: KnownTask, *, within: bool) -> Iterator[Outcome]:
    """The lines of several files, each row once: none that an earlier file has; ``within``: nor the same."""
    earlier: set[int] = set()
    for path in paths:
        own: set[int] = set()
        stem = "_".join(path.name.split("_")[-3:-1])
        for number, row in crossfit_rows.read(path, single=entry.single):
            made = row
            if isinstance(row, Item):
                key = stable_hash(row.source, *row.references)
                made = "the same row as an earlier one" if key in earlier or (within and key in own) else row
                own.add(key)
            yield f"{stem}:{number}", made
        earlier |= own


def _inputs(paths: Sequence[Path], entry: KnownTask) -> set[int]:
    """Hashes of the inputs of all usable rows."""
    rows = (row for path in paths for _, row in crossfit_rows.read(path, single=entry.single))
    return {stable_hash(row.source) for row in rows if isinstance(row, Item)}
