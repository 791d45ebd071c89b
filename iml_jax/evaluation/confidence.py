"""What the examples of a task say about its score, from its predictions; ``intervals`` has the estimators."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Mapping, Sequence

from iml_jax.evaluation import metrics
from iml_jax.evaluation.intervals import POINTS, Spread
from iml_jax.evaluation.results import Prediction

_ROUNDING = 1e-9
Row = tuple[str, str, float]  # example_id, template, points


def spreads(
    predictions: Iterable[Prediction], metrics_of: Mapping[str, str] | None = None
) -> dict[str, Spread]:
    """The spread of every task's points.

    Args:
      predictions: of any number of tasks, with their points.
      metrics_of: task name -> its metric; under ``question_accuracy`` questions are the examples, not answers
        (``metrics.per_question``).
    """
    by_task: dict[str, list[Row]] = {}
    for one in predictions:
        by_task.setdefault(one.task, []).append((one.example_id, one.template, one.score))
    found = {}
    for name, rows in by_task.items():
        questions = (metrics_of or {}).get(name) == "question_accuracy"
        weights, values = by_example(_questions(rows) if questions else rows)
        equal = all(abs(weight * len(weights) - 1) < _ROUNDING for weight in weights)
        low, high = POINTS
        binary = equal and all(min(abs(one - low), abs(one - high)) < _ROUNDING for one in values)
        found[name] = Spread(*_moments(weights, values), binary=binary)
    return found


def difference_spreads(rows_of: Mapping[str, Sequence[Row]]) -> dict[str, Spread]:
    """The spread of every task's differences, which lie between -100 and 100 points.

    The estimators add one difference either way, as large as the largest that was seen; 100 points where no
    example differs.
    """
    found = {}
    for name, rows in rows_of.items():
        weights, values = by_example(rows)
        largest = max(map(abs, values))
        largest = largest if largest > _ROUNDING else POINTS[1]
        limits = (-POINTS[1], POINTS[1])
        found[name] = Spread(*_moments(weights, values), limits=limits, added=(-largest, largest))
    return found


def _questions(rows: Sequence[Row]) -> list[Row]:
    """A row for every question and template, with the least of its answers' points."""
    answers: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for identity, template, points in rows:
        question = identity.rpartition("/")[0] or identity
        answers.setdefault((question, template), []).append((identity, points))
    return [
        (question, template, min(metrics.per_question("question_accuracy", members)))
        for (question, template), members in answers.items()
    ]


def by_example(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Each example's weight in the mean over templates of each template's mean, and its mean points."""
    asked = collections.Counter(template for _, template, _ in rows)
    weights: dict[str, float] = collections.defaultdict(float)
    sums: dict[str, float] = collections.defaultdict(float)
    for identity, template, points in rows:
        weight = 1 / (len(asked) * asked[template])
        weights[identity] += weight
        sums[identity] += weight * points
    return list(weights.values()), [sums[identity] / weight for identity, weight in weights.items()]


def _moments(weights: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, mean square, and how many examples of equal weight would say as much."""
    mean = math.fsum(weight * value for weight, value in zip(weights, values, strict=True))
    square = math.fsum(weight * value**2 for weight, value in zip(weights, values, strict=True))
    return mean, square, 1 / math.fsum(weight**2 for weight in weights)
