"""The spread of a task's points, from its predictions; ``intervals`` has the estimators."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Mapping, Sequence

from iml_jax.evaluation.intervals import DIFFERENCES, POINTS, Spread
from iml_jax.evaluation.metrics import answer_metrics
from iml_jax.evaluation.results import Prediction

_ROUNDING = 1e-9
ExamplePoints = tuple[str, str, float]  # example_id, template, points


def spreads(
    predictions: Iterable[Prediction], metrics_of: Mapping[str, str] | None = None
) -> dict[str, Spread]:
    """The spread of every task's points.

    Args:
      predictions: of any number of tasks, with their points.
      metrics_of: task name -> its metric; under ``question_accuracy`` questions are the examples, not answers
        (``answer_metrics.per_question``).
    """
    by_task: dict[str, list[ExamplePoints]] = {}
    for one in predictions:
        by_task.setdefault(one.task, []).append((one.example_id, one.template, one.score))
    found = {}
    for name, rows in by_task.items():
        weights, values = by_example(per_question((metrics_of or {}).get(name, ""), rows))
        equal = all(abs(weight * len(weights) - 1) < _ROUNDING for weight in weights)
        low, high = POINTS
        binary = equal and all(min(abs(one - low), abs(one - high)) < _ROUNDING for one in values)
        found[name] = Spread(*_moments(weights, values), binary=binary)
    return found


def difference_spreads(rows_of: Mapping[str, Sequence[ExamplePoints]]) -> dict[str, Spread]:
    """The spread of every task's differences, which lie between -100 and 100 points.

    The estimators add one difference either way, as large as the largest that was seen; 100 points where no
    example differs.
    """
    found = {}
    for name, rows in rows_of.items():
        weights, values = by_example(rows)
        largest = max(map(abs, values))
        largest = largest if largest > _ROUNDING else POINTS[1]
        found[name] = Spread(*_moments(weights, values), limits=DIFFERENCES, added=(-largest, largest))
    return found


def gain(metric: str, predictions: Sequence[Prediction], others: Sequence[float]) -> Spread:
    """The spread of one task's points minus those of other answers to the same prompts.

    Args:
      metric: the task's.
      predictions: of the task, at least one, with their points.
      others: the other answers' points, in the same order.
    """
    ours = [(one.example_id, one.template, one.score) for one in predictions]
    theirs = [(*row[:2], points) for row, points in zip(ours, others, strict=True)]
    rows = [
        (name, template, points - other)
        for (name, template, points), (*_, other) in zip(
            per_question(metric, ours), per_question(metric, theirs), strict=True
        )
    ]
    return difference_spreads({"": rows})[""]


def per_question(metric: str, rows: Sequence[ExamplePoints]) -> list[ExamplePoints]:
    """The rows that a task's mean is taken over, from a row for every answer.

    Under ``question_accuracy`` a row for every question and template, with the least of its answers' points
    (``answer_metrics.per_question``); under every other metric the same rows.
    """
    if metric != "question_accuracy":
        return list(rows)
    answers: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for identity, template, points in rows:
        question = identity.rpartition("/")[0] or identity
        answers.setdefault((question, template), []).append((identity, points))
    return [
        (question, template, min(answer_metrics.per_question(metric, members)))
        for (question, template), members in answers.items()
    ]


def by_example(rows: Sequence[ExamplePoints]) -> tuple[list[float], list[float]]:
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
