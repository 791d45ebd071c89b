"""What a source is: a reader of one meta-dataset's public distribution."""

from __future__ import annotations

import abc
import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from iml_jax.bench.example import Example
from iml_jax.bench.sources.formats.bounds import usable
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable, one_line

ROLES = ("train", "evaluation", "excluded")
METRICS = (
    *("accuracy", "exact_match", "rouge_l", "rouge_l_stemmed"),
    *("question_accuracy", "stated_answer"),
)
# Why a row with one of its templates is no example, whatever the row.
OTHER_TASK = "template that asks for another task (original_task_only)"
NO_CHOICES = "template without answer choices (the task is scored by accuracy)"


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What is known of a task before its examples are read.

    Attributes:
      benchmark: the source's name.
      task: the task's public name.
      category: its one category (OPT-IML paper, section 2.2), e.g. ``Question Answering``.
      role: ``train``, ``evaluation`` or ``excluded``, from the benchmark's own split lists.
      splits: the splits that hold examples, a subset of ``example.SPLITS``.
      metric: how its answers are scored, one of ``METRICS``.
      files: every file its examples are made from (their content is part of its fingerprint).
      kind: the category of the taxonomy that its generalization level hangs on, where tables show it under
        another (MMLU's subjects are Question Answering and stand under MMLU); empty where it is ``category``.
    """

    benchmark: str
    task: str
    category: str
    role: str
    splits: tuple[str, ...]
    metric: str
    files: tuple[Path, ...]
    kind: str = ""

    def __post_init__(self) -> None:
        if not encodable(self.task, self.category):
            place = self.files[0] if self.files else self.task
            raise UserError(f"{place}: a task's name that is not UTF-8; rename the file or folder")

    @property
    def key(self) -> str:
        """``benchmark:task``, the name that mixtures' patterns match."""
        return f"{self.benchmark}:{self.task}"


@dataclasses.dataclass(frozen=True)
class BrokenTask:
    """A task whose files are there but malformed.

    Attributes:
      task: its public name; on one line, with what does not print escaped.
      reason: what is wrong, as one line that names the file, the place and the remedy.
    """

    task: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", one_line(self.task))


class Source(abc.ABC):
    """Reads one meta-dataset. Picklable: Beam ships it to its workers."""

    name: str
    # Whether the first row of its CSV and TSV files names the columns; None where some do and some do not.
    header: ClassVar[bool | None] = None
    # The metric for which the paper's tables say Rouge-L: as this benchmark's own scorer computes it.
    rouge: ClassVar[str] = "rouge_l"

    @abc.abstractmethod
    def tasks(self) -> Sequence[TaskInfo]:
        """Lists the tasks found, sorted by name, reading no more of each file than needed.

        Raises:
          UserError: a directory or file is missing or malformed; names it and the remedy.
        """

    def survey(self) -> Iterator[TaskInfo | BrokenTask]:
        """As ``tasks``, but where possible a malformed task does not keep the others from being listed.

        Raises:
          UserError: nothing can be listed: a directory is missing, or a file of all tasks is malformed.
        """
        yield from self.tasks()

    def templates(self, task: TaskInfo) -> int:
        """How many prompt templates a task has; one where the benchmark has none (an instruction, keywords).

        Raises:
          UserError: a template file is malformed.
        """
        del task
        return 1

    def remedy(self, task: str) -> str:
        """What files of a task that is not here belong where, and how a person gets them; empty: no word.

        Args:
          task: the public name of a task of this benchmark.
        """
        del task
        return ""

    def missing(self) -> dict[Path, str]:
        """Files that the source's own lists name and that are not there -> where they are named.

        Raises:
          UserError: as ``tasks``.
        """
        return {}

    def set_aside(self) -> dict[Path, str]:
        """Files of tasks that are not read though the tasks are, such as unlabelled splits -> why.

        Raises:
          UserError: as ``tasks``.
        """
        return {}

    def examples(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """Streams the examples of one split of a task, in the order of the files, within the bounds.

        Args:
          task: one of ``tasks()``.
          split: one of ``task.splits``.
          skipped: receives, by reason, one count for each row that yields no example; those that a reader
            leaves out because they are too long (``bounds``) are among them.

        Raises:
          UserError: a file is malformed; names the file, the place and the remedy.
        """
        return usable(self.read_split(task, split, skipped), skipped, named=getattr(self, "strict", False))

    @abc.abstractmethod
    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``examples``, before the bounds are applied: what a source implements and nobody else calls."""

    def probe(self, task: TaskInfo, split: str) -> None:
        """Reads the first example of a split as if the task were asked for by name.

        A source may do so sooner than ``examples`` gives it.

        Raises:
          UserError: as ``examples``.
        """
        named = self.asked_for(task.task)
        next(iter(named.examples(task, split, collections.Counter())), None)

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """Streams solved examples that few-shot prompts of the task may show: those of its train split.

        A source whose evaluation tasks have training rows that they do not list as a split gives these too.

        Args:
          task: one of ``tasks()``, or what ``assigned`` made of it.
          skipped: as for ``examples``.

        Raises:
          UserError: as ``examples``.
        """
        if "train" in task.splits:
            yield from self.examples(task, "train", skipped)

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """The task as ``tasks()`` would list it if its benchmark used it so (OPT-IML draws its own lines).

        A source that knows better gives it the role ``excluded``.

        Args:
          task: one of ``tasks()``.
          trained: it is trained on; it is not an evaluation task then, whatever ``evaluated`` says.
          evaluated: some of its examples are evaluated.
        """
        role = "train" if trained else "evaluation" if evaluated else "excluded"
        return dataclasses.replace(task, role=role)

    @staticmethod
    def surveyed(names: Iterable[str], info: Callable[[str], TaskInfo]) -> Iterator[TaskInfo | BrokenTask]:
        """For ``survey``: the tasks of these names, with a ``BrokenTask`` for each that ``info`` refuses."""
        for name in names:
            try:
                yield info(name)
            except UserError as error:
                yield BrokenTask(name, str(error))

    def asked_for(self, task: str) -> Source:
        """The source to read a task with that the user asked for by name: nothing of it may be passed over.

        Args:
          task: the public name of one of its tasks.
        """
        del task
        return self

    def settings(self) -> dict[str, object]:
        """What besides the files decides the examples; JSON-able, part of every fingerprint."""
        return {}
