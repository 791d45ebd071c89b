"""Paired intervals and sign test against scipy and against what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from iml_jax.evaluation.metrics import paired
from iml_jax.evaluation.metrics.paired import Difference, PairedExample


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (0, 1), (3, 3), (2, 9), (40, 21), (5000, 5300)])
def test_sign_test_is_the_binomial_test(worse: int, better: int) -> None:
    expected = stats.binomtest(worse, worse + better).pvalue if worse + better else 1.0
    assert paired.sign_test(worse, better) == pytest.approx(expected, rel=1e-6)


def rows_of(first: Sequence[float], second: Sequence[float], template: str = "") -> list[PairedExample]:
    return [
        PairedExample(str(i), template, (a, b)) for i, (a, b) in enumerate(zip(first, second, strict=True))
    ]


def difference(rows: list[PairedExample], name: str = "task") -> Difference:
    """Of one task with one template."""
    value = float(np.mean([row.points[1] - row.points[0] for row in rows]))
    return paired.paired_differences({name: rows}, 1).difference(value, {name: 1.0}, of_task=True)


def test_interval_is_students_of_the_differences() -> None:
    generator = np.random.default_rng()
    first, second = generator.uniform(20, 80, 2000), generator.uniform(25, 85, 2000)
    found = difference(rows_of(first, second))
    expected = stats.ttest_rel(second, first).confidence_interval()
    assert found.interval.ends == pytest.approx((expected.low, expected.high), abs=0.1)
    assert (found.worse, found.better) == ((second < first).sum(), (second > first).sum())


def test_pairing_sees_what_separate_intervals_would_not() -> None:
    """One model is a little better on every example, and the examples differ a lot."""
    hard = np.random.default_rng().uniform(0, 90, 50)
    found = difference(rows_of(hard, hard + 2))
    assert 1.7 < found.interval.low < 1.95 and 2 < found.interval.high < 2.2
    assert found.clear


def test_few_examples_are_never_clear() -> None:
    found = difference(rows_of([0, 0, 0], [100, 100, 100]))
    assert found.interval.low < 0 and found.interval.high == 100
    assert found.p_value == pytest.approx(0.25)
    assert not found.clear


def test_models_that_answer_alike_may_still_differ() -> None:
    found = difference(rows_of([0, 100] * 20, [0, 100] * 20))
    assert found.interval.low == -found.interval.high
    assert 3 < found.interval.high < 10


def test_equal_models_are_clear_as_rarely_as_promised() -> None:
    generator = np.random.default_rng()
    clear = 0
    for number in range(300):
        clear += difference(rows_of(*(100.0 * (generator.random((2, 80)) < 0.6))), f"task {number}").clear
    assert clear <= 25  # 5% of 300 are 15; more than 25 has a probability of less than 1%


def test_templates_of_an_example_are_drawn_together() -> None:
    """A second template with the same answers tells nothing new: the interval must not shrink."""
    generator = np.random.default_rng()
    first, second = 100.0 * (generator.random((2, 60)) < 0.5)
    once = difference(rows_of(first, second))
    twice = difference(rows_of(first, second) + rows_of(first, second, "again"))
    assert twice.interval == once.interval
    assert (twice.worse, twice.better) == (once.worse, once.better)


def test_mean_of_tasks_is_weighted_as_told() -> None:
    tasks = {"small": rows_of([0.0] * 2, [10.0] * 2), "large": rows_of([0.0] * 200, [30.0] * 200)}
    found = paired.paired_differences(tasks, 1).difference(20.0, {"small": 0.5, "large": 0.5}, of_task=False)
    assert found.interval.low < 20 < found.interval.high
    assert (found.worse, found.better) == (0, 202)
    assert found.p_value is None
    assert found.clear == (found.interval.low > 0)


def test_third_model_is_compared_with_the_first() -> None:
    rows = {"task": [PairedExample(str(i), "", (50.0, 60.0, 20.0)) for i in range(20)]}
    found = paired.paired_differences(rows, 2).difference(-30.0, {"task": 1.0}, of_task=True)
    assert found.interval.low < -27 < found.interval.high < 0
    assert (found.worse, found.better) == (20, 0)
    assert found.clear
