"""The metrics that tasks' own benchmarks report, in addition to the main one of the manifest.

The main metric (accuracy, exact match or Rouge-L, as OPT-IML uses) alone enters categories and levels.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from iml_jax.evaluation.metrics.corpus_metrics import CORPUS_METRICS
from iml_jax.evaluation.results import Prediction
from iml_jax.storage import tables

TABLE = Path(__file__).with_name("benchmark_metrics.tsv")


def names(benchmark: str, task: str) -> tuple[str, ...]:
    """The metrics of ``CORPUS_METRICS`` that a task's benchmark reports, besides the main one; often none."""
    found = [
        row["metrics"].split(",")
        for row in tables.rows(TABLE)
        if row["benchmark"] == benchmark and fnmatch.fnmatchcase(task, row["task"])
    ]
    return tuple(dict.fromkeys(name for metrics in found for name in metrics))


def compute(benchmark: str, task: str, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Points under each of ``names``: computed under every prompt template by itself, then averaged.

    Args:
      benchmark, task: as in the manifest.
      predictions: all of the task's, each with a reference.
    """
    by_template: dict[str, list[Prediction]] = {}
    for one in predictions:
        by_template.setdefault(one.template, []).append(one)
    values = {}
    for name in names(benchmark, task) if by_template else ():
        scores = [CORPUS_METRICS[name](members) for members in by_template.values()]
        values[name] = sum(scores) / len(scores)
    return values
