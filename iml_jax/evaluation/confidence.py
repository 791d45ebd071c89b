"""How sure a mean is: 95% bootstrap intervals over examples, for tasks, categories and levels.

The tasks are taken as given: an interval says how far the score would move with other examples of the same
tasks, not with other tasks. Within a task the examples are drawn with replacement, each with the prompts of
all its templates, since these share what makes an example hard; tasks are drawn independently.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from iml_jax.evaluation import metrics
from iml_jax.evaluation.results import Prediction

RESAMPLES = 1000
CONFIDENCE = 0.95
_Row = tuple[str, str, float]  # example_id, template, points


@dataclasses.dataclass(frozen=True, eq=False)
class Resampled:
    """Scores of every task on resampled examples.

    Attributes:
      scores: task name -> [RESAMPLES], points.
    """

    scores: Mapping[str, np.ndarray]

    def interval(self, weights: Mapping[str, float]) -> tuple[float, float] | None:
        """The middle 95% of a weighted mean of task scores; None where a task has no predictions.

        Args:
          weights: task name -> its part, as ``levels.Average.weights``.
        """
        if not weights or not weights.keys() <= self.scores.keys():
            return None
        mean = np.zeros(())
        for name, weight in weights.items():
            mean = mean + weight * self.scores[name]
        low, high = np.quantile(mean, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)


def resample(
    predictions: Iterable[Prediction],
    metrics_of: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Draws the examples of every task anew, ``resamples`` times.

    The draws are seeded by the task's name: the same predictions give the same intervals.

    Args:
      predictions: of any number of tasks, with their points.
      metrics_of: task name -> its metric; under ``question_accuracy`` questions are drawn, not answers
        (``metrics.per_question``).
      resamples: how often.
    """
    by_task: dict[str, list[Prediction]] = {}
    for one in predictions:
        by_task.setdefault(one.task, []).append(one)
    scores = {}
    for name, members in by_task.items():
        rows = [(one.example_id, one.template, one.score) for one in members]
        if (metrics_of or {}).get(name) == "question_accuracy":
            rows = _questions(rows)
        scores[name] = _scores(name, rows, resamples)
    return Resampled(scores)


def _questions(rows: Sequence[_Row]) -> list[_Row]:
    """A row for every question and template, with the least of its answers' points."""
    answers: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for identity, template, points in rows:
        question = identity.rpartition("/")[0] or identity
        answers.setdefault((question, template), []).append((identity, points))
    return [
        (question, template, min(metrics.per_question("question_accuracy", members)))
        for (question, template), members in answers.items()
    ]


def _scores(name: str, rows: Sequence[_Row], resamples: int) -> np.ndarray:
    """[resamples]: the mean over templates of each template's mean points."""
    identities = {identity: n for n, identity in enumerate(dict.fromkeys(one for one, _, _ in rows))}
    templates = {template: n for n, template in enumerate(dict.fromkeys(one for _, one, _ in rows))}
    at = ([identities[one] for one, _, _ in rows], [templates[one] for _, one, _ in rows])
    points, prompts = np.zeros((2, len(identities), len(templates)))  # what each example adds, by template
    np.add.at(points, at, [one for _, _, one in rows])
    np.add.at(prompts, at, 1.0)
    # Examples that add the same are drawn as one kind: under accuracy there are two of them, not thousands.
    kinds, counts = np.unique(np.hstack([points, prompts]), axis=0, return_counts=True)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    points, prompts = np.hsplit(_sums(random, kinds, counts, resamples), 2)
    # A template that a draw misses altogether does not count in it.
    means = np.divide(points, prompts, out=np.zeros_like(points), where=prompts > 0)
    return means.sum(axis=1) / (prompts > 0).sum(axis=1)


def _sums(random: np.random.Generator, kinds: np.ndarray, counts: np.ndarray, resamples: int) -> np.ndarray:
    """Sums over as many examples as there are, drawn with replacement: [resamples, columns of kinds].

    Args:
      kinds: [kinds, columns], what one example of a kind adds.
      counts: [kinds], how many examples are of it.
    """
    total = int(counts.sum())
    if len(counts) * 8 < total:  # many examples of few kinds: how often each comes up is drawn at once
        return random.multinomial(total, counts / total, size=resamples) @ kinds
    kind_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    sums = np.empty((resamples, kinds.shape[1]))
    for number in range(resamples):  # one by one: the counts stay in the processor's cache
        drawn = kind_of[random.integers(total, size=total, dtype=np.int32)]
        sums[number] = np.bincount(drawn, minlength=len(counts)) @ kinds
    return sums
