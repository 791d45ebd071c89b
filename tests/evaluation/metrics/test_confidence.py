"""Spreads of predictions: what an example is, and what its templates weigh."""

from __future__ import annotations

import numpy as np
import pytest

from iml_jax.evaluation.intervals import Spread
from iml_jax.evaluation.metrics import confidence
from iml_jax.evaluation.results import Prediction


def made(task: str, points: np.ndarray, template: str = "", first: int = 0) -> list[Prediction]:
    return [
        Prediction(task, str(first + number), template, "", "", ("x",), (), (), float(one), 0)
        for number, one in enumerate(points)
    ]


def of(predictions: list[Prediction], metric: str = "accuracy") -> Spread:
    return confidence.spreads(predictions, {"t": metric})["t"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def test_moments_are_those_of_the_points(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 100, 50)
    found = of(made("t", points))
    expected = (points.mean(), (points**2).mean(), 50)
    assert (found.mean, found.square, found.examples) == pytest.approx(expected)
    assert not found.binary and of(made("t", rng.integers(2, size=50) * 100.0)).binary


def test_the_templates_of_an_example_are_one_example(rng: np.random.Generator) -> None:
    points = rng.integers(2, size=300) * 100.0
    once = of(made("t", points))
    # The same answers under four templates say no more about the task than under one.
    four = of([one for name in "abcd" for one in made("t", points, name)])
    assert four.interval().ends == pytest.approx(once.interval().ends)
    # Templates that disagree make the points of an example a mean.
    other = of([*made("t", points, "a"), *made("t", 100 - points, "b")])
    assert not other.binary and other.mean == pytest.approx(50) and other.square == pytest.approx(2500)


def test_a_template_counts_as_such_however_few_examples_it_has(rng: np.random.Generator) -> None:
    uneven = of([*made("t", np.full(90, 100.0), "a"), *made("t", np.zeros(10), "b", first=90)])
    assert uneven.mean == pytest.approx(50)
    # 90 examples of weight 1/180 and 10 of weight 1/20
    assert uneven.examples == pytest.approx(1 / (90 / 180**2 + 10 / 20**2))
    assert not uneven.binary


def test_questions_are_the_examples_where_questions_are_scored(rng: np.random.Generator) -> None:
    """MultiRC: of 100 questions with 5 answers each, those with every answer right."""
    points = (rng.random((100, 5)) < 0.85) * 100.0
    answers = [
        Prediction("t", f"{question}/{answer}", "", "", "", ("x",), (), (), float(value), 0)
        for question, row in enumerate(points)
        for answer, value in enumerate(row)
    ]
    assert of(answers, "question_accuracy") == of(made("t", points.min(axis=1)))
    assert of(answers).mean == pytest.approx(points.mean())


def test_differences_add_the_largest_that_was_seen() -> None:
    rows = {"some": [("0", "", 30.0), ("1", "", -80.0), ("2", "", 0.0)], "none": [("0", "", 0.0)] * 2}
    found = confidence.difference_spreads(rows)
    assert found["some"].added == (-80.0, 80.0) and found["none"].added == (-100.0, 100.0)
    assert found["some"].limits == (-100.0, 100.0)
    assert found["some"].mean == pytest.approx(-50 / 3)
