"""PromptSource: Jinja templates over dataset rows (OPT-IML paper, section 2.4; P3 is what they render to).

Which templates are used: ``promptsource_filter`` says which ask for another task than their dataset's and
are left out. In evaluation OPT-IML also leaves out a template that does not apply to every example
(appendix A.1; ``turk``, none of whose templates does, is excepted), so that all templates of a task are
measured on the same examples. A row that no template applies to is no example of the split.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jinja2

from iml_jax.bench.categories import category_of
from iml_jax.bench.example import Example
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.base import BrokenTask, Source, TaskInfo
from iml_jax.bench.sources.datasets import LocalDataset, locate, missing, present, same_name
from iml_jax.bench.sources.files import directory
from iml_jax.bench.sources.nothing import NothingFoundError
from iml_jax.bench.sources.promptsource_answers import with_all_answers
from iml_jax.bench.sources.promptsource_filter import asking_for_the_task
from iml_jax.bench.sources.promptsource_labels import UNLABELLED, labelled_splits, unlabelled
from iml_jax.bench.sources.promptsource_roles import (
    TRAIN_SETS,
    offered,
    published_of,
    read_roles,
    role_of,
    split_of,
)
from iml_jax.bench.sources.rendering import Rendered, Renderer, text_length
from iml_jax.bench.sources.rows import Row
from iml_jax.bench.sources.sandbox import MissingColumnError
from iml_jax.bench.sources.shortening import shortened
from iml_jax.bench.sources.templates import PromptTemplate, load_templates
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.errors import UserError
from iml_jax.seeds import check_seed
from iml_jax.storage.folders import entries, walk
from iml_jax.storage.reading import encodable

TEMPLATE_FILE = "templates.yaml"
_ROW_LIMIT = 1 << 20  # characters; longer rows are skipped, no prompt of 2,048 tokens shows so much
NOT_APPLICABLE = "template does not apply to the row"
NO_COLUMN = "template needs a column that the row has not"
PARTIAL = "template does not apply to every example"
NO_CHOICES = "template without answer choices (the task is scored by accuracy)"
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
class PromptSource(Source):
    """The rows of each dataset (``datasets.locate`` says in which formats) through the templates of its name.

    A subset named ``default`` or ``plain_text`` is the dataset without a subset. Every row is rendered with
    every template that applies to it (``pooling.drawn`` takes as many prompts as there are rows for
    training); in evaluation splits of a task that has templates with answer choices, only with these, since
    a task has one metric. A published split without labels (SuperGLUE's tests) is passed over, unless the
    task has no other to evaluate. Published splits such as ``train_r1`` or ``dev_r1`` count as what they
    begin with.

    Attributes:
      data_dir: the folder of the datasets' rows.
      template_dir: the folder of ``DATASET[/SUBSET]/templates.yaml`` (``promptsource/templates``).
      role_table: T0's datasets.csv, which says what is trained on and what is evaluated; empty: every
        dataset is trained on.
      train_sets: the ``do_train`` entries of the role table that are trained on.
      original_task_only: leave out templates that turn the dataset into another task.
      value_limit: characters that each value printed in a prompt or target is cut to, at a word, as
        PromptSource does and P3 shows; 0 cuts none.
      partial_templates: datasets that are evaluated also with templates that do not apply to every example.
      seed: another seed makes other random choices in the templates.
    """

    data_dir: SourcePath
    template_dir: SourcePath
    role_table: OptionalSourcePath = ""
    train_sets: tuple[str, ...] = TRAIN_SETS
    original_task_only: bool = True
    value_limit: int = 2048
    partial_templates: tuple[str, ...] = ("turk",)
    seed: int = 0

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

    def tasks(self) -> Sequence[TaskInfo]:
        """Every dataset[/subset] with rows, sorted; those without usable templates are excluded."""
        names, info = self._lister()
        return tuple(map(info, names))

    def survey(self) -> Iterator[TaskInfo | BrokenTask]:
        """As ``Source.survey``."""
        return self.surveyed(*self._lister())

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
        told = missing(Path(self.data_dir), task, how)
        template_file = Path(self.template_dir, task, TEMPLATE_FILE)
        if template_file.is_file():
            return told
        return f"{told}; {template_file}: from promptsource/ of github.com/bigscience-workshop/promptsource"

    def _lister(self) -> tuple[list[str], Callable[[str], TaskInfo]]:
        """Names of the tasks, and what lists one."""
        data = directory(self.data_dir, "PromptSource.data_dir")
        here = present(data)
        tops = {same_name(path.name) for path in entries(data)}
        names, folders = set(), set()
        for task in self.known():
            if same_name(task.partition("/")[0]) not in tops:
                continue
            try:
                found = locate(data, task)
            except UserError:  # said again when the task is listed
                names.add(task)
                continue
            if found:
                names.add(task)
                folders.add(found.folder)
        spelled = set(map(same_name, names))
        for task in here:
            if same_name(task) in spelled:
                continue
            try:
                found = locate(data, task)
            except UserError:
                found = None
            if found is None or found.folder not in folders:
                names.add(task)
        if not names:
            raise NothingFoundError(
                f"{data}: no rows such as DATASET/SUBSET/train.jsonl; bind the folder that has them"
            )
        roles = read_roles(Path(self.role_table), self.train_sets) if self.role_table else None
        return sorted(names), lambda task: self._info(task, roles)

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
            splits=offered(labelled_splits(dataset), role) if templates else (),
            metric=metric_of(templates),
            files=(*dataset.files, self._template_file(task)) if templates else dataset.files,
        )

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a dataset without usable templates stays excluded."""
        if not task.splits:
            return task
        made = super().assigned(task, trained=trained, evaluated=evaluated)
        return dataclasses.replace(made, splits=offered(labelled_splits(self._dataset(task.task)), made.role))

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``; evaluation tasks show training rows if they have other rows."""
        named = set(map(split_of, labelled_splits(self._dataset(task.task)))) - {""}
        if task.splits and "train" in named and (task.role == "train" or len(named) > 1):
            yield from self.examples(task, "train", skipped)

    def _chosen(self, task: str) -> tuple[PromptTemplate, ...]:
        path = self._template_file(task)
        templates = load_templates(path) if path.is_file() else ()
        return asking_for_the_task(task, templates) if self.original_task_only else templates

    def probe(self, task: TaskInfo, split: str) -> None:
        """As ``Source.probe``; does not look whether the templates apply to every example."""
        skipped: collections.Counter[str] = collections.Counter()
        next(self._rendered(task, split, self._renderers(task), skipped, {}), None)

    def examples(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.examples``; a skip is counted per row and template."""
        renderers = self._renderers(task)
        dropped: collections.Counter[str] = collections.Counter()
        if split != "train":
            scored = [renderer for renderer in renderers if _scored(task, renderer)]
            used = scored
            if task.task not in self.partial_templates and len(scored) > 1:
                used = self._general(task, split, scored)
            dropped = collections.Counter(
                {NO_CHOICES: len(renderers) - len(scored), PARTIAL: len(scored) - len(used)}
            )
            renderers = used
        yield from self._rendered(task, split, renderers, skipped, +dropped)

    def _renderers(self, task: TaskInfo) -> list[Renderer]:
        path = self._template_file(task.task)
        return [Renderer(template, path, self.value_limit) for template in self._chosen(task.task)]

    def _general(self, task: TaskInfo, split: str, renderers: Sequence[Renderer]) -> list[Renderer]:
        """Those that apply to every row that any of them applies to."""
        left, gone = list(renderers), list[Renderer]()
        for identity, place, row in self._rows(task, split):
            if _unusable(row):
                continue
            apply = {
                renderer.name
                for renderer in left
                if not isinstance(self._render(task.task, identity, renderer, row, place), str)
            }
            if len(apply) == len(left):
                continue
            others = (self._render(task.task, identity, renderer, row, place) for renderer in gone)
            if apply or any(not isinstance(other, str) for other in others):
                gone += [renderer for renderer in left if renderer.name not in apply]
                left = [renderer for renderer in left if renderer.name in apply]
            if not left:
                break
        return left

    def _rows(self, task: TaskInfo, split: str) -> Iterator[tuple[str, str, Row]]:
        """(identity, place for messages, row with the keys that templates use)."""
        dataset = self._dataset(task.task)
        for published in published_of(labelled_splits(dataset), task.role, split):
            for number, (path, line, raw) in enumerate(dataset.located(published), start=1):
                row = {str(key).replace("-", "_"): value for key, value in raw.items()}
                yield f"{published}:{number}", f"{path}:{line}", row

    def _rendered(
        self,
        task: TaskInfo,
        split: str,
        renderers: Sequence[Renderer],
        skipped: collections.Counter[str],
        dropped: Mapping[str, int],
    ) -> Iterator[Example]:
        """Every row with every renderer; ``dropped`` are counts for each row of templates left out before."""
        checked = False
        for identity, place, row in self._rows(task, split):
            skipped.update(dropped)
            if reason := _unusable(row):
                skipped[reason] += len(renderers)
                continue
            outcomes = [self._render(task.task, identity, renderer, row, place) for renderer in renderers]
            if not checked and outcomes and all(outcome == NO_COLUMN for outcome in outcomes):
                _refuse(row, renderers[0], place)
            checked = True
            for renderer, outcome in zip(renderers, outcomes, strict=True):
                if isinstance(outcome, str):
                    skipped[outcome] += 1
                elif split != "train" and outcome.options and outcome.references[0] not in outcome.options:
                    skipped[NO_CHOICE] += 1
                else:
                    if outcome.cut:
                        skipped[shortened(f"a value of more than {self.value_limit} characters")] += 1
                    made = _example(task, split, identity, renderer, outcome)
                    if split != "train":
                        every = with_all_answers(task.task, row, made.references)
                        made = dataclasses.replace(made, references=every)
                    yield made

    def _render(self, task: str, identity: str, renderer: Renderer, row: Row, place: str) -> Rendered | str:
        """The rendered row, or why there is none."""
        seed = stable_hash("choice", self.seed, self.name, task, identity, renderer.name)
        try:
            made = renderer.render(row, seed, place)
        except MissingColumnError:
            return NO_COLUMN
        except (
            jinja2.TemplateError,
            TypeError,
            LookupError,
            ValueError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            return f"template fails on the row ({type(error).__name__})"
        if made is None:
            return NOT_APPLICABLE
        if not encodable(made.prompt, *made.references, *made.options):
            return "text that is not valid Unicode"
        return made


def _refuse(row: Row, renderer: Renderer, place: str) -> None:
    """Raises the error of a dataset whose columns no template knows."""
    try:
        renderer.render(row, 0, place)
    except MissingColumnError as error:
        has = ", ".join(sorted(row))
        raise UserError(
            f"{place}: no column {error.column!r}, which {renderer.place} needs; the row has {has}"
        ) from error


def _scored(task: TaskInfo, renderer: Renderer) -> bool:
    """Whether a template's prompts can be scored by the task's metric."""
    return task.metric != "accuracy" or renderer.ranks_choices


def metric_of(templates: Sequence[PromptTemplate]) -> str:
    """Accuracy where a template ranks answer choices; else by the metrics that the templates name."""
    if any(template.ranks_choices for template in templates):
        return "accuracy"
    metrics = {metric for template in templates for metric in template.metrics}
    if metrics & {"ROUGE", "BLEU"} or not metrics & _EXACT:
        return "rouge_l"
    return "exact_match"


def _unusable(row: Row) -> str | None:
    """Why a row has no example whatever the template, or None."""
    if unlabelled(row):
        return UNLABELLED
    return f"row of more than {_ROW_LIMIT} characters" if text_length(row) > _ROW_LIMIT else None


def _example(task: TaskInfo, split: str, identity: str, renderer: Renderer, made: Rendered) -> Example:
    return Example(
        benchmark=task.benchmark,
        task=task.task,
        example_id=identity,
        split=split,
        instruction="",
        source=made.prompt,
        references=made.references,
        options=made.options,
        template=renderer.name,
    )
