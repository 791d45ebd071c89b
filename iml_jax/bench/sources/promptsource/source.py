"""PromptSource: Jinja templates over dataset rows (OPT-IML paper, section 2.4; P3 is what they render to).

Which templates are used: ``filter`` says which ask for another task than their dataset's and
are left out. In evaluation OPT-IML also leaves out a template that does not apply to every example
(appendix A.1; ``turk``, none of whose templates does, is excepted), so that all templates of a task are
measured on the same examples. A row that no template applies to is no example of the split.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from iml_jax.bench.categories import category_of
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.base import (
    NO_CHOICES,
    OTHER_TASK,
    Item,
    NothingFoundError,
    Outcome,
    TaskInfo,
    TaskSource,
    skips,
)
from iml_jax.bench.sources.formats.bounds import LongRow
from iml_jax.bench.sources.formats.datasets import LocalDataset, locate, missing, present, same_name
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.formats.shortening import shortened
from iml_jax.bench.sources.promptsource.answers import with_all_answers
from iml_jax.bench.sources.promptsource.filter import asking_for_the_task
from iml_jax.bench.sources.promptsource.labels import UNLABELLED_SPLIT, UNNAMED_SPLIT, labelled_splits
from iml_jax.bench.sources.promptsource.rendering import Rendered
from iml_jax.bench.sources.promptsource.roles import (
    TRAIN_SETS,
    published_of,
    read_roles,
    role_of,
    role_table_in,
    split_of,
)
from iml_jax.bench.sources.promptsource.rows import PlacedRow, applies, batches, general, rendered
from iml_jax.bench.sources.promptsource.template_pool import NO_COLUMN, Skipped, TemplateSet
from iml_jax.bench.sources.promptsource.templates import PromptTemplate, load_templates
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.seeds import check_seed
from iml_jax.storage.folders import entries, is_there, walk

TEMPLATE_FILE = "templates.yaml"
PARTIAL = "template does not apply to every example"
NO_CHOICE = "target is not among the answer choices"
_EXACT = frozenset({"Accuracy", "Sequence Accuracy", "Squad", "COQA F1", "Trivia QA"})
# How a person gets what no hub gives.
_BY_HAND = {
    "jigsaw_toxicity_pred": "kaggle.com/c/jigsaw-toxic-comment-classification-challenge, saved as JSON Lines",
    "jigsaw_unintended_bias": (
        "kaggle.com/c/jigsaw-unintended-bias-in-toxicity-classification, saved as JSON Lines"
    ),
    "story_cloze/2016": "ask for it at cs.rochester.edu/nlp/rocstories, and save it as JSON Lines",
}


@dataclasses.dataclass(frozen=True)
class PromptSource(TaskSource):
    """The rows of each dataset (``datasets.locate`` says in which formats) through the templates of its name.

    A subset named ``default`` or ``plain_text`` is the dataset without a subset. Every row is rendered with
    every template that applies to it (``pooling.drawn`` takes as many prompts as there are rows for
    training); in evaluation splits of a task that has templates with answer choices, only with these, since
    a task has one metric. A published split without labels (SuperGLUE's tests) is passed over, unless the
    task has no other to evaluate. Published splits such as ``train_r1`` or ``dev_r1`` count as what they
    begin with.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder of the datasets' rows."})
    template_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder of ``DATASET[/SUBSET]/templates.yaml`` (``promptsource/templates``)."}
    )
    role_table: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "T0's datasets.csv, which says what is trained on and what is evaluated; empty: "
            "every dataset is trained on."
        },
    )
    train_sets: tuple[str, ...] = dataclasses.field(
        default=TRAIN_SETS,
        metadata={"help": "the ``do_train`` entries of the role table that are trained on."},
    )
    original_task_only: bool = dataclasses.field(
        default=True, metadata={"help": "leave out templates that turn the dataset into another task."}
    )
    value_limit: int = dataclasses.field(
        default=2048,
        metadata={
            "help": "characters that each value printed in a prompt or target is cut to, at a word, "
            "as PromptSource does and P3 shows; 0 cuts none."
        },
    )
    partial_templates: tuple[str, ...] = dataclasses.field(
        default=("turk",),
        metadata={
            "help": "datasets that are evaluated also with templates that do not apply to every example."
        },
    )
    seed: int = dataclasses.field(
        default=0, metadata={"help": "another seed makes other random choices in the templates."}
    )

    header = True
    name = "promptsource"

    def __post_init__(self) -> None:
        if self.value_limit < 0:
            raise UserError(f"PromptSource.value_limit = {self.value_limit}: must be >= 0 (0 cuts none)")
        check_seed("PromptSource.seed", self.seed)

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {
            "original_task_only": self.original_task_only,
            "value_limit": self.value_limit,
            "partial_templates": sorted(self.partial_templates),
            "seed": self.seed,
            "records": 2,  # raise it where the same rows give other examples
        }

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """As ``Source.in_folder``: the folders ``data`` and ``templates`` in it."""
        return cls(
            data_dir=str(folder / "data"),
            template_dir=str(folder / "templates"),
            role_table=role_table_in(folder),
        )

    def missing(self) -> dict[Path, str]:
        """As ``Source.missing``: the templates of datasets whose rows are there."""
        files = {task: self._template_file(task) for task in sorted(self.discover())}
        return {
            file: f"missing, though there are rows of {task}"
            for task, file in files.items()
            if not file.exists()
        }

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: splits without labels, those whose names say no split, and copies."""
        aside: dict[Path, str] = {}
        for task in sorted(self.discover()):
            try:
                dataset, templates = self._dataset(task), self._chosen(task)
            except UserError:  # reported where the task is listed
                continue
            aside |= dataset.copies
            if not templates:  # the task is left out as a whole
                continue
            labelled = labelled_splits(dataset)
            read = {path for name in labelled if split_of(name) for path in dataset.splits[name]}
            for name, paths in dataset.splits.items():
                why = "" if name in labelled else UNLABELLED_SPLIT
                why = why if split_of(name) else UNNAMED_SPLIT
                aside |= {path: why for path in paths if why and path not in read}
        return aside

    def known(self) -> tuple[str, ...]:
        """Every dataset[/subset] with templates, sorted, whether its rows are there or not."""
        folder = directory(self.template_dir, "PromptSource.template_dir")
        found = (place.relative_to(folder) for place, _, files in walk(folder) if TEMPLATE_FILE in files)
        return tuple(sorted("/".join(place.parts) for place in found))

    def remedy(self, task: str) -> str:
        """As ``Source.remedy``."""
        parts = task.split("/")
        named = [task] if parts[0] in ("Zaid", "craffel") else parts
        call = ", ".join(repr(part) for part in named)
        folder = Path(self.data_dir, task)
        how = _BY_HAND.get(task, f"datasets.load_dataset({call}).save_to_disk({str(folder)!r})")
        rows = missing(Path(self.data_dir), task, how)
        template_file = Path(self.template_dir, task, TEMPLATE_FILE)
        if template_file.is_file():
            return rows
        return f"{rows}; {template_file}: from promptsource/ of github.com/bigscience-workshop/promptsource"

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; a dataset without usable templates is excluded."""
        data = directory(self.data_dir, "PromptSource.data_dir")
        here = present(data)
        tops = {same_name(path.name) for path in entries(data)}
        names: set[str] = set()
        known: set[Path] = set()  # the folders and files of datasets with templates, copies included
        for task in self.known():
            if same_name(task.partition("/")[0]) not in tops:
                continue
            try:
                found = locate(data, task)
            except UserError:  # raised again when the task is listed
                names.add(task)
                continue
            if found:
                names.add(task)
                known |= {found.folder, *found.copies}
        spelled = set(map(same_name, names))
        for task in here:
            if same_name(task) in spelled:
                continue
            try:
                found = locate(data, task)
            except UserError:
                found = None
            if found is None or not (found.folder in known or known.issuperset(found.files)):
                names.add(task)
        if not names:
            raise NothingFoundError(
                f"{data}: no rows such as DATASET/SUBSET/train.jsonl; bind the folder that has them"
            )
        roles = read_roles(Path(self.role_table), self.train_sets) if self.role_table else None
        return {task: functools.partial(self._info, task, roles) for task in names}

    def templates(self, task: TaskInfo) -> int:
        """As ``Source.templates``: those that are used."""
        return len(self._chosen(task.task)) if task.splits else 0

    def _template_file(self, task: str) -> Path:
        return Path(self.template_dir, task, TEMPLATE_FILE)

    def _dataset(self, task: str) -> LocalDataset:
        found = locate(Path(self.data_dir), task)
        if found is None:
            raise UserError(self.remedy(task))
        return found

    def _info(self, task: str, roles: Mapping[str, str] | None) -> TaskInfo:
        dataset = self._dataset(task)
        templates = self._chosen(task)
        role = role_of(roles, task) if templates else "excluded"
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role=role,
            splits=self.offered(_splits(dataset), role) if templates else (),
            metric=metric_of(templates),
            files=(*dataset.files, self._template_file(task)) if templates else dataset.files,
        )

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a dataset without usable templates stays excluded."""
        return super().assigned(task, trained=trained, evaluated=evaluated) if task.splits else task

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        """As ``TaskSource.available_splits``; none of a dataset without usable templates."""
        return _splits(self._dataset(task.task)) if task.splits else ()

    def _every(self, task: str) -> tuple[PromptTemplate, ...]:
        path = self._template_file(task)
        return load_templates(path) if is_there(path) else ()

    def _chosen(self, task: str) -> tuple[PromptTemplate, ...]:
        templates = self._every(task)
        return asking_for_the_task(task, templates) if self.original_task_only else templates

    def probe(self, task: TaskInfo, split: str) -> None:
        """As ``Source.probe``; does not look whether the templates apply to every example."""
        templates = self._chosen(task.task)
        with self._rendering(task, templates) as rendering:
            outcomes = self._outcomes(task, split, rendering, range(len(templates)), dropped={})
            with contextlib.closing(outcomes):
                next((made for _, made in outcomes if isinstance(made, Item)), None)

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, one for each row and template."""
        templates = self._chosen(task.task)
        with self._rendering(task, templates) as rendering:
            used = list(range(len(templates)))
            dropped = {OTHER_TASK: len(self._every(task.task)) - len(templates)}
            if split != "train":
                scored = [number for number in used if _scored(task, templates[number])]
                used = scored
                if task.task not in self.partial_templates and len(scored) > 1:
                    used = general(rendering, self._rows(task, split), scored, self._seed_of(task, templates))
                dropped[NO_CHOICES] = len(templates) - len(scored)
                dropped[PARTIAL] = len(scored) - len(used)
            yield from self._outcomes(task, split, rendering, used, dropped=dropped)

    def _rendering(self, task: TaskInfo, templates: Sequence[PromptTemplate]) -> TemplateSet:
        """The templates, compiled in a worker.

        Raises:
          UserError: one of them is refused; names it.
        """
        made = TemplateSet(templates, self._template_file(task.task), self.value_limit)
        made.check()
        return made

    def _seed_of(self, task: TaskInfo, templates: Sequence[PromptTemplate]) -> Callable[[str, int], int]:
        """The seed of the random choices of a template (its number) on a row (its identity)."""
        return lambda identity, number: stable_hash(
            "choice", self.seed, self.name, task.task, identity, templates[number].name
        )

    def _rows(self, task: TaskInfo, split: str) -> Iterator[tuple[str, str, Row]]:
        """(identity, place for messages, row with the keys that templates use)."""
        dataset = self._dataset(task.task)
        for published in published_of(labelled_splits(dataset), task.role, split):
            for number, record in enumerate(dataset.records(published), start=1):
                row = {str(key).replace("-", "_"): value for key, value in record.values.items()}
                row = LongRow() if isinstance(record.values, LongRow) else row
                yield f"{published}:{number}", record.place, row

    def _outcomes(
        self,
        task: TaskInfo,
        split: str,
        rendering: TemplateSet,
        numbers: Sequence[int],
        *,
        dropped: Mapping[str, int],
    ) -> Generator[Outcome]:
        """Every row with the templates ``numbers``; ``dropped`` counts those left out, for each row."""
        seed_of = self._seed_of(task, rendering.templates)
        checked = False
        for batch in batches(self._rows(task, split)):
            outcomes_of = rendered(rendering, batch, numbers, seed_of)
            for row in batch:
                yield from skips(row.identity, dropped)
                if row.unusable:
                    yield from skips(row.identity, {row.unusable: len(numbers)})
                    continue
                _, outcomes = next(outcomes_of)
                if not checked and outcomes and all(outcome == NO_COLUMN for outcome in outcomes):
                    _refuse(row, outcomes[0], rendering.place(numbers[0]))
                checked = True
                fits = [applies(rendering, row, *each) for each in zip(numbers, outcomes, strict=True)]
                for number, fit, outcome in zip(numbers, fits, outcomes, strict=True):
                    if not fit or not isinstance(outcome, Rendered):
                        yield row.identity, str(outcome)
                        continue
                    if split != "train" and outcome.options and outcome.references[0] not in outcome.options:
                        yield row.identity, NO_CHOICE
                        continue
                    if outcome.cut:
                        yield "", shortened(f"a value of more than {self.value_limit} characters")
                    references = outcome.references
                    if split != "train":
                        references = with_all_answers(task.task, row.row, references)
                    name = rendering.templates[number].name
                    yield row.identity, Item(outcome.prompt, references, outcome.options, name)


def _splits(dataset: LocalDataset) -> set[str]:
    """The splits that a dataset has labelled rows of."""
    return set(map(split_of, labelled_splits(dataset))) - {""}


def _refuse(row: PlacedRow, outcome: object, template: str) -> None:
    """Raises the error of a dataset whose columns no template knows."""
    assert isinstance(outcome, Skipped)
    has = ", ".join(sorted(row.row))
    raise UserError(f"{row.place}: no column {outcome.column!r}, which {template} needs; the row has {has}")


def _scored(task: TaskInfo, template: PromptTemplate) -> bool:
    """Whether a template's prompts can be scored by the task's metric."""
    return task.metric != "accuracy" or template.ranks_choices


def metric_of(templates: Sequence[PromptTemplate]) -> str:
    """Accuracy where a template ranks answer choices; else by the metrics that the templates name."""
    if any(template.ranks_choices for template in templates):
        return "accuracy"
    metrics = {metric for template in templates for metric in template.metrics}
    if metrics & {"ROUGE", "BLEU"} or not metrics & _EXACT:
        return "rouge_l"
    return "exact_match"
