"""The table of averages: levels and their categories by shots, each with its interval; benchmarks alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import Interval, Spread
from iml_jax.evaluation.metrics import confidence, grouping, levels
from iml_jax.evaluation.metrics.levels import Average, LevelScore, Weights
from iml_jax.evaluation.results import Prediction, Results, TaskScore


@dataclasses.dataclass(frozen=True)
class AveragesCell:
    """One average.

    Attributes:
      value: points 0..100; constant: what the best constant answers reach.
      interval: its 95% interval, where the predictions are known.
      counted: it enters the averages above it.
    """

    value: float
    constant: float
    interval: Interval | None = None
    counted: bool = True

    @property
    def text(self) -> str:
        """``41.3 (38.0..44.7)``; in square brackets where it does not count."""
        text = f"{self.value:.1f}"
        if self.interval:
            text += f" ({self.interval.low:.1f}..{self.interval.high:.1f})"
        return text if self.counted else f"[{text}]"


@dataclasses.dataclass(frozen=True)
class AveragesRow:
    """One line: ``kind`` is level, category, total or benchmark; cells by variant, ``score`` over them."""

    kind: str
    label: str
    cells: Mapping[str, AveragesCell]
    score: AveragesCell


@dataclasses.dataclass(frozen=True)
class AveragesTable:
    """Rows in reading order; ``variants`` are the columns, fewest shots first."""

    variants: tuple[str, ...]
    rows: tuple[AveragesRow, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """The columns' titles, ``0-shot`` and so on."""
        return tuple(map(grouping.variant_title, self.variants))


def of_results(results: Results) -> AveragesTable:
    """``table`` of an evaluation; spreads that are known are not computed again."""
    return table(results.tasks, results.predictions, results.spreads or None)


def table(
    tasks: Sequence[TaskScore],
    predictions: Sequence[Prediction] = (),
    spreads: Mapping[str, Spread] | None = None,
) -> AveragesTable:
    """Every level with its categories, the total (``selection score``), then every benchmark.

    The total's cells are the averages of OPT-IML's tables 4 and 7, its score the selection score (section
    4.1). Benchmarks stand below where there are several, with the means of tables 9 to 13.

    Args:
      tasks: scored tasks, at least one.
      predictions: theirs, for the intervals; without them there are none.
      spreads: of the tasks, if they are known already.

    Raises:
      ValueError: there is no task.
    """
    known = spreads or confidence.spreads(predictions, {task.name: task.metric for task in tasks})

    def cell(average: Average) -> AveragesCell:
        scores = average.scores
        interval = intervals.interval(known, average.weights)
        return AveragesCell(scores.model, scores.constant, interval, average.counted)

    def row(kind: str, label: str, columns: Mapping[str, Average], whole: Average) -> AveragesRow:
        return AveragesRow(kind, label, {name: cell(one) for name, one in columns.items()}, cell(whole))

    found: tuple[LevelScore, ...] = levels.aggregate(tasks)
    rows: list[AveragesRow] = []
    for level in found:
        rows.append(row("level", levels.TITLES[level.name], level.columns, _whole(level)))
        rows += [row("category", one.name, one.columns, _whole(one)) for one in level.categories]
    columns, whole = levels.total(found)
    rows.append(row("total", "Selection score", columns, whole))
    benchmarks = levels.by_benchmark(tasks)
    if len(benchmarks) > 1:
        rows += [row("benchmark", one.name, one.columns, _whole(one)) for one in benchmarks]
    variants = {name for one in rows for name in one.cells}
    return AveragesTable(tuple(sorted(variants, key=grouping.variant_order)), tuple(rows))


def _whole(score: levels.LevelScore | levels.CategoryScore) -> Average:
    weights: Weights = score.weights
    return Average(score.scores, weights)
