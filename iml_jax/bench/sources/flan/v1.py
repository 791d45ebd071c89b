"""FLAN as published in 2021: patterns over rows in the schemas of TensorFlow Datasets."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.categories import category_of
from iml_jax.bench.sources.base import NO_CHOICES, OTHER_TASK, NothingFoundError, Outcome, skips
from iml_jax.bench.sources.flan import patterns as flan_patterns
from iml_jax.bench.sources.flan.fields import TaskForm, forms, render, takes, translation
from iml_jax.bench.sources.flan.patterns import Template
from iml_jax.bench.sources.flan.rows import RowError
from iml_jax.bench.sources.flan.splits import Slice, slices
from iml_jax.bench.sources.formats.bounds import LONG_ROW, is_long
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.datasets import LocalDataset, locate, locate_first, missing, present
from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries, is_there, walk

BENCHMARK = "flan"
TEMPLATE_FILES = ("templates_v1.json", "templates.json", "templates.py")
_HOW = "tfds build {dataset} (tensorflow_datasets), or save the rows as JSON Lines"


@dataclasses.dataclass(frozen=True, slots=True)
class AvailableTask:
    """What there is of a task, whatever it is used for.

    Attributes:
      task, category, metric: as in ``TaskInfo``.
      splits: our splits with rows, in the order of ``SPLITS``; none where nothing can be rendered.
      files: as in ``TaskInfo``.
    """

    task: str
    category: str
    metric: str
    splits: tuple[str, ...]
    files: tuple[Path, ...]


def remedy(data_dir: Path, task: str) -> str:
    """What rows of one of FLAN's tasks belong where, and how a person gets them."""
    dataset = forms()[task].datasets[0]
    return missing(data_dir, dataset, _HOW.format(dataset=dataset))


@dataclasses.dataclass(frozen=True)
class TemplatedRows:
    """A folder of datasets and a file of templates.

    Attributes:
      folder: holds the datasets.
      template_file: FLAN's templates; None: the first of ``TEMPLATE_FILES`` in the folder.
      original_task_only: leave out the listed templates that turn a task into another.
    """

    folder: Path
    template_file: Path | None
    original_task_only: bool

    def names(self) -> list[str]:
        """The tasks with rows, sorted.

        Raises:
          UserError: there is none, or no template file.
        """
        _, content = self._templates()
        names = []
        for task, form in self._forms(content).items():
            try:
                found = self._local(form) is not None
            except UserError:  # raised again when the task is listed
                found = True
            names += [task] if found else []
        if not names:
            raise NothingFoundError(
                f"{self.folder}: holds none of FLAN's datasets, e.g. {remedy(self.folder, 'rte')}"
            )
        return sorted(names)

    def available(self, task: str) -> AvailableTask:
        """What there is of one of ``names``.

        Raises:
          UserError: its files or its templates are malformed.
        """
        path, content = self._templates()
        form, local = self._found(task, content)
        parts = slices(form.specs, local.splits) if self._chosen(form, path, content) else {}
        used = {name for part in parts.values() for name in part.names}
        files = (file for name in local.splits if name in used for file in local.splits[name])
        return AvailableTask(
            task=task,
            category=category_of(BENCHMARK, task) if task in forms() else "Translation",
            metric=form.metric,
            splits=tuple(split for split in SPLITS if split in parts),
            files=(*dict.fromkeys((*files, *local.metadata)), path),
        )

    def templates(self, task: str) -> int:
        """How many templates of a task are used."""
        path, content = self._templates()
        return len(self._chosen(self._forms(content)[task], path, content))

    def unread(self) -> dict[Path, str]:
        """Every file in the folder that no task reads, copies included -> why."""
        path, content = self._templates()
        read: set[Path] = set()
        claimed: set[Path] = set()
        aside = Copies()
        for form in self._forms(content).values():
            local = self._local(form)
            if local is not None:
                claimed.update(local.files)
                aside |= local.copies
                for part in slices(form.specs, local.splits).values():
                    read.update(file for name in part.names for file in local.splits[name])
                read.update(local.metadata)
        every = (place / name for place, _, names in walk(self.folder, follow_links=True) for name in names)
        unread = dict.fromkeys((file for file in every if file not in claimed and file != path), "no rows")
        unread |= dict.fromkeys(claimed - read, "FLAN uses other splits")
        for name in present(self.folder):
            local = locate(self.folder, name)
            for file in local.files if local else ():
                if file not in claimed:
                    unread[file] = "no dataset of FLAN"
            aside |= local.copies if local else {}
        unread |= {file: why for file, why in aside.items() if file not in read}
        return dict(sorted(unread.items()))

    def items(self, task: str, rows_of: str, split: str) -> Iterator[Outcome]:
        """Streams what each template makes of each row of a task.

        Args:
          task: one of ``names``.
          rows_of: the split that they are read from, one of those offered.
          split: what they are used as. Of a task with options, other splits than ``train`` have the
            templates that ask to choose, so that they have one metric.

        Raises:
          UserError: a row or a file is malformed; names the place.
        """
        path, content = self._templates()
        form, local = self._found(task, content)
        templates = self._chosen(form, path, content)
        dropped = collections.Counter({OTHER_TASK: self._removed(form, path, content)})
        if split != "train" and form.label is not None:
            asking = [template for template in templates if takes(template, form)]
            dropped[NO_CHOICES] = len(templates) - len(asking)
            templates = asking
        names = _class_names(form, local)
        part = slices(form.specs, local.splits)[rows_of]
        for identity, row in part.of(lambda: _rows(local, part)):
            yield from skips(identity, dropped)
            if is_long(row.values):
                yield from skips(identity, {LONG_ROW: len(templates)})
                continue
            try:
                prepared = form.prepare(_named_label(row.values, form, names))
            except RowError as error:
                raise UserError(f"{row.place}: {error}; fix the row, or give {form.datasets[0]}") from error
            if isinstance(prepared, str):
                yield from skips(identity, {prepared: len(templates)})
                continue
            for template in templates:
                yield identity, render(template, prepared, form.target.name)

    def _found(self, task: str, content: Mapping[str, Any]) -> tuple[TaskForm, LocalDataset]:
        form = self._forms(content)[task]
        local = self._local(form)
        if local is None:
            raise UserError(remedy(self.folder, task))
        return form, local

    def _local(self, form: TaskForm) -> LocalDataset | None:
        return locate_first(self.folder, form.datasets)

    def _forms(self, content: Mapping[str, Any]) -> dict[str, TaskForm]:
        """FLAN's tasks, and those of further sets of sentence pairs in the folder."""
        known = dict(forms())
        claimed = {name for form in known.values() for name in form.datasets}
        pairs = (
            pair
            for top in entries(self.folder)
            if top.name.endswith("_translate") and top.is_dir()
            for pair in entries(top)
            if "-" in pair.name
        )
        for place in pairs:
            name = f"{place.parent.name}/{place.name}"
            form = translation(place.parent.name, place.name, frozenset(content)) if place.is_dir() else None
            if form is not None and name not in claimed:
                known.setdefault(form.task, form)
        return known

    def _templates(self) -> tuple[Path, dict[str, Any]]:
        """The template file, and what is in it, key by key not yet parsed."""
        path = self.template_file
        if path is None:
            names = [f"{name}{suffix}" for name in TEMPLATE_FILES for suffix in ("", ".gz")]
            path = next((self.folder / name for name in names if is_there(self.folder / name)), None)
        if path is None:
            raise UserError(
                f"{self.folder}: none of {', '.join(TEMPLATE_FILES)}; put flan/templates.py of "
                "github.com/google-research/FLAN there, or bind Flan.template_file"
            )
        return path, flan_patterns.load(path)

    def _removed(self, form: TaskForm, path: Path, content: Mapping[str, Any]) -> int:
        """How many templates of a task are left out since they ask for another one."""
        parsed = flan_patterns.templates_of(content, form.patterns, form.fields, path)
        return len(parsed) - len(self._chosen(form, path, content))

    def _chosen(self, form: TaskForm, path: Path, content: Mapping[str, Any]) -> list[Template]:
        parsed = flan_patterns.templates_of(content, form.patterns, form.fields, path)
        if not self.original_task_only:
            return parsed
        return [each for each in parsed if not flan_patterns.changes_task(form.patterns, each)]


def _rows(local: LocalDataset, part: Slice) -> Iterator[tuple[str, Record]]:
    """(id, row) of the published splits of a slice."""
    for name in part.names:
        for number, row in enumerate(local.records(name), start=1):
            yield f"{name}:{number}", row


def _class_names(form: TaskForm, local: LocalDataset) -> tuple[str, ...] | None:
    """The classes in the order of the files' numbers, where the files say it and it is not FLAN's order."""
    if form.label is None or not form.classes:
        return None
    names = local.label_names(form.label.columns[0])
    return names if names and names != form.classes and set(names) == set(form.classes) else None


def _named_label(row: Row, form: TaskForm, names: tuple[str, ...] | None) -> Row:
    if names is None or form.label is None:
        return row
    column = form.label.columns[0]
    label = row.get(column)
    return row | {column: names[label]} if isinstance(label, int) and 0 <= label < len(names) else row
