"""Uncertainty of a mean: 95% intervals of tasks, of averages of tasks, and of differences between two models.

The tasks are taken as given: an interval says how far the score would move with other examples of the same
tasks, not with other tasks. An example counts once, with the prompts of all its templates, since these share
what makes an example hard; tasks are independent of each other.

A percentile bootstrap does not cover here: of 12 right answers of 12 it says that nothing can move, and at
n = 20, p = 0.98 it covers in one case of three. Each kind of score has an estimator that does
(``benchmarks/interval_coverage.py``; tables in docs/evaluation.md):

  * ``plus four``: answers that are right or wrong, one per example. Agresti and Coull's interval (1998) with
    two right and two wrong answers added, and Student's t for the normal quantile, which small n need.
  * ``augmented t``: points between two limits. Student's t after one example on each limit was added. For
    differences between two models what is added is the largest difference seen, once either way.
  * ``augmented Welch``: weighted means of several tasks. Around the mean, from the variances of
    ``augmented t``, with Welch and Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from scipy import special

CONFIDENCE = 0.95
PLUS_FOUR, AUGMENTED_T, AUGMENTED_WELCH = "plus four", "augmented t", "augmented Welch"
POINTS = (0.0, 100.0)
DIFFERENCES = (-100.0, 100.0)  # between which those of two models' points lie


@dataclasses.dataclass(frozen=True)
class Interval:
    """The ends of a 95% interval, in points, and the name of its estimator."""

    low: float
    high: float
    estimator: str

    @property
    def ends(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high


@dataclasses.dataclass(frozen=True)
class Spread:
    """The moments of a task's points, from which every interval is computed.

    Attributes:
      mean: of the examples' points; weighted where the templates did not ask the same examples.
      square: the same mean of their squares.
      examples: how many of equal weight would say as much.
      binary: each has the points of one limit, and all weigh the same.
      limits: between which points can lie.
      added: the points of the two examples that the estimators add; ``limits`` for scores.
    """

    mean: float
    square: float
    examples: float
    binary: bool = False
    limits: tuple[float, float] = POINTS
    added: tuple[float, float] = POINTS

    def _with_added(self) -> tuple[float, float, float]:
        """Number, mean and variance of the examples and the two added ones."""
        size = self.examples + 2
        mean = (self.examples * self.mean + sum(self.added)) / size
        squares = self.examples * self.square + sum(one**2 for one in self.added)
        return size, mean, max(squares - size * mean**2, 0.0) / (size - 1)

    @property
    def variance(self) -> float:
        """Of one example's points, from all examples and the added ones; never 0."""
        return self._with_added()[2]

    def interval(self) -> Interval:
        """Of the task's score."""
        if not self.binary:
            size, mean, variance = self._with_added()
            return self.around(mean, _quantile(size - 1) * math.sqrt(variance / size), AUGMENTED_T)
        low, high = self.limits
        size = self.examples + 4
        right = (self.examples * (self.mean - low) / (high - low) + 2) / size
        half = _quantile(size + 6) * math.sqrt(right * (1 - right) / size)
        return self.around(low + right * (high - low), half * (high - low), PLUS_FOUR)

    def around(self, mean: float, half: float, estimator: str) -> Interval:
        """The interval, clipped to the limits."""
        return Interval(max(mean - half, self.limits[0]), min(mean + half, self.limits[1]), estimator)


def _quantile(freedom: float) -> float:
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))  # scipy.stats takes long to import


def interval(spreads: Mapping[str, Spread], weights: Mapping[str, float]) -> Interval | None:
    """Of a weighted mean of task scores; None where a task has no predictions.

    Args:
      spreads: by task, all with the same limits.
      weights: task name -> its part, as ``levels.Average.weights``; they add up to 1.
    """
    if not weights or not weights.keys() <= spreads.keys():
        return None
    if len(weights) == 1:
        return spreads[next(iter(weights))].interval()
    parts = [(weight, spreads[name]) for name, weight in weights.items()]
    variances = [weight**2 * spread.variance / spread.examples for weight, spread in parts]
    freedom = sum(variances) ** 2 / sum(
        one**2 / (spread.examples + 1) for one, (_, spread) in zip(variances, parts, strict=True)
    )
    mean = sum(weight * spread.mean for weight, spread in parts)
    return parts[0][1].around(mean, _quantile(freedom) * math.sqrt(sum(variances)), AUGMENTED_WELCH)
