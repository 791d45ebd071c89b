"""Warnings: scores that need no reading, answers given away by position, lost prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from iml_jax.data import positions
from iml_jax.evaluation.metrics import answer_metrics, confidence
from iml_jax.evaluation.results import Prediction, TaskScore

ZERO = "0 points in every template"
CONSTANT = "the best constant answer's points in every template"
CHANCE = "in every template a 95% interval that includes chance"
REMARKS = (ZERO, CONSTANT, CHANCE)
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Losses:
    """Prompts of one task that were not asked in full, or whose answers did not end.

    Attributes:
      asked: prompts that were answered.
      truncated: of these, shortened on the left to fit the model.
      unfinished: of these, those whose answers ended at ``max_new_tokens``.
      dropped: not answered, by reason.
    """

    task: str
    asked: int
    truncated: int
    unfinished: int
    dropped: Mapping[str, int]


def chance(predictions: Sequence[Prediction], metric: str) -> float | None:
    """Mean points of choosing among the options at random; None where an example has none.

    Under ``question_accuracy``, where all answers of a question must be right, it is not defined here.
    """
    if metric == "question_accuracy" or not all(one.options for one in predictions):
        return None
    means = [
        sum(answer_metrics.score(metric, option, one.references) for option in one.options) / len(one.options)
        for one in predictions
    ]
    return sum(means) / len(means)


def remark(
    metric: str, predictions: Sequence[Prediction], constant: Sequence[float], by_chance: float | None
) -> str:
    """Whether a task's score may come from answering without reading, as one of ``REMARKS``, or "".

    Args:
      metric: the task's.
      predictions: the task's, with their points.
      constant: the best constant answer's points, in the same order.
      by_chance: ``chance`` of them.
    """
    templates: dict[str, list[tuple[Prediction, float]]] = {}
    for one, points in zip(predictions, constant, strict=True):
        templates.setdefault(one.template, []).append((one, points))
    if all(abs(one.score) < _ROUNDING for one in predictions):
        return ZERO
    if all(_same_mean(metric, pairs) for pairs in templates.values()):
        return CONSTANT
    if by_chance is not None and all(
        _includes(metric, [one for one, _ in pairs], by_chance) for pairs in templates.values()
    ):
        return CHANCE
    return ""


def _same_mean(metric: str, pairs: Sequence[tuple[Prediction, float]]) -> bool:
    ours = answer_metrics.per_question(metric, [(one.example_id, one.score) for one, _ in pairs])
    theirs = answer_metrics.per_question(metric, [(one.example_id, points) for one, points in pairs])
    return abs(sum(ours) - sum(theirs)) < _ROUNDING * 100 * len(ours)


def _includes(metric: str, predictions: Sequence[Prediction], value: float) -> bool:
    found = confidence.spreads(predictions, {predictions[0].task: metric})
    interval = found[predictions[0].task].interval()
    return interval.low <= value <= interval.high


def examine_positions(predictions: Sequence[Prediction]) -> positions.Positions | None:
    """``positions.examine`` of a task's examples, each by the first template that asks it."""
    first: dict[str, Prediction] = {}
    for one in predictions:
        first.setdefault(one.example_id, one)
    return positions.examine((one.options, one.references) for one in first.values())


def uneven(tasks: Sequence[TaskScore]) -> dict[str, positions.Positions]:
    """The tasks whose right options stand unevenly, after Holm's correction over all that were tested."""
    return positions.uneven({task.name: task.positions for task in tasks if task.positions})


def losses(tasks: Sequence[TaskScore]) -> list[Losses]:
    """The tasks that lost prompts, parts of prompts or ends of answers; the most affected first."""
    found = [
        Losses(task.name, task.examples, task.truncated, task.unfinished, task.dropped)
        for task in tasks
        if task.truncated or task.unfinished or any(task.dropped.values())
    ]

    def share(one: Losses) -> float:
        dropped = sum(one.dropped.values())
        return (one.truncated + one.unfinished + dropped) / max(one.asked + dropped, 1)

    return sorted(found, key=lambda one: (-share(one), one.task))
