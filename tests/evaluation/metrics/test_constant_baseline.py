"""The best constant answer against trying every answer."""

from __future__ import annotations

import random

import numpy as np
import pytest

from iml_jax.evaluation.metrics import answer_metrics, constant_baseline
from iml_jax.evaluation.metrics.constant_baseline import BaselineExample, best_constant


@pytest.fixture
def rng() -> random.Random:
    """Seeded by ``IML_TEST_SEED``, as ``np.random.default_rng()`` is (conftest)."""
    return random.Random(int(np.random.default_rng().integers(1 << 32)))


def mean(metric: str, answer: str, questions: list[BaselineExample]) -> float:
    return float(np.mean([answer_metrics.score(metric, answer, one.references) for one in questions]))


@pytest.mark.parametrize("metric", sorted(answer_metrics.METRICS))
def test_no_reference_does_better(metric: str, rng: random.Random) -> None:
    words = ["a", "b", "c", "d", "e", "f"]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 3)))

    questions = [BaselineExample(tuple(text() for _ in range(rng.randint(1, 3)))) for _ in range(40)]
    best = best_constant(metric, questions)
    assert best.score == pytest.approx(mean(metric, best.answer, questions))
    said = "The answer is {}." if metric == "stated_answer" else "{}"
    everything = {said.format(reference) for one in questions for reference in one.references}
    assert len(everything) > 5
    # Rouge tries 64 candidates on 64 examples, which here is all that most draws hold.
    if metric != "rouge_l" or len(everything) <= constant_baseline.CANDIDATES:
        assert best.score == pytest.approx(max(mean(metric, text, questions) for text in everything))


def test_a_place_among_the_options_is_a_constant_answer() -> None:
    def ask(number: int, right: int) -> BaselineExample:
        options = tuple(f"answer {number} {place}" for place in range(3))
        return BaselineExample((options[right],), options)

    questions = [ask(0, 1), ask(1, 1), ask(2, 0), ask(3, 1)]
    assert best_constant("accuracy", questions) == constant_baseline.ConstantBaseline("always option 2", 75.0)
    frequent = [BaselineExample(("yes",), ("yes", "no")), BaselineExample(("yes",), ("no", "yes"))]
    assert best_constant("accuracy", frequent) == constant_baseline.ConstantBaseline("yes", 100.0)


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    true_rouge = answer_metrics.METRICS["rouge_l"]

    def counted(*arguments) -> float:
        nonlocal calls
        calls += 1
        return true_rouge(*arguments)

    monkeypatch.setitem(answer_metrics.METRICS, "rouge_l", counted)
    questions = [BaselineExample((f"w{n} same",)) for n in range(300)]
    assert best_constant("rouge_l", questions).score == pytest.approx((299 * 50 + 100) / 300)
    assert calls <= constant_baseline.CANDIDATES * constant_baseline.SEARCH_EXAMPLES + len(questions)
    assert best_constant("exact_match", questions).score == pytest.approx(100 / 300)
    with pytest.raises(ValueError, match="without examples"):
        best_constant("accuracy", [])
