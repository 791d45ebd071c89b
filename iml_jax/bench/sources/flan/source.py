"""FLAN: prompt patterns over the rows of its datasets, or the rendered prompts of its collections."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.base import Outcome, TaskInfo, TaskSource, rows_of
from iml_jax.bench.sources.flan import v2 as flan_v2
from iml_jax.bench.sources.flan.fields import forms
from iml_jax.bench.sources.flan.v1 import BENCHMARK, TemplatedRows, remedy
from iml_jax.bench.sources.formats.files import directory
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError

FORMS = ("auto", "v1", "v2")


@dataclasses.dataclass(frozen=True)
class Flan(TaskSource):
    """Rows through the templates of their task, each row through all, or prompts that are rendered already.

    Rows are found under their TFDS name (``glue/rte/train.jsonl``, a TFDS or ``save_to_disk`` folder, see
    ``datasets.locate``), and cut into splits as FLAN cuts them (``splits``). Sets of sentence pairs
    ``NAME_translate/XX-YY`` that FLAN does not have are tasks ``NAME_translate_xxyy``, worded as its own are.
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder of the datasets' rows (v1), or of the files of rendered prompts (v2)."}
    )
    template_file: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "FLAN's flan/templates.py, or the same as JSON, or FLAN v2's; empty: "
            "templates_v1.json, templates.json or templates.py in data_dir."
        },
    )
    form: str = dataclasses.field(
        default="auto",
        metadata={
            "help": "v1 is rows and templates; v2 is the collection's rendered prompts (inputs, "
            "targets, task_name); auto is v2 if the folder has a file of these.",
            "choices": FORMS,
        },
    )
    original_task_only: bool = dataclasses.field(
        default=True,
        metadata={"help": "leave out templates that turn a task into another (filtered_templates.tsv)."},
    )
    held_out_clusters: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata={"help": 'clusters of FLAN that are evaluated and not trained on, e.g. ("entailment",).'},
    )

    header = True
    name = BENCHMARK

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UserError(f"Flan.form = {self.form!r}: must be {', '.join(FORMS)}")
        clusters = {known.cluster for known in known_tasks.every(self.name)}
        if unknown := sorted(set(self.held_out_clusters) - clusters):
            has = ", ".join(sorted(clusters))
            raise UserError(f"Flan.held_out_clusters: no cluster {unknown[0]!r}; FLAN has {has}")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        # "records": raise it where the same rows give other examples.
        return {"form": self.form, "original_task_only": self.original_task_only, "records": 2}

    @staticmethod
    def known() -> dict[str, str]:
        """Every task of FLAN -> the TFDS name of its dataset, whether its rows are here or not."""
        return {task: form.datasets[0] for task, form in forms().items()}

    def remedy(self, task: str) -> str:
        """What rows of one of the ``known`` tasks belong where, and how a person gets them."""
        return remedy(Path(self.data_dir), task)

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; a task without templates is excluded."""
        reader = self._reader()
        return {name: functools.partial(self._info, reader, name) for name in reader.names()}

    def templates(self, task: TaskInfo) -> int:
        """As ``Source.templates``: those that are used; one for rendered prompts."""
        return self._reader().templates(task.task)

    def unread(self) -> dict[Path, str]:
        """Every file of a dataset below the folder that no task reads -> why."""
        return self._reader().unread()

    def _reader(self) -> TemplatedRows | flan_v2.RenderedPrompts:
        folder = directory(self.data_dir, "Flan.data_dir")
        if self.form == "v2" or (self.form == "auto" and flan_v2.is_collection(folder)):
            return flan_v2.RenderedPrompts(folder)
        template_file = Path(self.template_file) if self.template_file else None
        return TemplatedRows(folder, template_file, self.original_task_only)

    def _info(self, reader: TemplatedRows | flan_v2.RenderedPrompts, task: str) -> TaskInfo:
        available = reader.available(task)
        known = known_tasks.lookup(self.name, flan_v2.canonical(available.task))
        role = "evaluation" if known and known.cluster in self.held_out_clusters else "train"
        return TaskInfo(
            benchmark=self.name,
            task=available.task,
            category=available.category,
            role=role if available.splits else "excluded",
            splits=self.offered(available.splits, role),
            metric=available.metric,
            files=available.files,
        )

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a dataset without templates stays excluded."""
        return super().assigned(task, trained=trained, evaluated=evaluated) if task.splits else task

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        """As ``TaskSource.available_splits``; none of a dataset without templates."""
        return self._reader().available(task.task).splits if task.splits else ()

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``; of rows through templates one for each row and template."""
        reader = self._reader()
        yield from reader.items(task.task, rows_of(split, reader.available(task.task).splits), split)
