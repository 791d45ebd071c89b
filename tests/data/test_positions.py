"""Positions of right answers against scipy's exact tests and simulated orders."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from iml_jax.data import positions

SEEDS = 40


def rows(draw: np.random.Generator, count: int, sizes: tuple[int, ...], first: float = 0.0):
    """Rows with their own options; the right one is first with probability ``first``, else anywhere."""
    found = []
    for number in range(count):
        size = int(draw.choice(sizes))
        options = [f"{number} {letter}" for letter in "abcdef"[:size]]
        right = 0 if draw.random() < first else int(draw.integers(size))
        found.append((options, [options[right]]))
    return found


def test_p_values_equal_scipys() -> None:
    rng = np.random.default_rng()
    for _ in range(20):
        count, size = int(rng.integers(5, 400)), int(rng.integers(2, 6))
        found = positions.examine(rows(rng, count, (size,)))
        each = [
            min(1.0, 2 * min(stats.binom.cdf(k, count, 1 / size), stats.binom.sf(k - 1, count, 1 / size)))
            for k in found.right
        ]
        assert found.p_value == pytest.approx(min(1.0, size * min(each)), rel=1e-9)
        assert sum(found.right) == found.rows == count
        assert found.score == pytest.approx(100 * max(found.right) / count)
        assert found.right[found.best - 1] == max(found.right)


def test_rows_with_different_numbers_of_options() -> None:
    """The exact distribution is that of a simulated order."""
    rng = np.random.default_rng()
    asked = rows(rng, 60, (2, 3, 5))
    found = positions.examine(asked)
    draws = np.zeros((4000, 5), int)
    for options, _ in asked:
        places = rng.integers(len(options), size=4000)
        draws[np.arange(4000), places] += 1
    tails = [2 * min((draws[:, j] <= k).mean(), (draws[:, j] >= k).mean()) for j, k in enumerate(found.right)]
    assert found.p_value == pytest.approx(min(1.0, 5 * min(tails)), abs=0.1)


def test_an_order_that_gives_the_answer_away() -> None:
    always = positions.examine([([f"a{i}", f"b{i}", f"c{i}"], [f"a{i}"]) for i in range(50)])
    assert (always.best, always.score, always.right) == (1, 100.0, (50, 0, 0))
    assert always.p_value < 1e-20
    several = positions.examine([([f"a{i}", f"b{i}", f"c{i}"], [f"a{i}", f"c{i}"]) for i in range(50)])
    assert several.right == (50, 0, 50)


def test_labels_that_every_row_offers_are_not_tested() -> None:
    labels = [(["yes", "no"], ["yes"])] * 100
    assert positions.examine(labels) is None
    assert positions.examine([*labels, (["maybe", "no"], ["no"])]) is None  # two sets in a hundred rows
    assert positions.examine([((), ["free"])] * 5) is None
    assert positions.examine([]) is None


def test_random_orders_are_seldom_named() -> None:
    """Over 30 tasks at once, wrongly named in at most 5% of draws (and a real one is found)."""
    wrong = 0
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed)
        found = {str(task): positions.examine(rows(draw, 40, (2, 4))) for task in range(30)}
        wrong += bool(positions.uneven(found))
        found["uneven"] = positions.examine(rows(draw, 200, (4,), first=0.4))
        assert "uneven" in positions.uneven(found)
    assert wrong <= 0.05 * SEEDS + 2 * np.sqrt(0.05 * 0.95 * SEEDS)


def test_holm_equals_its_definition() -> None:
    rng = np.random.default_rng()
    values = rng.random(12) ** 4
    adjusted = positions.holm({str(i): value for i, value in enumerate(values)})
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for rank, index in enumerate(np.argsort(values)):
            if values[index] > level / (len(values) - rank):
                break
            rejected.add(str(index))
        assert rejected == {name for name, value in adjusted.items() if value <= level}
