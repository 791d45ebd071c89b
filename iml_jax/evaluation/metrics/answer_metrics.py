"""Metrics of single answers, in points 0..100; a task's score is the mean over its examples.

The same numbers as T5's own metrics (``t5.evaluation.metrics``), which SeqIO tasks carry, without TensorFlow.
With several references the best one counts, as in Super-NaturalInstructions' own scorer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from iml_jax.data.answer_extraction import stated_answer

if TYPE_CHECKING:  # with NLTK, scikit-learn and pandas, nearly half of what training would import
    from rouge_score import rouge_scorer


def normalize(text: str) -> str:
    """The normalisation of exact match: removes surrounding white space, and joins runs of it.

    Case, punctuation, articles and number formats all count: BBH-style answers such as ``(A)`` differ
    in nothing else, and T5's ``accuracy`` compares strings the same way.
    """
    return " ".join(text.split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """100 if the prediction equals any reference after ``normalize``, else 0.

    Raises:
      ValueError: there is no reference.
    """
    if not references:
        raise ValueError("an answer needs at least one reference")
    return 100.0 * (normalize(prediction) in {normalize(reference) for reference in references})


def stated_match(prediction: str, references: Sequence[str]) -> float:
    """``exact_match`` of the answer that a rationale states (``data.stated``); 0 where it states none.

    Raises:
      ValueError: there is no reference.
    """
    answer = stated_answer(prediction)
    return exact_match(answer, references) if answer or not references else 0.0


@functools.cache
def _rouge_scorer(stems: bool) -> rouge_scorer.RougeScorer:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(rouge_types=["rougeL"], use_stemmer=stems)


def _rouge_l(prediction: str, references: Sequence[str], stems: bool) -> float:
    if not references:
        raise ValueError("an answer needs at least one reference")
    scorer = _rouge_scorer(stems)
    return 100.0 * max(
        scorer.score(target=reference, prediction=prediction)["rougeL"].fmeasure for reference in references
    )


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Rouge-L F1 of the whole text, best over the references (OPT-IML paper, section 2.2, 1.6).

    This is ``rougeL``, the longest common subsequence over the whole answer, which the paper reports;
    ``rougeLsum``, T5's default for summaries, takes it line by line and differs only where an answer has
    several lines (or ``" . "``, which T5 takes for a line's end). No stemming, as in T5. Tokens are runs of
    ``[a-z0-9]`` after lower-casing: an answer with none scores 0.

    Raises:
      ValueError: there is no reference.
    """
    return _rouge_l(prediction, references, stems=False)


def rouge_l_stemmed(prediction: str, references: Sequence[str]) -> float:
    """``rouge_l`` of Porter's stems, as Super-NaturalInstructions' own scorer computes it.

    (allenai/natural-instructions, eval/automatic/evaluation.py: ``rougeL`` with ``use_stemmer=True``.)

    Raises:
      ValueError: there is no reference.
    """
    return _rouge_l(prediction, references, stems=True)


# ``accuracy`` judges the text chosen or written; how options are chosen is scoring.py's business.
METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "accuracy": exact_match,
    "exact_match": exact_match,
    "rouge_l": rouge_l,
    "rouge_l_stemmed": rouge_l_stemmed,
    "question_accuracy": exact_match,
    "stated_answer": stated_match,
}


# Metrics under which an answer may be partly right.
GRADED = ("rouge_l", "rouge_l_stemmed")


def per_question(metric: str, answers: Sequence[tuple[str, float]]) -> list[float]:
    """The points that a task's mean is taken over, from (example_id, points) of every answer.

    Under ``question_accuracy`` answers whose ids differ only after the last "/" belong to one question, which
    counts as the least of them: all of its answers must be right. This is MultiRC's exact match, in T5
    ``mean_group_metric(all_match)``. Under every other metric each answer counts.
    """
    if metric != "question_accuracy":
        return [points for _, points in answers]
    least: dict[str, float] = {}
    for example_id, points in answers:
        question = example_id.rpartition("/")[0] or example_id
        least[question] = min(points, least.get(question, points))
    return list(least.values())


def score(metric: str, prediction: str, references: Sequence[str]) -> float:
    """Points 0..100 of one answer under a manifest's metric name.

    Args:
      metric: a key of ``METRICS``.
      prediction: the answer.
      references: one or more correct answers.

    Raises:
      KeyError: no such metric.
      ValueError: there is no reference.
    """
    return METRICS[metric](prediction, references)
