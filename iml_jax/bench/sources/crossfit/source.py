"""CrossFit: few-shot files of 160 tasks, each with a sentence of instruction (OPT-IML appendix A.1)."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.categories import category_of
from iml_jax.bench.example import SPLITS, Example
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.base import BrokenTask, Source, TaskInfo
from iml_jax.bench.sources.crossfit import rows as crossfit_rows
from iml_jax.bench.sources.crossfit import tasks as crossfit_tasks
from iml_jax.bench.sources.crossfit.rows import FILE, Row
from iml_jax.bench.sources.crossfit.tasks import CLASSIFICATION, KnownTask
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import SPLIT_NAMES, directory
from iml_jax.bench.sources.nothing import NothingFoundError
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries
from iml_jax.storage.reading import parse_json, read_text

_PARTS = {"train": "train", "dev": "evaluation", "test": "evaluation"}


@dataclasses.dataclass(frozen=True)
class CrossFit(Source):
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

    Attributes:
      data_dir: the folder of the files or of the tasks' folders.
      partition: one of CrossFit's ``dataloader/custom_tasks_splits/*.json``: tasks under "train" are trained
        on, those under "dev" and "test" evaluated, those under both (SICK in one of CrossFit's files) too,
        others excluded; empty: every task is trained on.
      seeds: read the train and dev files of these seeds only; empty: all.
      instructions: a table (TSV) of your own with the columns task, type, choices and instruction; its rows
        go before ours.
    """

    data_dir: SourcePath
    partition: OptionalSourcePath = ""
    seeds: tuple[int, ...] = ()
    instructions: OptionalSourcePath = ""

    header = False
    name = "crossfit"

    def settings(self) -> dict[str, object]:
        """Nothing: seeds and instructions decide which files a task has."""
        return {}

    def tasks(self) -> Sequence[TaskInfo]:
        """Every task with files, sorted; files of tasks with options are read for these."""
        names, info = self._lister()
        return tuple(map(info, names))

    def survey(self) -> Iterator[TaskInfo | BrokenTask]:
        """As ``Source.survey``."""
        return self.surveyed(*self._lister())

    def _lister(self) -> tuple[list[str], Callable[[str], TaskInfo]]:
        """Names of the tasks, and what lists one."""
        found, _ = _find(directory(self.data_dir, "CrossFit.data_dir"))
        known = crossfit_tasks.known_tasks(self.instructions)
        role = self._roles(found)
        return sorted(found), lambda task: self._info(task, found[task], known, role(task))

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
        splits = _splits(set(files), role)
        chosen = tuple(path for split in SPLITS for path in files.get(split, ()))
        scored, _ = _answers(entry, chosen)
        metric = "rouge_l" if entry.type == "text_to_text" else "exact_match"
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role=role,
            splits=splits,
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

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; splits follow the role as for a ``partition``."""
        made = super().assigned(task, trained=trained, evaluated=evaluated)
        return dataclasses.replace(made, splits=_splits(set(_by_split(task.files)), made.role))

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``; evaluation tasks show their training rows too."""
        if "train" in _by_split(task.files):
            yield from self.examples(task, "train", skipped)

    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.read_split``; the rows of ``skipped`` are lines."""
        files = _by_split(task.files)
        entry = self._entry(task)
        scored, labels = _answers(entry, [path for paths in files.values() for path in paths])
        trained = set() if split == "train" else _inputs(files.get("train", ()), entry)
        for place, row in _once(files[split], entry, skipped, within=split != "test"):
            if stable_hash(row.source) in trained:
                skipped["same input as a training row"] += 1
                continue
            made = crossfit_rows.with_answers(row, labels, choices=entry.choices) if scored else row
            if isinstance(made, str):
                skipped[made] += 1
                continue
            yield Example(
                benchmark=self.name,
                task=task.task,
                example_id=place,
                split=split,
                instruction="",
                source=f"{entry.instruction}\n{made.source}",
                references=made.references,
                options=made.options if scored else (),
            )

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


def _splits(named: set[str], role: str) -> tuple[str, ...]:
    unused = {"train"} if role == "evaluation" else set()
    return tuple(split for split in SPLITS if split in named - unused)


def _answers(entry: KnownTask, paths: Sequence[Path]) -> tuple[bool, tuple[str, ...]]:
    """Whether the rows of a task have options, and the options of rows that do not bring their own."""
    if entry.choices or crossfit_rows.lists_options(paths):
        return True, ()
    labels = crossfit_rows.labels(paths) if entry.type == CLASSIFICATION else ()
    return bool(labels), labels


def _once(
    paths: Sequence[Path], entry: KnownTask, skipped: collections.Counter[str], *, within: bool
) -> Iterator[tuple[str, Row]]:
    """(id, row) of all usable lines that no earlier file has; ``within``: nor the same file before."""
    earlier: set[int] = set()
    for path in paths:
        own: set[int] = set()
        stem = "_".join(path.name.split("_")[-3:-1])
        for number, row in crossfit_rows.read(path, single=entry.single):
            if isinstance(row, str):
                skipped[row] += 1
                continue
            key = stable_hash(row.source, *row.references)
            if key in earlier or (within and key in own):
                skipped["the same row as an earlier one"] += 1
                continue
            own.add(key)
            yield f"{stem}:{number}", row
        earlier |= own


def _inputs(paths: Sequence[Path], entry: KnownTask) -> set[int]:
    """Hashes of the inputs of all usable rows."""
    rows = (row for path in paths for _, row in crossfit_rows.read(path, single=entry.single))
    return {stable_hash(row.source) for row in rows if isinstance(row, Row)}
