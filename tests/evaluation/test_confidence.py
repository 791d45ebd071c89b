"""Bootstrap intervals: against scipy's, against known variances, and by what they resample."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from iml_jax.evaluation import confidence
from iml_jax.evaluation.results import Prediction


def made(task: str, points: np.ndarray, template: str = "", first: int = 0) -> list[Prediction]:
    return [
        Prediction(task, str(first + number), template, "", "", ("x",), (), (), float(one), 0)
        for number, one in enumerate(points)
    ]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


@pytest.mark.parametrize("kind", ["accuracy", "rouge"])
def test_one_task_agrees_with_scipy(rng: np.random.Generator, kind: str) -> None:
    points = rng.integers(2, size=400) * 100.0 if kind == "accuracy" else rng.uniform(0, 100, 400)
    found = confidence.resample(made("t", points)).interval({"t": 1.0})
    theirs = scipy.stats.bootstrap(
        (points,), np.mean, method="percentile", n_resamples=4000, rng=rng
    ).confidence_interval
    assert found is not None
    width = theirs.high - theirs.low
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.15 * width)


def test_it_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    held = 0
    for _ in range(200):
        points = (rng.random(150) < 0.3) * 100.0
        low, high = confidence.resample(made("t", points), resamples=400).interval({"t": 1.0}) or (0.0, 0.0)
        held += low <= 30.0 <= high
    assert (
        175 <= held <= 200
    )  # 95% of 200 is 190, with a standard deviation of 3; percentiles are a little narrow


def test_a_mean_over_tasks_is_surer_than_a_task(rng: np.random.Generator) -> None:
    sampled = confidence.resample([one for n in range(9) for one in made(f"t{n}", rng.uniform(0, 100, 300))])

    def width(weights: dict[str, float]) -> float:
        low, high = sampled.interval(weights) or (0.0, 0.0)
        return high - low

    alone = np.mean([width({f"t{n}": 1.0}) for n in range(9)])
    together = width({f"t{n}": 1 / 9 for n in range(9)})
    assert together == pytest.approx(alone / 3, rel=0.2)  # independent tasks: one over the square root of 9


def test_templates_of_an_example_are_drawn_together(rng: np.random.Generator) -> None:
    points = rng.integers(2, size=300) * 100.0
    once = confidence.resample(made("t", points)).scores["t"]
    # The same answers under four templates say no more about the task than under one.
    four = [one for name in "abcd" for one in made("t", points, name)]
    assert confidence.resample(four).scores["t"].std() == pytest.approx(once.std(), rel=0.15)
    # A template counts as such, however few examples it has.
    uneven = [*made("t", np.full(90, 100.0), "a"), *made("t", np.zeros(10), "b", first=90)]
    assert np.median(confidence.resample(uneven).scores["t"]) == 50


def test_it_is_repeatable_and_says_where_it_knows_nothing(rng: np.random.Generator) -> None:
    predictions = made("t", rng.uniform(0, 100, 50))
    first, second = (confidence.resample(predictions).interval({"t": 1.0}) for _ in range(2))
    assert first == second
    assert confidence.resample(predictions).interval({"t": 0.5, "gone": 0.5}) is None
    assert confidence.resample([]).interval({}) is None
    assert confidence.resample(made("t", np.array([70.0]))).interval({"t": 1.0}) == (70.0, 70.0)


def test_questions_are_drawn_where_questions_are_scored(rng: np.random.Generator) -> None:
    """MultiRC: of 100 questions with 5 answers each, those with every answer right."""
    points = (rng.random((100, 5)) < 0.85) * 100.0
    answers = [
        Prediction("t", f"{question}/{answer}", "", "", "", ("x",), (), (), float(value), 0)
        for question, row in enumerate(points)
        for answer, value in enumerate(row)
    ]
    got = confidence.resample(answers, {"t": "question_accuracy"}).scores["t"]
    wanted = confidence.resample(made("t", points.min(axis=1))).scores["t"]
    np.testing.assert_array_equal(got, wanted)
    assert confidence.resample(answers, {"t": "accuracy"}).scores["t"].mean() > got.mean() + 10
