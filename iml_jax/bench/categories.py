"""Task -> category for benchmarks whose files do not say.

Category names are those of Super-NaturalInstructions, into which OPT-IML merged the clusters of the other
benchmarks by hand and coarsely (OPT-IML paper, section 2.2). The tasks of OPT-IML Bench have theirs in the
tables of ``known_tasks``; those of other tasks are in ``categories.tsv`` beside this module.
"""

from __future__ import annotations

import functools
from pathlib import Path

from iml_jax.bench import known_tasks
from iml_jax.storage import tables

TABLE = Path(__file__).with_name("categories.tsv")


@functools.cache
def _table() -> dict[tuple[str, str], str]:
    """(benchmark, task) -> category."""
    return {(row["benchmark"], row["task"]): row["category"] for row in tables.rows(TABLE)}


def category_of(benchmark: str, task: str) -> str:
    """The category of a task: its own row, or that of the longest prefix of its path that has one.

    ``glue/qqp`` looks for ``glue/qqp``, then ``glue``; a prefix also has the category that all its known
    subsets share. A task without a row is a category of its own, ``Uncategorised: TASK``: pooling such tasks
    would make them look related, and would call tasks partially supervised that are not.
    """
    path = task
    while path:
        if known := known_tasks.lookup(benchmark, path):
            return known.category
        shared = known_tasks.shared_categories(benchmark).get(path)
        if category := _table().get((benchmark, path), shared):
            return category
        path = path.rpartition("/")[0]
    return f"Uncategorised: {task}"
