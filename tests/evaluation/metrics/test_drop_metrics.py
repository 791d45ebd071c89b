"""DROP's exact match and F1 against the benchmark's script, as lm-eval has it, and against cases by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from iml_jax.evaluation.metrics import corpus_metrics, drop_metrics
from iml_jax.evaluation.results import Prediction

WORDS = ("the", "The", "a", "Bears", "bears", "field-goal", "3", "3.0", "1,000", "1000", "it's", "U.S.", "-7")

Script = Callable[[tuple[str, ...], tuple[str, ...]], tuple[float, float]]


@pytest.fixture(scope="module")
def script() -> Script:
    return pytest.importorskip("lm_eval.tasks.drop.utils").get_metrics


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def spans(rng: np.random.Generator, most: int) -> tuple[str, ...]:
    return tuple(
        " ".join(rng.choice(WORDS, size=rng.integers(0, 4))) for _ in range(rng.integers(1, most + 1))
    )


def test_equals_the_script(script: Script, rng: np.random.Generator) -> None:
    found = []
    for _ in range(1500):
        wanted = spans(rng, 4)
        said = spans(rng, 4) if rng.random() < 0.5 else tuple(rng.permutation(wanted))
        found.append(drop_metrics.scores(said, wanted))
        assert found[-1] == pytest.approx(script(said, wanted), abs=1e-12), (said, wanted)
    matches, f1 = np.mean(found, axis=0)
    assert 0.05 < matches < f1 < 0.95


def test_the_best_annotator_counts(script: Script, rng: np.random.Generator) -> None:
    """As the script's loop over the validated answers: the best of each; empty ones count for nothing."""
    for _ in range(200):
        (said,) = spans(rng, 1)
        wanted = tuple(span for (span,) in (spans(rng, 1) for _ in range(3)))
        pairs = [script((said,), (one,)) for one in wanted if one.strip()]
        expected = np.max([*pairs, (0.0, 0.0)], axis=0)
        assert drop_metrics.best_scores(said, wanted) == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("said", "wanted", "match", "f1"),
    [
        ("The Bears!", "bears", 1, 1),
        ("3 points", "3", 0, 0.67),
        ("4 points", "3 points", 0, 0),  # the number is wrong: the common word is worth nothing
        ("3.0", "3", 1, 1),
        ("1,000", "1000", 1, 1),
        ("field goal", "field-goal", 1, 1),
        ("", "Bears", 0, 0),
        ("the", "Bears", 0, 0),
        ("Bears, Lions", "Lions, Bears", 1, 1),  # spans have no order
        ("Bears", "Lions, Bears", 0, 0.67),  # as one span; as two it would be 0.5
        ("Lions and Bears", "Lions, Bears", 0, 0.8),
        ("Tampa, Florida", "Tampa", 0, 0.67),
    ],
)
def test_by_hand(said: str, wanted: str, match: float, f1: float) -> None:
    assert drop_metrics.best_scores(said, (wanted,)) == (match, f1)


def test_spans_have_no_order() -> None:
    wanted = ("3 yards", "the Bears", "1995 season")
    values = {drop_metrics.scores(said, wanted) for said in itertools.permutations((*wanted[:2], "8 goals"))}
    assert values == {(0.0, 0.67)}


def test_points_are_means_over_answers() -> None:
    answers = [
        Prediction("flan:drop:zero_shot", str(n), "", "", said, wanted, (), (), 0.0, 0)
        for n, (said, wanted) in enumerate([("4", ("3", "four", "4")), ("3 points", ("3",)), ("no", ("3",))])
    ]
    assert corpus_metrics.drop_em(answers) == pytest.approx(100 / 3)
    assert corpus_metrics.drop_f1(answers) == pytest.approx(167 / 3)
