"""P3: PromptSource's prompts as its authors rendered them (OPT-IML paper, section 2.1)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from iml_jax.bench.categories import category_of
from iml_jax.bench.sources.base import OTHER_TASK, Item, NothingFoundError, Outcome, TaskInfo, TaskSource
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.promptsource.filter import (
    asking_for_the_task,
    flat,
    removed_prompts,
    spelling,
    tabulated,
)
from iml_jax.bench.sources.promptsource.p3_rows import PromptFiles, filled, find, has_options
from iml_jax.bench.sources.promptsource.roles import (
    TRAIN_SETS,
    published_of,
    read_roles,
    role_of,
    role_table_in,
    split_of,
)
from iml_jax.bench.sources.promptsource.templates import load_templates
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import is_there

NO_OPTIONS = "prompt without answer choices (the task is scored by accuracy)"
UNFILTERED = "missing (P3.template_dir): original_task_only leaves out no prompt of its dataset"
NO_OPTION = "target is not among the answer choices"


@dataclasses.dataclass(frozen=True)
class P3(TaskSource):
    """Rendered prompts, a file or a folder for each template (``p3_rows`` says in which forms).

    They are tasks of the benchmark ``promptsource``, named ``DATASET[/SUBSET]`` after the beginning of the
    file's name: a dataset is taken from here or from ``PromptSource``, not from both. Files without a split
    are training rows. The example of a row is its number: prompts of one row have one id where every
    template applies to every row, as in most of P3.
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={
            "help": "the folder of the files or folders, e.g. ``data`` of a clone of ``bigscience/P3``."
        }
    )
    template_dir: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "PromptSource's templates, which say which of them ask for another task; empty: "
            "only those listed in ``filtered_templates.tsv`` are known to."
        },
    )
    role_table: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={"help": "T0's datasets.csv, as for ``PromptSource``; empty: every dataset is trained on."},
    )
    train_sets: tuple[str, ...] = dataclasses.field(
        default=TRAIN_SETS,
        metadata={"help": "the ``do_train`` entries of the role table that are trained on."},
    )
    original_task_only: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "leave out templates that turn the dataset into another task; their rows are "
            "counted, and so are the prompts of datasets of which neither templates nor the "
            "table tell."
        },
    )

    name = "promptsource"

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """As ``Source.in_folder``: the folder ``p3`` in it, and ``templates`` where there is one."""
        templates = folder / "templates"
        return cls(
            data_dir=str(folder / "p3"),
            template_dir=str(templates) if templates.is_dir() else "",
            role_table=role_table_in(folder),
        )

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"form": "p3", "original_task_only": self.original_task_only}

    def remedy(self, task: str) -> str:
        """As ``Source.remedy``."""
        name = f"{flat(task)}_TEMPLATE"
        source = "data/ of huggingface.co/datasets/bigscience/P3"
        return f"no prompts {self.data_dir}/{name}/ or {name}.jsonl; from {source}"

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; a task without usable prompts is excluded."""
        prompts = collections.defaultdict(list)
        for prompt in self._find()[0]:
            prompts[prompt.task].append(prompt)
        if not prompts:
            raise NothingFoundError(
                f"{self.data_dir}: no prompts of P3 such as ag_news_classify.jsonl or ag_news_classify/"
            )
        roles = read_roles(Path(self.role_table), self.train_sets) if self.role_table else None
        return {
            task: functools.partial(self._info, task, held, role_of(roles, task))
            for task, held in prompts.items()
        }

    def _info(self, task: str, prompts: Sequence[PromptFiles], role: str) -> TaskInfo:
        used = [prompt for prompt in prompts if not self._removed(prompt)]
        role = role if used else "excluded"
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role=role,
            splits=self.offered(_splits(used), role),
            metric="accuracy" if any(map(has_options, used)) else "rouge_l",
            files=tuple(path for prompt in prompts for files, _ in prompt.splits.values() for path in files),
        )

    def _removed(self, prompt: PromptFiles) -> bool:
        if not self.original_task_only:
            return False
        said = _other_tasks(Path(self.template_dir), prompt.task) if self.template_dir else None
        return spelling(prompt.name) in (removed_prompts() if said is None else said)

    def missing(self) -> dict[Path, str]:
        """As ``Source.missing``: templates of datasets whose prompts nothing else says how to filter.

        Neither their templates nor the table say which prompts ask for another task: all of them are used.
        """
        if not self.original_task_only:
            return {}
        tasks = {prompt.task for prompt in self._find()[0]} - tabulated()
        folder = Path(self.template_dir or self.data_dir)
        files = [_template_file(folder, task) for task in sorted(tasks)]
        return {file: UNFILTERED for file in files if not (self.template_dir and is_there(file))}

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return self._find()[1]

    def _find(self) -> tuple[tuple[PromptFiles, ...], Copies]:
        return find(directory(self.data_dir, "P3.data_dir"))

    def _prompts(self, task: TaskInfo) -> list[PromptFiles]:
        return [prompt for prompt in self._find()[0] if prompt.task == task.task]

    def _used(self, task: TaskInfo) -> list[PromptFiles]:
        return [prompt for prompt in self._prompts(task) if not self._removed(prompt)]

    def templates(self, task: TaskInfo) -> int:
        """As ``Source.templates``: those that are used."""
        return len(self._used(task))

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a dataset without usable prompts stays excluded."""
        return super().assigned(task, trained=trained, evaluated=evaluated) if task.splits else task

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        """As ``TaskSource.available_splits``."""
        return _splits(self._used(task))

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, one for each row and template."""
        prompts = self._used(task)
        published = sorted({name for prompt in prompts for name in prompt.splits})
        removed = [prompt for prompt in self._prompts(task) if self._removed(prompt)]
        for name in published_of(published, task.role, split):
            for prompt in removed:
                yield from _removed(prompt, name)
            having = [prompt for prompt in prompts if name in prompt.splits]
            rows = itertools.zip_longest(*(filled(prompt, name) for prompt in having))
            for number, row in enumerate(rows, start=1):
                for prompt, made in zip(having, row, strict=True):
                    if made is None:  # the prompt has fewer rows than others
                        continue
                    yield f"{name}:{number}", _outcome(task, split, prompt.template, made)


def _splits(prompts: Iterable[PromptFiles]) -> set[str]:
    """The splits that prompts have rows of."""
    return {split_of(name) for prompt in prompts for name in prompt.splits} - {""}


def _removed(prompt: PromptFiles, split: str) -> Iterator[Outcome]:
    """The rows of a prompt that is left out; one more where its file is malformed."""
    if split not in prompt.splits:
        return
    try:
        for _ in filled(prompt, split):
            yield "", OTHER_TASK
    except UserError:
        yield "", OTHER_TASK


def _outcome(task: TaskInfo, split: str, template: str, made: Item | str) -> Item | str:
    """A row with the name of its template, or why it yields no example."""
    if isinstance(made, str):
        return made
    if split != "train":
        if task.metric == "accuracy" and not made.options:
            return NO_OPTIONS
        if made.options and made.references[0] not in made.options:
            return NO_OPTION
    return dataclasses.replace(made, template=template)


def _template_file(folder: Path, task: str) -> Path:
    return folder / task / "templates.yaml"


@functools.lru_cache(maxsize=1024)
def _other_tasks(folder: Path, task: str) -> frozenset[str] | None:
    """P3's names of a dataset's templates that ask for another task; None without a file of its templates."""
    path = _template_file(folder, task)
    if not is_there(path):
        return None
    templates = load_templates(path)
    own = asking_for_the_task(task, templates)
    return frozenset(spelling(f"{task}_{template.name}") for template in templates if template not in own)
