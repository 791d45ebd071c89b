"""The taxonomy as Markdown tables: what ``iml tasks --known`` prints and ``docs/taxonomy.md`` shows."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from iml_jax.bench import known_tasks
from iml_jax.bench.known_tasks import KnownTask
from iml_jax.data.terms import LEVELS

# OPT-IML paper, table 1: benchmark -> (clusters, tasks); ``mixed`` rows: (clusters, tasks).
PAPER = {
    "super_natural_instructions": (76, 1613),
    "promptsource": (51, 280),
    "crossfit": (32, 159),
    "flan": (12, 70),
    "exmix": (10, 14),
    "t5": (9, 36),
    "unifiedskg": (7, 21),
    "reasoning": (1, 14),
}
PAPER_BENCH = {"train": (93, 1545), "dev": (7, 35), "test": (10, 87)}
PAPER_MAX = 1991  # section 6.1


def table() -> str:
    """All tables, each under a heading."""
    parts = (
        ("Table 1 of the paper beside ours", benchmarks()),
        ("Uses", uses()),
        ("Why tasks are held back", held_back()),
        ("Validation set", evaluated(known_tasks.DEV)),
        ("Test set", evaluated(known_tasks.TEST)),
        ("Clusters and the categories they went to", merge()),
    )
    return "\n".join(f"## {title}\n\n{text}" for title, text in parts)


def benchmarks() -> str:
    """Clusters and tasks of each benchmark: the paper's and ours, and what of ours is in OPT-IML Bench."""
    rows: list[tuple[object, ...]] = []
    for name, (clusters, tasks) in PAPER.items():
        ours = known_tasks.counts(name)
        rows.append((name, clusters, ours.clusters or "-", tasks, ours.listed, ours.bench, ours.categories))
    ours = known_tasks.counts()
    paper = sum(tasks for _, tasks in PAPER.values())
    rows.append(("all", "-", "-", paper, ours.listed, ours.bench, ours.categories))
    header = (
        "benchmark",
        "clusters, paper",
        "ours",
        "tasks, paper",
        "ours",
        "in OPT-IML Bench",
        "categories",
    )
    return _markdown(header, rows)


def uses() -> str:
    """What OPT-IML does with the tasks: the paper's totals and ours, by benchmark."""
    sets = {
        "train": known_tasks.training_set(),
        "dev": known_tasks.dev_set(),
        "test": known_tasks.test_set(),
        "held back": tuple(row for row in known_tasks.every() if row.reason),
        "OPT-IML-Max": known_tasks.max_set(),
    }
    paper = {**{name: tasks for name, (_, tasks) in PAPER_BENCH.items()}, "OPT-IML-Max": PAPER_MAX}
    rows = []
    for name, found in sets.items():
        by = collections.Counter(row.benchmark for row in found)
        parts = (by[benchmark] or "-" for benchmark in known_tasks.BENCHMARKS)
        categories = PAPER_BENCH.get(name, ("-",))[0]
        rows.append(
            (name, paper.get(name, "-"), len(found), categories, len({row.category for row in found}), *parts)
        )
    header = ("set", "tasks, paper", "ours", "categories, paper", "ours", *known_tasks.BENCHMARKS)
    return _markdown(header, rows)


def held_back() -> str:
    """Tasks that are neither trained on nor evaluated, by reason and benchmark."""
    rows = []
    for reason in known_tasks.REASONS:
        by = collections.Counter(row.benchmark for row in known_tasks.every() if row.reason == reason)
        rows.append((reason, by.total(), ", ".join(f"{name} {count}" for name, count in by.items())))
    return _markdown(("reason", "tasks", "of which"), rows)


def evaluated(role: str) -> str:
    """The validation or the test set, one line a category and benchmark; MMLU's subjects in one."""
    groups: dict[tuple[str, str, str, str], list[KnownTask]] = collections.defaultdict(list)
    for row in known_tasks.every():
        if row.role == role:
            groups[row.level, row.category, row.benchmark, row.metric].append(row)
    order = {level: place for place, level in enumerate(LEVELS)}
    rows = []
    for level, category, benchmark, metric in sorted(groups, key=lambda key: (order[key[0]], *key[1:])):
        found = groups[level, category, benchmark, metric]
        names = ", ".join(f"`{row.task}`" for row in found)
        if benchmark == "mmlu":
            names = f"its {len(found)} subjects"
        rows.append((level, category, benchmark, metric, len(found), names))
    return _markdown(("level", "category", "benchmark", "metric", "tasks", "names"), rows)


def merge() -> str:
    """For every cluster of a benchmark other than Super-NaturalInstructions, the categories of its tasks."""
    found: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in known_tasks.every():
        if row.benchmark not in ("super_natural_instructions", *known_tasks.EVALUATION_ONLY):
            found[row.benchmark, row.cluster or "(none named)"][row.category] += 1
    rows = []
    for benchmark in known_tasks.BENCHMARKS:
        for (owner, cluster), categories in sorted(found.items()):
            if owner == benchmark:
                went = ", ".join(f"{name} {count}" for name, count in sorted(categories.items()))
                rows.append((benchmark, cluster, categories.total(), went))
    return _markdown(("benchmark", "cluster", "tasks", "categories"), rows)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
