"""Uncertainty of a difference between two models on the same examples: paired intervals, sign test."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import CONFIDENCE, Interval, Spread
from iml_jax.evaluation.metrics import confidence
from iml_jax.evaluation.results import Prediction, Results


@dataclasses.dataclass(frozen=True)
class PairedExample:
    """What one example, asked by one template, adds to its task: ``points`` of each model, 0..100."""

    example_id: str
    template: str
    points: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Difference:
    """One model's points minus the first model's.

    Attributes:
      value: of the means.
      interval: of 95%.
      worse, better: examples on which it has fewer and more points (the sum over its templates).
      p_value: exact two-sided sign test over these, which is McNemar's test where answers are right or wrong;
        None for a category or level, whose tasks are averaged without regard to their sizes.
    """

    value: float
    interval: Interval
    worse: int
    better: int
    p_value: float | None

    @property
    def clear(self) -> bool:
        """Whether chance in the choice of examples hardly explains it."""
        outside = self.interval.low > 0 or self.interval.high < 0
        return outside and (self.p_value is None or self.p_value < 1 - CONFIDENCE)


@dataclasses.dataclass(frozen=True, eq=False)
class PairedDifferences:
    """The first model and another one on the same examples of all tasks.

    Attributes:
      spreads: of the examples' differences, by task.
      counts: (worse, better) of each task.
    """

    spreads: Mapping[str, Spread]
    counts: Mapping[str, tuple[int, int]]

    def difference(self, value: float, weights: Mapping[str, float], *, of_task: bool) -> Difference:
        """Of a weighted mean of tasks.

        Args:
          value: the difference of the two means.
          weights: task name -> its part in the mean.
          of_task: whether this is one task's own score.
        """
        interval = intervals.interval(self.spreads, weights)
        assert interval is not None  # every task has rows
        worse, better = (sum(self.counts[name][side] for name in weights) for side in (0, 1))
        p_value = sign_test(worse, better) if of_task else None
        return Difference(value, interval, worse, better, p_value)


def paired_differences(rows: Mapping[str, Sequence[PairedExample]], other: int) -> PairedDifferences:
    """The examples' differences between model ``other`` and the first one.

    The mean of differences is the difference of means, and a task's score is a mean of means (over examples,
    then templates), so intervals of the differences are paired.
    """
    differences: dict[str, list[confidence.ExamplePoints]] = {}
    counts = {}
    for task, found in rows.items():
        differences[task] = [
            (row.example_id, row.template, row.points[other] - row.points[0]) for row in found
        ]
        sums: dict[str, float] = collections.defaultdict(float)
        for example_id, _, delta in differences[task]:
            sums[example_id] += delta
        # 1e-9: sums of floats; points that are equal must count as equal.
        counts[task] = (sum(one < -1e-9 for one in sums.values()), sum(one > 1e-9 for one in sums.values()))
    return PairedDifferences(confidence.difference_spreads(differences), counts)


def against(results: Results, reference: Results) -> dict[str, Spread]:
    """The spread of each task's points minus the reference's, over the prompts that both answered.

    Args:
      results, reference: evaluations with their predictions, of which each task has one in common at least;
        tasks without one are left out.
    """
    points = {(one.task, one.example_id, one.template): one.score for one in reference.predictions}
    by_task: dict[str, list[tuple[Prediction, float]]] = collections.defaultdict(list)
    for one in results.predictions:
        other = points.get((one.task, one.example_id, one.template))
        if other is not None:
            by_task[one.task].append((one, other))
    metric = {task.name: task.metric for task in results.tasks}
    return {
        name: confidence.gain(metric[name], [one for one, _ in pairs], [other for _, other in pairs])
        for name, pairs in by_task.items()
    }


def sign_test(worse: int, better: int) -> float:
    """Exact two-sided probability of a split at least so uneven, each side being equally likely."""
    total, few = worse + better, min(worse, better)
    if worse == better:
        return 1.0
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(few + 1)
    ]
    largest = max(logs)
    return min(1.0, 2 * math.exp(largest) * math.fsum(math.exp(value - largest) for value in logs))
