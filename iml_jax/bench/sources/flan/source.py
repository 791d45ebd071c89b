"""FLAN: prompt patterns over the rows of its datasets, or the rendered prompts of its collections."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from iml_jax.bench import known_tasks
from iml_jax.bench.example import SPLITS, Example
from iml_jax.bench.sources.base import BrokenTask, Source, TaskInfo
from iml_jax.bench.sources.flan import v2 as flan_v2
from iml_jax.bench.sources.flan.fields import forms
from iml_jax.bench.sources.flan.v1 import BENCHMARK, Offered, TemplatedRows, remedy
from iml_jax.bench.sources.formats.files import directory
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError

FORMS = ("auto", "v1", "v2")


@dataclasses.dataclass(frozen=True)
class Flan(Source):
    """Rows through the templates of their task, each row through all, or prompts that are rendered already.

    Rows are found under their TFDS name (``glue/rte/train.jsonl``, a TFDS or ``save_to_disk`` folder, see
    ``datasets.locate``), and cut into splits as FLAN cuts them (``splits``). Sets of sentence pairs
    ``NAME_translate/XX-YY`` that FLAN does not have are tasks ``NAME_translate_xxyy``, worded as its own are.

    Attributes:
      data_dir: the folder of the datasets' rows (v1), or of the files of rendered prompts (v2).
      template_file: FLAN's flan/templates.py, or the same as JSON, or FLAN v2's; empty: templates_v1.json,
        templates.json or templates.py in data_dir.
      form: v1 is rows and templates; v2 is the collection's rendered prompts (inputs, targets, task_name);
        auto is v2 if the folder has a file of these.
      original_task_only: leave out templates that turn a task into another (filtered_templates.tsv).
      held_out_clusters: clusters of FLAN that are evaluated and not trained on, e.g. ("entailment",).
    """

    data_dir: SourcePath
    template_file: OptionalSourcePath = ""
    form: str = dataclasses.field(default="auto", metadata={"choices": FORMS})
    original_task_only: bool = True
    held_out_clusters: tuple[str, ...] = ()

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

    def tasks(self) -> Sequence[TaskInfo]:
        """Every task whose rows are here, sorted; one without templates is excluded."""
        reader = self._reader()
        return tuple(self._info(reader.offered(name)) for name in reader.names())

    def survey(self) -> Iterator[TaskInfo | BrokenTask]:
        """As ``Source.survey``."""
        reader = self._reader()
        return self.surveyed(reader.names(), lambda name: self._info(reader.offered(name)))

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

    def _info(self, offered: Offered) -> TaskInfo:
        known = known_tasks.lookup(self.name, flan_v2.canonical(offered.task))
        role = "evaluation" if known and known.cluster in self.held_out_clusters else "train"
        return TaskInfo(
            benchmark=self.name,
            task=offered.task,
            category=offered.category,
            role=role if offered.splits else "excluded",
            splits=_splits(offered, role),
            metric=offered.metric,
            files=offered.files,
        )

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a dataset without templates stays excluded."""
        if not task.splits:
            return task
        made = super().assigned(task, trained=trained, evaluated=evaluated)
        return dataclasses.replace(made, splits=_splits(self._reader().offered(task.task), made.role))

    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.read_split``; of rows through templates, a skip is counted per row and template."""
        reader = self._reader()
        rows_of = split if split in reader.offered(task.task).splits else "train"
        yield from reader.examples(task.task, rows_of, split, skipped)

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``; evaluation tasks show training rows if they have other rows."""
        offered = self._reader().offered(task.task) if task.splits else None
        if offered and "train" in offered.splits and (task.role == "train" or len(offered.splits) > 1):
            yield from self.examples(task, "train", skipped)


def _splits(offered: Offered, role: str) -> tuple[str, ...]:
    """The splits that a task offers in a role.

    An evaluation task has its validation and test splits, or, where it has training rows only, these as its
    test split.
    """
    named = set(offered.splits)
    if role == "evaluation" and named:
        named = named - {"train"} or {"test"}
    return tuple(split for split in SPLITS if split in named)
