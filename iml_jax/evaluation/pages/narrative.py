"""Sentences that state what the numbers show, and no more.

A difference counts if its paired 95% interval over examples does not include 0, however small it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import Interval, Spread
from iml_jax.evaluation.metrics.levels import MEANINGS, TITLES, LevelScore, Weights

NO_INTERVAL = "no interval: made by an older version; run `iml evaluate` again"


@dataclasses.dataclass(frozen=True)
class Gains:
    """The spreads of the differences between a model and what it is compared with.

    Attributes:
      constant: task name -> spread of its points minus the best constant answer's (``TaskScore.gain``).
      reference: the same for the reference model (``paired.against``); empty without one.
    """

    constant: Mapping[str, Spread] = dataclasses.field(default_factory=dict)
    reference: Mapping[str, Spread] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Gain:
    """One difference in points, and its 95% interval, where it is known."""

    value: float
    interval: Interval | None

    @classmethod
    def of(cls, value: float, spreads: Mapping[str, Spread], weights: Weights) -> Gain:
        """Of a weighted mean of tasks."""
        return cls(value, intervals.interval(spreads, weights))

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.interval is not None and self.interval.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.interval is not None and self.interval.high < 0


def versus(gain: Gain, what: str) -> str:
    """``12.3 points above WHAT (95% interval 8.0 to 16.5)``, ``… below …`` or ``not distinguishable …``."""
    if gain.interval is None:
        return f"{abs(gain.value):.1f} points {'below' if gain.value < 0 else 'above'} {what} ({NO_INTERVAL})"
    ends = f"95% interval {gain.interval.low:.1f} to {gain.interval.high:.1f}"
    if gain.above or gain.below:
        return f"{abs(gain.value):.1f} points {'above' if gain.above else 'below'} {what} ({ends})"
    return f"not distinguishable from {what} (difference {gain.value:+.1f}, {ends})"


def _over_constant(scored: LevelScore, gains: Gains) -> Gain:
    return Gain.of(scored.scores.model - scored.scores.constant, gains.constant, scored.weights)


def _over_reference(scored: LevelScore, gains: Gains) -> Gain | None:
    if scored.scores.reference is None:
        return None
    return Gain.of(scored.scores.model - scored.scores.reference, gains.reference, scored.weights)


def level_sentence(level: LevelScore, gains: Gains, reference_name: str = "the reference model") -> str:
    """One level's mean beside its references, and in how many categories the constant answer is beaten."""
    parts = [versus(_over_constant(level, gains), "the best constant answer")]
    over_reference = _over_reference(level, gains)
    if over_reference is not None:
        parts.append(versus(over_reference, reference_name))
    ahead = sum(
        Gain.of(one.scores.model - one.scores.constant, gains.constant, one.weights).above
        for one in level.categories
    )
    total = len(level.categories)
    categories = f"{ahead} of {total} {'category' if total == 1 else 'categories'}"
    return (
        f"{TITLES[level.name]} ({MEANINGS[level.name]}): {level.scores.model:.1f} points, "
        f"{' and '.join(parts)}; it clearly beats the best constant answer in {categories}."
    )


def verdict(level: LevelScore, gains: Gains, reference_name: str = "the reference model") -> str:
    """What may be concluded from one level, in plain words."""
    gain, over_reference = _over_constant(level, gains), _over_reference(level, gains)
    if gain.interval is None or (over_reference is not None and over_reference.interval is None):
        return f"No verdict ({NO_INTERVAL})."
    better = over_reference is None or over_reference.above
    if gain.above and better:
        return "Here the model does better than answering without reading."
    if gain.above:
        return f"It does better than answering without reading, but not clearly better than {reference_name}."
    if over_reference is not None and better:
        return (
            f"It does better than {reference_name}, but not clearly better than one fixed answer: "
            "no generalization is shown here."
        )
    return "No generalization is shown here: it is not clearly better than one fixed answer."
