"""The estimators hold the truth as often as they say, and none has a width of zero."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import AUGMENTED_T, AUGMENTED_WELCH, PLUS_FOUR, Interval, Spread

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import interval_coverage as coverage


def spread(values: np.ndarray) -> Spread:
    return Spread(float(values.mean()), float((values**2).mean()), len(values))


def right(number: int, n: int) -> Spread:
    return Spread(100 * number / n, 100**2 * number / n, n, binary=True)


@pytest.mark.parametrize("n", [*range(5, 41), 50, 75, 100, 200, 500])
def test_accuracies_are_covered_at_every_probability(n: int) -> None:
    """Exactly: summed over the binomial distribution."""
    low, high = coverage.plus_four(n)
    held = coverage.exact_coverage(low, high)
    assert held.min() >= 0.93
    assert 0.95 <= held.mean() <= 0.98
    assert (high - low).min() > 0 and low.min() == 0 and high.max() == 1
    assert (np.diff(low) >= 0).all() and np.allclose(low, 1 - high[::-1])


@pytest.mark.parametrize("on_limit", coverage.ON_LIMIT)
@pytest.mark.parametrize("rest", coverage.ELSEWHERE)
def test_bounded_points_are_covered(on_limit: float, rest: str) -> None:
    rng = np.random.default_rng()
    draw, mean = coverage.ELSEWHERE[rest]
    truth = 100 * on_limit + (1 - on_limit) * mean
    for n in (5, 20, 100, 500):
        values = np.where(rng.random((1000, n)) < on_limit, 100.0, draw(rng, (1000, n)))
        # 93%, less three standard errors of a simulation of 1,000
        assert coverage.simulated_points(values, truth)[0] >= 0.93 - 0.024, n


def test_many_examples_give_students_interval() -> None:
    values = np.random.default_rng().uniform(0, 100, 20_000)
    found = spread(values).interval()
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert found.ends == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert found.estimator == AUGMENTED_T


def test_twelve_of_twelve_may_be_wrong_once() -> None:
    found = right(12, 12).interval()
    assert found.estimator == PLUS_FOUR
    assert found.high == 100 and 70 < found.low < 80
    assert right(0, 12).interval().ends == pytest.approx((100 - found.high, 100 - found.low))
    assert right(1, 1).interval().high == 100


def test_a_mean_over_tasks_is_surer_than_a_task() -> None:
    rng = np.random.default_rng()
    made = {f"t{n}": spread(rng.uniform(0, 100, 300)) for n in range(9)}

    def width(weights: dict[str, float]) -> float:
        found = intervals.interval(made, weights)
        assert found is not None
        return found.high - found.low

    alone = np.mean([width({f"t{n}": 1.0}) for n in range(9)])
    together = width({f"t{n}": 1 / 9 for n in range(9)})
    assert together == pytest.approx(alone / 3, rel=0.05)  # independent: one over the square root of 9


@pytest.mark.parametrize("shares", [(0.98, 0.98, 0.98), (0.5, 0.5), (0.3, 0.6, 0.9, 0.98)])
def test_averages_are_covered(shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng()
    weights = dict.fromkeys(map(str, range(len(shares))), 1 / len(shares))
    for n in (10, 50):
        held = 0
        for row in rng.binomial(n, shares, (600, len(shares))).tolist():
            found = intervals.interval({str(k): right(one, n) for k, one in enumerate(row)}, weights)
            assert found is not None and found.estimator == AUGMENTED_WELCH and found.high > found.low
            held += found.low <= 100 * np.mean(shares) <= found.high
        assert held >= 600 * (0.94 - 0.03), n


def test_one_task_alone_has_its_own_estimator_and_an_unknown_one_none() -> None:
    made = {"t": right(3, 10)}
    assert intervals.interval(made, {"t": 1.0}) == made["t"].interval()
    assert intervals.interval(made, {"t": 0.5, "gone": 0.5}) is None
    assert intervals.interval({}, {}) is None


def test_ends_stay_within_the_limits() -> None:
    wide = Spread(0.0, 100.0**2, 3, limits=(-100.0, 100.0), added=(-100.0, 100.0))
    assert wide.interval() == Interval(-100.0, 100.0, AUGMENTED_T)
