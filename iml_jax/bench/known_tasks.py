"""What is known of OPT-IML Bench's tasks before any file is read: the tables ``known/BENCHMARK.tsv``.

Each row names a task as its benchmark's public distribution spells it, its one category (Super-Natural
Instructions' categories, into which OPT-IML merged the clusters of the others by hand; OPT-IML section 2.2),
the role that the paper gives it and where the row was read. ``docs/taxonomy.md`` explains the choices.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from pathlib import Path

from iml_jax.bench.taxonomy import FULLY_SUPERVISED
from iml_jax.storage import tables

FOLDER = Path(__file__).with_name("known")
# The order of OPT-IML's table 1, then what is only evaluated.
BENCHMARKS = (
    "super_natural_instructions",
    "promptsource",
    "crossfit",
    "flan",
    "exmix",
    "t5",
    "unifiedskg",
    "reasoning",
    "mmlu",
)
# Read only to evaluate: no part of OPT-IML Bench's training pool, OPT-IML-Max's neither (table 14).
EVALUATION_ONLY = ("mmlu",)
COLUMNS = ("task", "category", "cluster", "role", "level", "metric", "same_as", "reason", "origin")
# Why a task is held back.
REASONS = ("category", "data source", "held-out track of the benchmark")
TRAIN, DEV, TEST, HELD_BACK = "train", "dev", "test", ""


@dataclasses.dataclass(frozen=True, slots=True)
class KnownTask:
    """One row of the tables.

    Attributes:
      benchmark: the meta-dataset, as ``TaskInfo.benchmark`` spells it.
      task: its name, as ``TaskInfo.task`` spells it.
      category: its one category.
      cluster: how its own benchmark groups it; empty where it does not.
      role: ``train``, ``dev``, ``test``, or empty: neither trained on nor evaluated by OPT-IML, because its
        category or its data source is evaluated; OPT-IML-Max trains on it.
      level: of dev and test tasks, how far from training the paper puts them (``data.terms.LEVELS``).
      metric: of dev and test tasks, one of ``data.terms.METRICS``, where the paper names it.
      same_as: ``benchmark:task`` that holds the same dataset; a task with one is no part of OPT-IML Bench,
        which keeps of CrossFit, ExMix and T5 what no other benchmark has (OPT-IML appendix A.1).
      reason: why a task without a role is held back, one of ``REASONS``; empty for the others.
      origin: where the row was read.
    """

    benchmark: str
    task: str
    category: str
    cluster: str
    role: str
    level: str
    metric: str
    same_as: str
    reason: str
    origin: str

    @property
    def key(self) -> str:
        """``benchmark:task``, as ``TaskInfo.key``."""
        return f"{self.benchmark}:{self.task}"

    @property
    def trained(self) -> bool:
        """Whether OPT-IML trains on it: role ``train``, or evaluated as fully supervised."""
        return not self.same_as and (self.role == TRAIN or self.level == FULLY_SUPERVISED)

    @property
    def trained_by_max(self) -> bool:
        """Whether OPT-IML-Max trains on it: it is one of OPT-IML Bench's 1,991 tasks (section 6.1)."""
        return not self.same_as and self.benchmark not in EVALUATION_ONLY


@functools.cache
def _table(benchmark: str) -> dict[str, KnownTask]:
    """Task -> row, in the order of the file; empty where there is no such file."""
    path = FOLDER / f"{benchmark}.tsv"
    if benchmark not in BENCHMARKS or not path.is_file():
        return {}
    return {row["task"]: KnownTask(benchmark=benchmark, **row) for row in tables.rows(path)}


def every(benchmark: str | None = None) -> tuple[KnownTask, ...]:
    """Every row of one benchmark, or of all in the order of ``BENCHMARKS``; duplicates (``same_as``) too."""
    wanted = BENCHMARKS if benchmark is None else (benchmark,)
    return tuple(row for name in wanted for row in _table(name).values())


def lookup(benchmark: str, task: str) -> KnownTask | None:
    """The row of a task, by its exact name."""
    return _table(benchmark).get(task)


def role_of(benchmark: str, task: str) -> str:
    """``train``, ``dev`` or ``test`` as OPT-IML uses the task; empty: held back, a duplicate, or unknown.

    A fully supervised dev or test task is trained on as well: ``lookup(...).trained`` says so.
    """
    row = lookup(benchmark, task)
    return row.role if row else ""


def dev_set() -> tuple[KnownTask, ...]:
    """The tasks of OPT-IML's validation set (table 15)."""
    return tuple(row for row in every() if row.role == DEV)


def test_set() -> tuple[KnownTask, ...]:
    """The tasks of OPT-IML's test set (section 2.3, tables 10 to 13)."""
    return tuple(row for row in every() if row.role == TEST)


def training_set() -> tuple[KnownTask, ...]:
    """The tasks that OPT-IML is trained on: role ``train``, and the fully supervised of dev and test."""
    return tuple(row for row in every() if row.trained)


def max_set() -> tuple[KnownTask, ...]:
    """The tasks that OPT-IML-Max is trained on: all of OPT-IML Bench (section 6.1)."""
    return tuple(row for row in every() if row.trained_by_max)


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What the table of one benchmark holds.

    Attributes:
      listed: rows, duplicates included: what the benchmark itself offers.
      clusters: different clusters of its own; 0 where it names none.
      bench: rows that are tasks of OPT-IML Bench.
      trained, dev, test, held_back: rows by use; the fully supervised count as trained and as dev or test.
      categories: different categories of the rows in ``bench``.
    """

    listed: int
    clusters: int
    bench: int
    trained: int
    dev: int
    test: int
    held_back: int
    categories: int


def counts(benchmark: str | None = None) -> Counts:
    """Counts of one benchmark, or of all together (evaluation-only sets left out)."""
    rows = [row for row in every(benchmark) if benchmark or row.benchmark not in EVALUATION_ONLY]
    bench = [row for row in rows if row.trained_by_max]
    return Counts(
        listed=len(rows),
        clusters=len({(row.benchmark, row.cluster) for row in rows if row.cluster}),
        bench=len(bench),
        trained=sum(row.trained for row in rows),
        dev=sum(row.role == DEV for row in rows),
        test=sum(row.role == TEST for row in rows),
        held_back=sum(bool(row.reason) for row in rows),
        categories=len({row.category for row in bench}),
    )


@functools.cache
def shared_categories(benchmark: str) -> dict[str, str]:
    """Datasets whose known subsets are all of one category -> that category.

    A dataset is any part of a task's name before a "/": where ``race/high`` and ``race/middle`` share a
    category, a subset of ``race`` that the tables do not name has it too.
    """
    found: dict[str, set[str]] = collections.defaultdict(set)
    for row in every(benchmark):
        prefix = row.task
        while prefix := prefix.rpartition("/")[0]:
            found[prefix].add(row.category)
    return {prefix: min(categories) for prefix, categories in found.items() if len(categories) == 1}
