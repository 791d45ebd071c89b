"""The constant-answer baseline: the best score without reading the prompt.

It gives a score its meaning: where the answer is "no" four times in five, "no" alone gets 80 points.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from iml_jax.evaluation.metrics import answer_metrics

CANDIDATES = 64  # distinct references tried for a generated answer
SEARCH_EXAMPLES = 64  # examples that the candidates are compared on
SEARCH_CELLS = 20_000_000  # cells of the alignment tables that the search may fill, a few seconds' work


@dataclasses.dataclass(frozen=True)
class BaselineExample:
    """The parts of an example that matter here: its correct answers, its options if any, and its id."""

    references: tuple[str, ...]
    options: tuple[str, ...] = ()
    example_id: str = ""


@dataclasses.dataclass(frozen=True)
class ConstantBaseline:
    """The answer, as text for the report, and what it would reach.

    Attributes:
      answer: for the report.
      score: its mean points over the examples.
      points: of each question, in the order given, before ``answer_metrics.per_question``.
    """

    answer: str
    score: float
    points: tuple[float, ...] = dataclasses.field(default=(), compare=False, repr=False)


def best_constant(metric: str, questions: Sequence[BaselineExample]) -> ConstantBaseline:
    """The best single answer to all questions of a task under the task's own metric.

    Judged on the evaluated examples themselves, so it is at least as good as one chosen on training data.
    Under ``accuracy``, ``exact_match`` and ``stated_answer`` it is exact: the most frequent correct answer.
    Where every example has options, always choosing the option at one position (the first, say) is a constant
    answer too, and the better of both counts. Under Rouge-L up to ``CANDIDATES`` distinct references, the
    most frequent first, are compared on ``SEARCH_EXAMPLES`` examples; the winner is scored on all of them.
    Under ``question_accuracy``, where the options name what is asked about, only positions are compared.

    Args:
      metric: a manifest's metric name.
      questions: the evaluated examples, at least one.
    """
    if not questions:
        raise ValueError("a task without examples has no best answer")
    with_options = all(question.options for question in questions)
    if metric == "question_accuracy" and with_options:
        return _best_position(metric, questions)
    found = _rouge(metric, questions) if metric in answer_metrics.GRADED else _most_frequent(questions)
    if metric == "stated_answer":
        found = dataclasses.replace(found, answer=f"The answer is {found.answer}.")
    if with_options:
        found = max(found, _best_position(metric, questions), key=lambda constant: constant.score)
    return found


def _most_frequent(questions: Sequence[BaselineExample]) -> ConstantBaseline:
    counts: collections.Counter[str] = collections.Counter()
    for question in questions:
        counts.update(list(dict.fromkeys(map(answer_metrics.normalize, question.references))))
    answer, count = counts.most_common(1)[0]
    right = (answer in map(answer_metrics.normalize, question.references) for question in questions)
    points = tuple(100.0 * one for one in right)
    return ConstantBaseline(answer, 100.0 * count / len(questions), points)


def _best_position(metric: str, questions: Sequence[BaselineExample]) -> ConstantBaseline:
    positions = min(len(question.options) for question in questions)
    found = []
    for position in range(positions):
        points = tuple(
            answer_metrics.score(metric, one.options[position], one.references) for one in questions
        )
        answers = [(one.example_id, each) for one, each in zip(questions, points, strict=True)]
        mean = float(np.mean(answer_metrics.per_question(metric, answers)))
        found.append(ConstantBaseline(f"always option {position + 1}", mean, points))
    return max(found, key=lambda constant: constant.score)


def _rouge(metric: str, questions: Sequence[BaselineExample]) -> ConstantBaseline:
    # dict.fromkeys, not set: ties must fall alike in every process.
    counts = collections.Counter(
        text for question in questions for text in dict.fromkeys(question.references)
    )
    order = np.random.default_rng(0).permutation(len(questions))[:SEARCH_EXAMPLES]
    sample = [questions[index] for index in order]
    words = 1 + float(np.mean([len(text.split()) for one in sample for text in one.references]))
    references = sum(len(one.references) for one in sample)
    limit = max(8, min(CANDIDATES, int(SEARCH_CELLS / (references * words**2))))
    candidates = [text for text, _ in counts.most_common(limit)]

    def points(answer: str, over: Sequence[BaselineExample]) -> list[float]:
        return [answer_metrics.score(metric, answer, one.references) for one in over]

    answer = max(candidates, key=lambda text: float(np.mean(points(text, sample))))
    found = points(answer, questions)
    return ConstantBaseline(answer, float(np.mean(found)), tuple(found))
