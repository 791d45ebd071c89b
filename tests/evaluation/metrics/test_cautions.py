"""Tasks that show no reading, right options that stand unevenly, and lost prompts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iml_jax.data.positions import Positions
from iml_jax.evaluation.metrics import cautions, confidence, constant_baseline
from iml_jax.evaluation.results import Prediction, TaskScore, TemplateScore

LETTERS = ("a", "b", "c", "d")


def answers(chosen, right, template="", options=LETTERS) -> list[Prediction]:
    """Answered choices among ``options``."""
    return [
        Prediction("t", str(n), template, "p", a, (r,), options, (), 100.0 * (a == r), 0)
        for n, (a, r) in enumerate(zip(chosen, right, strict=True))
    ]


def remark(predictions: list[Prediction], metric: str = "accuracy") -> str:
    asked = [
        constant_baseline.BaselineExample(one.references, one.options, one.example_id) for one in predictions
    ]
    best = constant_baseline.best_constant(metric, asked)
    return cautions.remark(metric, predictions, best.points, cautions.chance(predictions, metric))


def test_zero_in_every_template() -> None:
    none = answers("bbbb", "acda")
    assert remark([*none, *answers("bbbb", "acda", "second")]) == cautions.ZERO
    assert remark([*none, *answers("abbb", "acda", "second")]) != cautions.ZERO


def test_equal_to_the_constant_answer_in_every_template() -> None:
    always = answers("aaaaaaaa", "aaaaabcd")
    other = answers("aaaaadbd", "aaaaabcd", "second")  # 6 right where the constant has 5
    assert remark(always) == cautions.CONSTANT
    assert remark([*always, *other]) == ""


def test_at_chance() -> None:
    draw = np.random.default_rng()
    right = draw.choice(LETTERS, 200)
    wrong = [LETTERS[LETTERS.index(one) - 1] for one in right]
    lost = answers([*right[:50], *wrong[50:]], right)
    read = answers([*right[:120], *wrong[120:]], right, "second")
    assert cautions.chance(lost, "accuracy") == pytest.approx(25.0)
    assert remark(lost) == cautions.CHANCE
    assert remark([*lost, *read]) == ""


def test_chance_by_the_number_of_options() -> None:
    two, five = answers("a", "a", options=("a", "b")), answers("a", "a", options=tuple("abcde"))
    assert cautions.chance([*two, *five], "accuracy") == pytest.approx((50 + 20) / 2)
    written = dataclasses.replace(two[0], options=())
    assert cautions.chance([*two, written], "accuracy") is None
    assert cautions.chance(two, "question_accuracy") is None


def test_gain_is_the_mean_of_paired_differences() -> None:
    draw = np.random.default_rng()
    right = draw.choice(LETTERS, 40)
    predictions = [p for t in "xy" for p in answers(draw.choice(LETTERS, 40), right, t)]
    asked = [
        constant_baseline.BaselineExample(one.references, one.options, one.example_id) for one in predictions
    ]
    best = constant_baseline.best_constant("accuracy", asked)
    found = confidence.gain("accuracy", predictions, best.points)
    differences = [one.score - points for one, points in zip(predictions, best.points, strict=True)]
    by_example = (np.array(differences[:40]) + differences[40:]) / 2
    assert found.mean == pytest.approx(by_example.mean())
    assert found.square == pytest.approx((by_example**2).mean())
    assert found.examples == pytest.approx(40)
    assert np.mean(best.points) == pytest.approx(best.score)


@pytest.mark.parametrize(
    "metric", ["accuracy", "exact_match", "stated_answer", "rouge_l", "question_accuracy"]
)
def test_points_of_the_constant_answer_are_those_of_answering_it(metric: str) -> None:
    from iml_jax.evaluation.metrics import answer_metrics

    draw = np.random.default_rng()
    texts = ["red car", "blue car", "no", "the answer is no."]
    asked = [
        constant_baseline.BaselineExample(
            (str(draw.choice(texts)),), tuple(texts) if metric.endswith("accuracy") else (), f"{n}/0"
        )
        for n in range(30)
    ]
    best = constant_baseline.best_constant(metric, asked)
    if best.answer.startswith("always option"):
        given = [one.options[int(best.answer.split()[-1]) - 1] for one in asked]
    else:
        given = [best.answer] * len(asked)
    expected = [
        answer_metrics.score(metric, text, one.references) for text, one in zip(given, asked, strict=True)
    ]
    assert best.points == pytest.approx(expected)
    assert best.score == pytest.approx(np.mean(expected))


def test_each_example_stands_once_in_the_positions() -> None:
    rows = [
        Prediction("t", str(n), template, "p", f"a{n}", (f"a{n}",), (f"a{n}", f"b{n}"), (), 100.0, 0)
        for template in ("x", "y")
        for n in range(10)
    ]
    found = cautions.examine_positions(rows)
    assert found == Positions(10, (10, 0), found.p_value, 1, 100.0)
    assert found.p_value == pytest.approx(2 * 2 * 0.5**10)


def task(name: str, **fields) -> TaskScore:
    scores = {"": TemplateScore(1.0, 10)}
    made = TaskScore(
        name, "b", name, "c", "fully_held_out", "accuracy", "test", 1.0, scores, 1.0, "", 10, 0, 0, {}
    )
    return dataclasses.replace(made, **fields)


def test_the_most_affected_tasks_come_first() -> None:
    tasks = [
        task("few", truncated=1),
        task("none"),
        task("most", unfinished=9),
        task("gone", dropped={"x": 5}),
    ]
    assert [one.task for one in cautions.losses(tasks)] == ["most", "gone", "few"]


def test_positions_are_corrected_over_the_tasks_tested() -> None:
    one = Positions(20, (15, 5), 0.03, 1, 75.0)
    assert list(cautions.uneven([task("a", positions=one), task("b")])) == ["a"]
    assert cautions.uneven([task("a", positions=one), task("b", positions=one)]) == {}
