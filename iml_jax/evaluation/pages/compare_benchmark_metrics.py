"""Compared evaluations under the metrics that tasks' own benchmarks report; they enter no mean."""

from __future__ import annotations

import collections
import dataclasses
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from iml_jax.evaluation.intervals import CONFIDENCE
from iml_jax.evaluation.metrics import benchmark_metrics
from iml_jax.evaluation.pages.compare import Comparison, SharedExample

SAMPLES = 200
MOST = 2000  # answers of a task; resampling more of them takes too long for a page
# BLEU is slow; the other is over questions, which their prompts identify and so cannot be sampled twice.
NOT_SAMPLED = ("bleu", "question_em")


@dataclasses.dataclass(frozen=True)
class MetricDifference:
    """Points more than the first evaluation has; the ends of the 95% interval, None without samples."""

    value: float
    interval: tuple[float, float] | None

    @property
    def clear(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclasses.dataclass(frozen=True)
class BenchmarkMetricLine:
    """One task under one of its benchmark's metrics.

    Attributes:
      answers: shared ones.
      scores: points of each evaluation over these.
      intervals: of every evaluation but the first, the middle 95% of its difference to the first over
        bootstrap samples of the examples (all templates of an example together); None without them.
    """

    task: str
    metric: str
    answers: int
    scores: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]

    @property
    def differences(self) -> tuple[MetricDifference, ...]:
        """Of every evaluation but the first, to the first."""
        return tuple(
            MetricDifference(score - self.scores[0], ends)
            for score, ends in zip(self.scores[1:], self.intervals, strict=True)
        )


def lines(found: Comparison) -> Iterator[BenchmarkMetricLine]:
    """In the order of the comparison's tasks, each with its metrics."""
    tasks = {task.name: task for task in found.sources[0].results.tasks}
    for line in found.lines:
        if line.kind != "task":
            continue
        task, shared = tasks[line.name], found.shared[line.name]
        names = benchmark_metrics.names(task.benchmark, task.task)
        if not names:
            continue
        scores = _scores(task.benchmark, task.task, shared)
        samples = _bootstrap(task.benchmark, task.task, shared) if len(shared) <= MOST else {}
        for name in names:
            values = tuple(one[name] for one in scores)
            intervals = tuple(
                None
                if name in NOT_SAMPLED or not samples
                else _middle(samples[name][:, model] - samples[name][:, 0])
                for model in range(1, len(values))
            )
            yield BenchmarkMetricLine(task.name, name, len(shared), values, intervals)


def _scores(benchmark: str, task: str, shared: Sequence[SharedExample]) -> list[dict[str, float]]:
    """Each evaluation's points by metric."""
    return [
        benchmark_metrics.compute(benchmark, task, answers)
        for answers in zip(*(one.answers for one in shared), strict=True)
    ]


def _bootstrap(benchmark: str, task: str, shared: Sequence[SharedExample]) -> dict[str, np.ndarray]:
    """Metric -> [SAMPLES, evaluations], each sample of the same examples for all evaluations."""
    names = set(benchmark_metrics.names(benchmark, task)) - set(NOT_SAMPLED)
    if not names:
        return {}
    by_example: dict[str, list[SharedExample]] = collections.defaultdict(list)
    for one in shared:
        by_example[one.answers[0].example_id].append(one)
    examples = list(by_example.values())
    random = np.random.default_rng(zlib.crc32(shared[0].answers[0].task.encode()))
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(SAMPLES):
        chosen = random.integers(len(examples), size=len(examples))
        scores = _scores(benchmark, task, [one for index in chosen for one in examples[index]])
        for name in names:
            found[name].append([one[name] for one in scores])
    return {name: np.asarray(values) for name, values in found.items()}


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
