"""What a source is: a reader of one meta-dataset's public distribution."""

from __future__ import annotations

import abc
import collections
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from iml_jax.bench.example import Demonstration, Example
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.formats.bounds import usable
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable, one_line
from iml_jax.storage import tables

# Why a row with one of its templates is no example, whatever the row.
OTHER_TASK = "template that asks for another task (original_task_only)"
NO_CHOICES = "template without answer choices (the task is scored by accuracy)"
DOWNLOADS = Path(__file__).with_name("downloads.tsv")
REPEATED = "repeated from another file"
_REMEMBERED = 1_000_000  # examples, about 100 MB; the sets that are published in nested subsets are smaller


class NothingFoundError(UserError):
    """No task was found in the folder of a source; nothing in it is malformed as far as is known."""


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What is known of a task before its examples are read.

    Attributes:
      benchmark: the source's name.
      task: the task's public name.
      category: its one category (OPT-IML paper, section 2.2), e.g. ``Question Answering``.
      role: ``train``, ``evaluation`` or ``excluded``, from the benchmark's own split lists.
      splits: the splits that hold examples, a subset of ``data.terms.SPLITS``.
      metric: how its answers are scored, one of ``METRICS``.
      files: every file its examples are made from (their content is part of its fingerprint).
      kind: the category of the taxonomy that decides its generalization level, where tables list it under
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


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """What a reader makes of one row: the fields of ``Example`` that differ between the rows of a task."""

    source: str
    references: tuple[str, ...]
    options: tuple[str, ...] = ()
    template: str = ""
    instruction: str = ""
    demonstrations: tuple[Demonstration, ...] = ()
    completion: bool = False


@functools.cache
def _downloads() -> dict[tuple[str, str], str]:
    """(benchmark, task) -> file of the task and where it is from, with the fields {data_dir} and {task}."""
    return {
        (row["benchmark"], row["task"]): f"{row['file']}; {row['origin']}" for row in tables.rows(DOWNLOADS)
    }


# (example_id, the item or the reason why the row has none); the id of a row without an item may be empty.
Outcome = tuple[str, Item | str]


class Source(abc.ABC):
    """Reads one meta-dataset. Picklable: Beam ships it to its workers."""

    name: str
    # A malformed optional file is refused, not counted: a task that a mixture names is read so.
    strict: bool = False
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

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """The source over the folder of its benchmark, laid out as ``docs/data.md`` says."""
        return cls(data_dir=str(folder))  # type: ignore[call-arg]

    def parts(self) -> Sequence[Source]:
        """What a composite source consists of (``sources.expand``); any other is its own only part.

        Raises:
          UserError: a composite cannot write or find its files.
        """
        return (self,)

    def expected(self) -> tuple[str, ...]:
        """The names of the tasks that an evaluation set has with all of its files; none where unknown."""
        return ()

    def remedy(self, task: str) -> str:
        """Which file of a task belongs where, and how a person gets it; empty where that is not known.

        Its row of ``downloads.tsv``, or that of all tasks of the benchmark (``*``).

        Args:
          task: the public name of a task of this benchmark.
        """
        row = _downloads().get((self.name, task)) or _downloads().get((self.name, "*"), "")
        return row.format(data_dir=getattr(self, "data_dir", ""), task=task)

    def unread(self) -> dict[Path, str] | None:
        """The files below its folder that no task is made of -> why; None where the source does not know.

        Raises:
          UserError: as ``tasks``.
        """
        return None

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
        return usable(self.read_split(task, split, skipped), skipped, named=self.strict)

    @abc.abstractmethod
    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``examples``, before the bounds are applied; only ``examples`` calls it."""

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


class TaskSource(Source):
    """A source that finds its tasks by name, and makes one item, or a reason why not, of each row.

    To implement: ``discover`` and ``items``. Where the role of a task decides which of its splits are
    offered, also ``available_splits``, and ``offered`` if the rule is another than ``splits_in_role``.
    """

    @abc.abstractmethod
    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """Name of each task that is there -> what describes it, which raises UserError if it is malformed.

        Raises:
          NothingFoundError: there is no task.
          UserError: nothing can be listed.
        """

    @abc.abstractmethod
    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """Streams what comes of the rows of one split of a task, in the order of the files.

        What the row's reader need not look at: the bounds on its length, and text that is not valid Unicode.

        Args:
          task: one of ``tasks()``, or what ``assigned`` made of it.
          split: one of ``task.splits``.

        Raises:
          UserError: a file is malformed; names the file, the place and the remedy.
        """

    def available_splits(self, task: TaskInfo) -> Collection[str] | None:
        """The splits that a task's files have rows of; None where it offers ``task.splits`` in every role."""
        del task
        return None

    def offered(self, available: Collection[str], role: str) -> tuple[str, ...]:
        """The splits that a task offers in a role, of those that its files have rows of."""
        return splits_in_role(available, role)

    def tasks(self) -> Sequence[TaskInfo]:
        """As ``Source.tasks``."""
        found = self.discover()
        return tuple(found[task]() for task in sorted(found))

    def survey(self) -> Iterator[TaskInfo | BrokenTask]:
        """As ``Source.survey``."""
        found = self.discover()
        for task in sorted(found):
            try:
                yield found[task]()
            except UserError as error:
                yield BrokenTask(task, str(error))

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; splits follow the role as where the benchmark's own lists give it."""
        made = super().assigned(task, trained=trained, evaluated=evaluated)
        available = self.available_splits(made)
        if available is None:
            return made
        return dataclasses.replace(made, splits=self.offered(available, made.role))

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``; evaluation tasks show their training rows unless these are asked."""
        available = self.available_splits(task)
        shown = task.splits if available is None else available
        alone = available is not None and len(available) == 1 and task.role != "train" and task.splits
        if "train" in shown and not alone:
            yield from self.examples(task, "train", skipped)

    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.read_split``."""
        for identity, made in self.items(task, split):
            if isinstance(made, str):
                skipped[made] += 1
                continue
            yield Example(
                benchmark=self.name,
                task=task.task,
                example_id=identity,
                split=split,
                instruction=made.instruction,
                source=made.source,
                references=made.references,
                options=made.options,
                demonstrations=made.demonstrations,
                template=made.template,
                completion=made.completion,
            )


def splits_in_role(available: Iterable[str], role: str) -> tuple[str, ...]:
    """The splits that a task offers in a role, in the order of ``SPLITS``.

    An evaluation task offers its validation and test splits, or, where there are training rows only, these
    as its test split (``rows_of``).
    """
    named = set(available)
    if role == "evaluation" and named:
        named = named - {"train"} or {"test"}
    return tuple(split for split in SPLITS if split in named)


def rows_of(split: str, available: Collection[str]) -> str:
    """The split whose rows make up one that ``splits_in_role`` offers."""
    return split if split in available else "train"


def skips(identity: str, reasons: Mapping[str, int]) -> Iterator[Outcome]:
    """One outcome for each of the rows or prompts that ``reasons`` counts."""
    for reason, count in reasons.items():
        for _ in range(count):
            yield identity, reason


def without_repeats(files: Sequence[Iterator[Outcome]]) -> Iterator[Outcome]:
    """The outcomes of several files in order, without items that an earlier file had (``REPEATED``).

    Few-shot selections beside the whole set, nested subsets. Repeats inside one file stay: they are the
    dataset's own. Of the earlier files the first million items are remembered, as 64-bit hashes.
    """
    earlier: set[int] = set()
    for number, outcomes in enumerate(files, start=1):
        here: set[int] = set()
        for identity, made in outcomes:
            if isinstance(made, Item) and len(files) > 1:
                key = stable_hash(made.source, *made.references)
                if key in earlier:
                    yield identity, REPEATED
                    continue
                if number < len(files) and len(earlier) + len(here) < _REMEMBERED:
                    here.add(key)
            yield identity, made
        earlier |= here
