"""MultiRC's exact match: a question counts where every one of its answers is judged right."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from t5.evaluation import metrics as t5

from iml_jax.evaluation.metrics import answer_metrics, constant_baseline


def test_agrees_with_t5() -> None:
    """``mean_group_metric(all_match)`` is what T5 reports as MultiRC's exact match."""
    rng = np.random.default_rng()
    pairs = [
        (f"7.{question}/{answer}", bool(rng.integers(2))) for question in range(40) for answer in range(3)
    ]
    order = rng.permutation(len(pairs))
    answers = [(pairs[index][0], 100.0 * pairs[index][1]) for index in order]
    found = answer_metrics.per_question("question_accuracy", answers)
    groups = [{"group": pairs[index][0].rpartition("/")[0], "value": 1} for index in order]
    predictions = [{"value": int(pairs[index][1])} for index in order]
    theirs = t5.mean_group_metric(t5.all_match)(groups, predictions)
    (wanted,) = theirs.values()
    assert len(found) == 40
    assert float(np.mean(found)) == pytest.approx(wanted if wanted > 1 else 100 * wanted)
    assert 0 < np.mean(found) < 50


def test_other_metrics_count_every_answer() -> None:
    answers = [("1/0", 100.0), ("1/1", 0.0), ("2", 50.0)]
    assert answer_metrics.per_question("accuracy", answers) == [100.0, 0.0, 50.0]
    assert answer_metrics.per_question("question_accuracy", answers) == [0.0, 50.0]
    assert answer_metrics.score("question_accuracy", " [True]  x", ["[True] x"]) == 100.0


def test_constant_answers_are_judged_by_question_too() -> None:
    """Always "False" is right on 5 of 8 answers, but only on one question of three."""
    labels = {"1/0": 0, "1/1": 0, "1/2": 1, "2/0": 0, "2/1": 0, "3/0": 1, "3/1": 0, "3/2": 1}
    asked = []
    for example_id, label in labels.items():
        options = (f"[False] {example_id}", f"[True] {example_id}")
        asked.append(constant_baseline.BaselineExample((options[label],), options, example_id))
    assert collections.Counter(labels.values())[0] == 5
    best = constant_baseline.best_constant("question_accuracy", asked)
    assert best.answer == "always option 1"
    assert best.score == pytest.approx(100 / 3)
    assert constant_baseline.best_constant("accuracy", asked).score == pytest.approx(62.5)
