"""Where the right answer stands among the options: whether a position alone gives the answer away.

A model that always picks the option at one position scores as many points as that position holds right
answers. Where options differ from row to row (not where each row offers the same labels), no position should
hold more of them than chance puts there. Each position's count of right answers is compared with its exact
distribution under a random order; a task's p-value is Bonferroni's over its positions, and ``holm`` corrects
over tasks.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

SIGNIFICANT = 0.05  # the chance that any task of a table is named although every order is random
Text = TypeVar("Text", str, bytes)
ROWS_PER_SET = 10  # options "differ from row to row" if there is a set of options for every ten rows


@dataclasses.dataclass(frozen=True)
class Positions:
    """Right answers by position.

    Attributes:
      rows: with options, each example once.
      right: of each position, rows in which the option there is right.
      p_value: the probability that a random order departs as far from chance at some position.
      best: the position (from 1) with the most right answers; score: points 0..100 of always choosing it.
    """

    rows: int
    right: tuple[int, ...]
    p_value: float
    best: int
    score: float


def examine(rows: Iterable[tuple[Sequence[Text], Sequence[Text]]]) -> Positions | None:
    """Counts right answers by position.

    Args:
      rows: options and correct answers of each example, both as str or both as bytes.

    Returns:
      None where no row has options, or rows do not differ in them.
    """
    sets: set[frozenset[Text]] = set()
    right: list[int] = []
    chances: list[collections.Counter[float]] = []
    count = 0
    for options, references in rows:
        if not options:
            continue
        count += 1
        sets.add(frozenset(options))
        known = set(references)
        hits = [option in known for option in options]
        share = sum(hits) / len(hits)
        while len(right) < len(hits):
            right.append(0)
            chances.append(collections.Counter())
        for position, hit in enumerate(hits):
            right[position] += hit
            chances[position][share] += 1
    if len(sets) < 2 or len(sets) * ROWS_PER_SET < count:
        return None
    each = [_two_sided(number, groups) for number, groups in zip(right, chances, strict=True)]
    best = max(range(len(right)), key=lambda position: right[position])
    p_value = min(1.0, len(each) * min(each))
    return Positions(count, tuple(right), p_value, best + 1, 100.0 * right[best] / count)


def _two_sided(number: int, groups: Mapping[float, int]) -> float:
    """Twice the smaller tail of a sum of independent events, ``groups[p]`` of them of probability p."""
    distribution = np.ones(1)
    for chance, size in groups.items():
        distribution = np.convolve(distribution, _binomial(size, chance))
    below, above = float(distribution[: number + 1].sum()), float(distribution[number:].sum())
    return min(1.0, 2 * min(below, above))


def _binomial(size: int, chance: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probabilities of 0 to ``size`` events of ``size``."""
    if chance in (0.0, 1.0):
        found = np.zeros(size + 1)
        found[size if chance else 0] = 1.0
        return found
    ratios = np.arange(size, 0, -1) / np.arange(1, size + 1) * (chance / (1 - chance))
    return np.exp(size * math.log(1 - chance) + np.concatenate([[0.0], np.cumsum(np.log(ratios))]))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: adjusted p-values by name, in the order given.

    Naming those below ``SIGNIFICANT`` names any wrongly with at most that probability (Holm 1979).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for rank, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def uneven(found: Mapping[str, Positions]) -> dict[str, Positions]:
    """Those in which the position is no accident after ``holm``; the largest score first."""
    adjusted = holm({name: one.p_value for name, one in found.items()})
    named = [name for name in found if adjusted[name] < SIGNIFICANT]
    return {name: found[name] for name in sorted(named, key=lambda name: -found[name].score)}
