"""Our metrics against T5's own, on fresh random texts."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from rouge_score import rouge_scorer

from iml_jax.evaluation.metrics import answer_metrics

WORDS = [
    "the",
    "cat",
    "cats",
    "sat",
    "on",
    "a",
    "mat",
    "Dog",
    "runs",
    "2",
    "3.5",
    "it's",
    "über",
    "Yes",
    "no",
]
JOINS = [" ", " ", " ", "  ", "\n", ", ", "-"]


def random_text(rng: random.Random, longest: int = 12) -> str:
    return "".join(rng.choice(WORDS) + rng.choice(JOINS) for _ in range(rng.randint(0, longest)))


@pytest.fixture
def rng() -> random.Random:
    """Seeded by ``IML_TEST_SEED``, as ``np.random.default_rng()`` is (conftest)."""
    return random.Random(int(np.random.default_rng().integers(1 << 32)))


def test_rouge_l_equals_t5(rng: random.Random) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    positive = 0
    for _ in range(200):
        prediction, reference = random_text(rng), random_text(rng)
        # One pair at a time: T5 aggregates pairs with a bootstrap, whose middle is random.
        expected = t5.rouge([reference], [prediction], score_keys=("rougeL",))["rougeL"]
        got = answer_metrics.rouge_l(prediction, [reference])
        assert got == pytest.approx(expected, abs=1e-9)
        positive += got > 0
    assert positive > 50
    # Stems are not compared: "runs" and "run" differ.
    assert answer_metrics.rouge_l("he runs", ["he run"]) == 50
    assert t5.rouge(["he run"], ["he runs"], score_keys=("rougeL",))["rougeL"] == 50


def test_stemmed_rouge_l_is_super_natural_instructions_own(rng: random.Random) -> None:
    """Its scorer: the best reference under ``rougeL`` with ``use_stemmer=True``."""
    theirs = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    words = ["running", "runs", "ran", "houses", "house", "Happily", "happy", "a", "of", "relational", "1st"]
    differ = 0
    for _ in range(300):
        texts = [" ".join(rng.choices(words, k=rng.randint(0, 6))) for _ in range(3)]
        expected = max(theirs.score(target=one, prediction=texts[0])["rougeL"].fmeasure for one in texts[1:])
        assert answer_metrics.rouge_l_stemmed(texts[0], texts[1:]) == pytest.approx(100 * expected, abs=1e-9)
        differ += answer_metrics.rouge_l(texts[0], texts[1:]) != answer_metrics.rouge_l_stemmed(
            texts[0], texts[1:]
        )
    assert differ > 20
    assert answer_metrics.rouge_l_stemmed("two houses", ["two house"]) == 100
    assert answer_metrics.rouge_l("two houses", ["two house"]) == 50
    with pytest.raises(ValueError, match="at least one reference"):
        answer_metrics.rouge_l_stemmed("a", [])


def test_rouge_l_and_t5_rouge_lsum_agree_on_one_line(rng: random.Random) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    for _ in range(50):
        texts = [random_text(rng).replace("\n", " ") for _ in range(2)]
        expected = t5.rouge([texts[0]], [texts[1]], score_keys=("rougeLsum",))["rougeLsum"]
        assert answer_metrics.rouge_l(texts[1], [texts[0]]) == pytest.approx(expected, abs=1e-9)
    # The word order of two lines: one common subsequence of the whole is shorter than line by line.
    assert answer_metrics.rouge_l("b c\na", ["a\nb c"]) < t5.rouge(["a\nb c"], ["b c\na"])["rougeLsum"]


def test_exact_match_equals_t5(rng: random.Random) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    targets = [random_text(rng, 1) for _ in range(300)]
    predictions = [random_text(rng, 1) for _ in targets]
    ours = [answer_metrics.exact_match(p, [t]) for p, t in zip(predictions, targets, strict=True)]
    normalized = [[answer_metrics.normalize(text) for text in texts] for texts in (targets, predictions)]
    mean = sum(ours) / len(ours)
    assert 0 < mean < 100
    assert mean == pytest.approx(t5.accuracy(*normalized)["accuracy"])
    assert mean == pytest.approx(t5.sequence_accuracy(*normalized)["sequence_accuracy"])


def test_best_reference_counts() -> None:
    assert answer_metrics.exact_match(" two\n words ", ["one", "two words"]) == 100
    assert answer_metrics.exact_match("Two words", ["one", "two words"]) == 0
    many = ["a b c d", "a b x y", "q"]
    assert answer_metrics.rouge_l("a b c", many) == max(
        answer_metrics.rouge_l("a b c", [one]) for one in many
    )
    assert answer_metrics.rouge_l("a b c", many) == pytest.approx(100 * 6 / 7)


@pytest.mark.parametrize("metric", sorted(answer_metrics.METRICS))
def test_no_reference_is_refused(metric: str) -> None:
    with pytest.raises(ValueError, match="reference"):
        answer_metrics.score(metric, "x", [])
    said = "The answer is same answer." if metric == "stated_answer" else "same answer"
    assert answer_metrics.score(metric, said, ["same answer"]) == 100
    assert answer_metrics.score(metric, "", ["same answer"]) == 0


def test_stated_match_needs_a_statement() -> None:
    reasons = "Two and two. So the answer is  (B) ."
    assert answer_metrics.stated_match(reasons, ["(A)", "(B)"]) == 100
    assert answer_metrics.stated_match(reasons, ["(b)"]) == 0
    assert answer_metrics.stated_match("(B)", ["(B)"]) == 0
    assert answer_metrics.stated_match("no answer", [""]) == 0


def test_every_manifest_metric_is_there() -> None:
    from iml_jax.data.terms import METRICS

    assert set(METRICS) == set(answer_metrics.METRICS)


def test_imports_no_tensorflow() -> None:
    code = (
        "import sys, importlib, pkgutil, iml_jax.evaluation as package\n"
        "modules = [m.name for m in pkgutil.walk_packages(package.__path__, 'iml_jax.evaluation.')]\n"
        "assert 'iml_jax.evaluation.engine.runner' in modules\n"
        "for module in modules:\n"
        "    importlib.import_module(module)\n"
        "bad = {'tensorflow', 'seqio', 't5', 'apache_beam', 'torch', 'transformers'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
