"""FLAN's collections as rendered prompts: one prompt per row, the rows of all tasks in the same files.

Hugging Face's ``{flan2021,t0,niv2,cot,dialog}_submix_original`` (DataProvenanceInitiative, conceptofmind), as
Parquet or JSON Lines: ``inputs``, ``targets``, ``task_source``, ``task_name``, and ``template_type``, one of
zs_opt (zero shots, options listed), zs_noopt, fs_opt and fs_noopt. Also Muennighoff/flan, the prompts of
2021, where the column is ``task``, with values such as aeslc_10templates.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from iml_jax.bench import known_tasks
from iml_jax.bench.categories import category_of
from iml_jax.bench.sources.base import Item, Outcome
from iml_jax.bench.sources.flan import collected_rows
from iml_jax.bench.sources.flan.collected_rows import RenderedPrompt, TaskIndex
from iml_jax.bench.sources.flan.fields import EMPTY_INPUT, EMPTY_TARGET, NOT_AN_OPTION, forms
from iml_jax.bench.sources.flan.options import parse_options
from iml_jax.bench.sources.flan.v1 import BENCHMARK, AvailableTask
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import walk

_FILE = re.compile(r"(?P<stem>.+)\.(parquet|jsonl|jsonl\.gz)")
_SPLIT = re.compile(r"(?<![a-z])(?P<split>train|validation|test)(?![a-z])")
# Task source -> where its names are known, or the category of all of them.
_BENCHMARKS = {"NIv2": "super_natural_instructions", "P3": "promptsource"}
_CATEGORIES = {"CoT": "Reasoning", "Dialog": "Dialogue Generation"}


def is_collection(folder: Path) -> bool:
    """Whether a file in the folder or below it has a collection's columns; malformed ones have not."""
    for path in _files(folder)[0]:
        try:
            if collected_rows.is_collected(path):
                return True
        except UserError:  # raised again where the file is read
            continue
    return False


def _files(folder: Path) -> tuple[list[Path], Copies]:
    """The files that may be a collection's, sorted: down to two folders deep; and copies of them."""
    every: list[tuple[Path, Path]] = []
    for place, below, files in walk(folder):
        if len(place.relative_to(folder).parts) >= 2:
            below.clear()
        matches = filter(None, map(_FILE.fullmatch, files))
        every += ((place / match["stem"], place / match.string) for match in matches)
    named, twins = copies.once(every, "rows", copies.by_form)
    return sorted(named.values()), twins


def canonical(task: str) -> str:
    """FLAN's own name of a task that the collection calls by its dataset: ``glue/cola:2.0.0`` is ``cola``.

    A dataset that several tasks read is called by the first of them; other names stay.
    """
    return _by_dataset().get(task.removeprefix("huggingface:").partition(":")[0], task)


@functools.cache
def _by_dataset() -> dict[str, str]:
    names: dict[str, str] = {}
    for task, form in forms().items():
        names.setdefault(form.datasets[0], task)
    return names


def category(task: str, source: str) -> str:
    """The category of a task by its name and ``task_source``, as its own benchmark's table has it."""
    benchmark = _BENCHMARKS.get(source, BENCHMARK)
    name = canonical(task)
    if benchmark == "super_natural_instructions":
        name = task.partition(".")[0]
    elif benchmark == "promptsource":
        name = _dataset_of_prompt(task)
    if source in _CATEGORIES and known_tasks.lookup(benchmark, name) is None:
        return _CATEGORIES[source]
    return category_of(benchmark, name)


@functools.cache
def _dataset_of_prompt(task: str) -> str:
    """P3's ``DATASET_SUBSET_TEMPLATE`` -> ``DATASET/SUBSET``, the longest that is known."""
    known = {re.sub(r"\W", "_", row.task): row.task for row in known_tasks.every("promptsource")}
    flat = re.sub(r"\W", "_", task)
    best = max((name for name in known if f"{flat}_".startswith(f"{name}_")), key=len, default="")
    return known.get(best, task)


@dataclasses.dataclass(frozen=True)
class RenderedPrompts:
    """A folder of a collection's files.

    Attributes:
      folder: holds them.
    """

    folder: Path

    def names(self) -> list[str]:
        """The tasks, sorted; every file is scanned for them once per process.

        Raises:
          UserError: a file is malformed, or none is a collection's.
        """
        names = {task for _, index in self._indexes() for task in index.tasks}
        if not names:
            columns = ", ".join(collected_rows.COLUMNS)
            raise UserError(f"{self.folder}: no .parquet or .jsonl file with the columns {columns}")
        return sorted(names)

    def _indexes(self) -> Iterator[tuple[Path, TaskIndex]]:
        for path in _files(self.folder)[0]:
            if collected_rows.is_collected(path):
                yield path, collected_rows.index_of(path)

    def _holding(self, task: str) -> Iterator[tuple[str, Path, TaskIndex]]:
        """(split, file, its index) of each file that has rows of the task."""
        for path, index in self._indexes():
            if task in index.tasks:
                yield _split_of(path.relative_to(self.folder)), path, index

    def available(self, task: str) -> AvailableTask:
        """What there is of one of ``names``.

        Raises:
          UserError: a file is malformed.
        """
        held = sorted(self._holding(task), key=lambda part: SPLITS.index(part[0]))
        source = held[0][2].tasks[task].source
        form = forms().get(canonical(task))
        return AvailableTask(
            task=task,
            category=category(task, source),
            metric=form.metric if form else "rouge_l",
            splits=tuple(dict.fromkeys(split for split, *_ in held)),
            files=tuple(dict.fromkeys(path for _, path, *_ in held)),
        )

    def templates(self, task: str) -> int:
        """One: the prompts do not say how many there were."""
        del task
        return 1

    def unread(self) -> dict[Path, str]:
        """Every other file below the folder, such as rows for templates -> why it is not read."""
        read = {path for path, _ in self._indexes()}
        twins = _files(self.folder)[1]
        return {
            path: twins.get(path) or "no prompts of a collection, which the folder is read as (Flan.form)"
            for place, _, names in walk(self.folder)
            for path in (place / name for name in names)
            if path not in read
        }

    def items(self, task: str, rows_of: str, split: str) -> Iterator[Outcome]:
        """Streams the prompts of a task, in the order of the files.

        Args:
          task: one of ``names``.
          rows_of: the split that they are read from, one of those offered.
          split: what they are used as. Other splits than ``train`` have one metric: of a task of FLAN's with
            options they have the prompts that list these, of every other task all, without options.

        Raises:
          UserError: a row is malformed.
        """
        form = forms().get(canonical(task))
        chosen = form is not None and form.label is not None
        for held, path, index in self._holding(task):
            if held != rows_of:
                continue
            place = path.relative_to(self.folder).as_posix()
            for number, row in collected_rows.prompts(path, index, task):
                options = parse_options(row.inputs, row.targets) if "noopt" not in row.template_type else ()
                if split != "train":
                    options = options if chosen else ()
                reason = _unusable(row, missing_options=chosen and split != "train" and not options)
                made = Item(row.inputs.strip(), (row.targets.strip(),), options, row.template_type)
                yield f"{place}:{number}", reason or made


def _split_of(path: Path) -> str:
    """The split that the path of a file names last; a collection that names none is for training."""
    found = _SPLIT.findall(path.as_posix().lower())
    return found[-1] if found else "train"


def _unusable(row: RenderedPrompt, *, missing_options: bool) -> str | None:
    """Why a row is no example, or None."""
    if not row.inputs.strip():
        return EMPTY_INPUT
    if not row.targets.strip():
        return EMPTY_TARGET
    return NOT_AN_OPTION if missing_options else None
