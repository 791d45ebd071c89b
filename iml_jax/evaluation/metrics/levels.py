"""Sub-tasks -> task -> category -> level: unweighted means, each number of shots by itself (OPT-IML 4.1).

A task's score is the mean over its templates. Then ``grouping`` says which tasks are parts of one (MMLU's
subjects), and which are one dataset in several benchmarks: parts are averaged, then benchmarks. A cell is the
mean of a category's tasks in one level under one kind of prompt (0-shot, 5-shot...); a column's average is
the mean over its cells, and a level's score and the selection score are means over columns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from iml_jax.data.terms import LEVELS
from iml_jax.evaluation.metrics import grouping
from iml_jax.evaluation.results import Results, TaskScore, TemplateScore
from iml_jax.foundation.errors import UserError

TITLES = {
    "fully_held_out": "Fully held out",
    "partially_supervised": "Partially supervised",
    "fully_supervised": "Fully supervised",
}
MEANINGS = {
    "fully_held_out": "no task of the category was trained on",
    "partially_supervised": "the category was trained on, these tasks were not",
    "fully_supervised": "the tasks were trained on, these examples were not",
}
# OPT-IML counts summaries 0-shot only (tables 4 and 7): demonstrations and an article seldom fit the context.
ZERO_SHOT_ONLY = frozenset({"Summarization"})
Weights = Mapping[str, float]  # task name -> its part in a mean; they sum to 1


@dataclasses.dataclass(frozen=True)
class Scores:
    """Mean points 0..100: the model's, the best constant answer's, the reference model's if there is one."""

    model: float
    constant: float
    reference: float | None


@dataclasses.dataclass(frozen=True)
class Average:
    """A mean of task scores.

    Attributes:
      scores: the means.
      weights: each task's part in them.
      counted: it enters the averages above it; few-shot summaries do not.
    """

    scores: Scores
    weights: Weights
    counted: bool = True


@dataclasses.dataclass(frozen=True)
class CategoryScore:
    """One category within one level, or one benchmark.

    Attributes:
      scores: the mean over the columns that count.
      tasks: in the order given.
      columns: by variant (``zero_shot``, ``five_shot``...), fewest shots first.
      weights: each task's part in ``scores``.
    """

    name: str
    scores: Scores
    tasks: tuple[TaskScore, ...]
    columns: Mapping[str, Average] = dataclasses.field(default_factory=dict)
    weights: Weights = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LevelScore:
    """One level, its categories sorted by name.

    Attributes:
      columns: by variant, the mean over the categories that have it.
      scores: the mean over ``columns``.
      weights: each task's part in ``scores``.
    """

    name: str
    scores: Scores
    categories: tuple[CategoryScore, ...]
    columns: Mapping[str, Average] = dataclasses.field(default_factory=dict)
    weights: Weights = dataclasses.field(default_factory=dict)


def template_mean(templates: Mapping[str, TemplateScore]) -> float:
    """A task's score: every template counts the same, however many examples it renders.

    Raises:
      ValueError: there is none.
    """
    return _mean([template.score for template in templates.values()])


@dataclasses.dataclass(frozen=True)
class TemplateSpread:
    """How a task's score varies with the prompt: least, most and standard deviation (population), points."""

    least: float
    most: float
    deviation: float


def template_spread(templates: Mapping[str, TemplateScore]) -> TemplateSpread | None:
    """The spread of a task's score over its templates; None where there is one only."""
    scores = [template.score for template in templates.values()]
    if len(scores) < 2:
        return None
    mean = _mean(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return TemplateSpread(min(scores), max(scores), deviation)


def aggregate(
    tasks: Sequence[TaskScore], reference: Mapping[str, float] | None = None
) -> tuple[LevelScore, ...]:
    """The levels that have tasks, hardest first.

    A category with tasks in two levels (some trained on, some not) counts in each separately. A
    level that has nothing but few-shot summaries counts these.

    Args:
      tasks: scored tasks, each name once.
      reference: another model's score by task name, for every one of them.

    Raises:
      ValueError: a level is unknown.
      KeyError: the reference lacks a task.
    """
    grouped: dict[str, dict[str, list[TaskScore]]] = {level: {} for level in LEVELS}
    for task in tasks:
        if task.level not in grouped:
            raise ValueError(f"task {task.name} has the unknown level {task.level!r}")
        grouped[task.level].setdefault(group_of(task).category, []).append(task)
    by_name = {task.name: task_scores(task, reference) for task in tasks}
    levels = []
    for level, by_category in grouped.items():
        categories = [_category(name, members, by_name) for name, members in sorted(by_category.items())]
        if categories:
            columns, whole = _over(categories, by_name)
            levels.append(LevelScore(level, whole.scores, tuple(categories), columns, whole.weights))
    return tuple(levels)


def total(
    levels: Sequence[LevelScore], reference: Mapping[str, float] | None = None
) -> tuple[dict[str, Average], Average]:
    """The averages over all levels' categories: of each column, and of the columns.

    The first are the "average" columns of OPT-IML's tables (tables 4, 7: 12 categories 0-shot, the 10
    without summaries 5-shot), the second is its selection score.

    Raises:
      ValueError: there is no level.
    """
    categories = [category for level in levels for category in level.categories]
    by_name = {task.name: task_scores(task, reference) for one in categories for task in one.tasks}
    return _over(categories, by_name)


def selection_score(tasks: Sequence[TaskScore]) -> float:
    """Points 0..100 by which OPT-IML chooses models (section 4.1): mean over categories, then over shots.

    Raises:
      ValueError: there is no task.
    """
    return total(aggregate(tasks))[1].scores.model


def by_benchmark(
    tasks: Sequence[TaskScore], reference: Mapping[str, float] | None = None
) -> tuple[CategoryScore, ...]:
    """Every benchmark's mean over its tasks (sub-tasks as one), as OPT-IML's tables 9 to 13; sorted by name.

    Raises:
      KeyError: the reference lacks a task.
    """
    by_name = {task.name: task_scores(task, reference) for task in tasks}
    found: dict[str, list[TaskScore]] = {}
    for task in tasks:
        found.setdefault(task.benchmark, []).append(task)
    return tuple(_category(name, members, by_name) for name, members in sorted(found.items()))


def group_of(task: TaskScore) -> grouping.TaskGroup:
    """Its unit, category and variant."""
    return grouping.group_of(task.name, task.benchmark, task.task, task.category)


def _category(name: str, tasks: Sequence[TaskScore], by_name: Mapping[str, Scores]) -> CategoryScore:
    """Averages some tasks, each variant by itself."""
    grouped: dict[tuple[str, bool], list[TaskScore]] = {}
    for task in tasks:
        group = group_of(task)
        counted = group.category not in ZERO_SHOT_ONLY or group.shots == 0
        grouped.setdefault((group.variant, counted), []).append(task)
    columns: dict[str, Average] = {}
    for variant, counted in sorted(grouped, key=lambda key: (grouping.variant_order(key[0]), key[1])):
        # A benchmark may have summaries beside other tasks: these, sorted last, replace the summaries.
        columns[variant] = _average(_tasks_weights(grouped[variant, counted]), by_name, counted)
    counted_columns = [one for one in columns.values() if one.counted] or columns.values()
    whole = _average(_mean_weights(one.weights for one in counted_columns), by_name)
    return CategoryScore(name, whole.scores, tuple(tasks), columns, whole.weights)


def _over(
    categories: Sequence[CategoryScore], by_name: Mapping[str, Scores]
) -> tuple[dict[str, Average], Average]:
    """Each column's mean over the categories that have it, and the mean of these."""
    cells = [(variant, cell) for category in categories for variant, cell in category.columns.items()]
    grouped: dict[str, list[Weights]] = {}
    for variant, cell in [pair for pair in cells if pair[1].counted] or cells:
        grouped.setdefault(variant, []).append(cell.weights)
    order = sorted(grouped, key=grouping.variant_order)
    columns = {variant: _average(_mean_weights(grouped[variant]), by_name) for variant in order}
    return columns, _average(_mean_weights(one.weights for one in columns.values()), by_name)


def _tasks_weights(tasks: Sequence[TaskScore]) -> Weights:
    """Parts of a task alike, then a dataset's benchmarks alike, then the datasets alike."""
    units: dict[str, dict[str, list[Weights]]] = {}
    for task in tasks:
        benchmarks = units.setdefault(group_of(task).unit, {})
        benchmarks.setdefault(task.benchmark, []).append({task.name: 1.0})
    return _mean_weights(_mean_weights(map(_mean_weights, unit.values())) for unit in units.values())


def _mean_weights(parts: Iterable[Weights]) -> Weights:
    found = list(parts)
    if not found:
        raise ValueError("mean of nothing")
    weights: dict[str, float] = {}
    for part in found:
        for name, weight in part.items():
            weights[name] = weights.get(name, 0.0) + weight / len(found)
    return weights


def _average(weights: Weights, by_name: Mapping[str, Scores], counted: bool = True) -> Average:
    def mean(member: str) -> float:
        return math.fsum(weight * getattr(by_name[name], member) for name, weight in weights.items())

    reference = all(by_name[name].reference is not None for name in weights)
    scores = Scores(mean("model"), mean("constant"), mean("reference") if reference else None)
    return Average(scores, weights, counted)


def task_scores(task: TaskScore, reference: Mapping[str, float] | None) -> Scores:
    """One task's triple."""
    return Scores(task.score, task.constant_score, None if reference is None else reference[task.name])


def reference_scores(results: Results, reference: Results) -> dict[str, float]:
    """Another model's score by task, checked to be over the same examples.

    Raises:
      UserError: the reference was made on other prepared data, tasks, splits or numbers of examples.
    """
    check_measurement(results.metadata, reference)
    found = {task.name: task for task in reference.tasks}
    for task in results.tasks:
        other = found.get(task.name)
        if other is None or (other.split, other.examples) != (task.split, task.examples):
            raise _other_examples(task.name, task.split, task.examples, other)
    return {task.name: found[task.name].score for task in results.tasks}


def check_reference(
    known: Mapping[str, object], asked: Mapping[str, tuple[str, int]], reference: Results
) -> None:
    """The checks of ``reference_scores`` that are possible before a question is answered.

    Args:
      known: the metadata that the results will have, ``provenance.of_measurement`` at least.
      asked: task name -> its split and the number of its questions.

    Raises:
      UserError: the reference was made on other prepared data, tasks, splits or numbers of examples.
    """
    check_measurement(known, reference)
    found = {task.name: task for task in reference.tasks}
    for name, (split, count) in asked.items():
        other = found.get(name)
        if other is None or (other.split, other.examples + sum(other.dropped.values())) != (split, count):
            raise _other_examples(name, split, count, other)


def check_measurement(known: Mapping[str, object], reference: Results) -> None:
    """Checks that another evaluation was made on the same prepared data with the same settings.

    Raises:
      UserError: it was not; names the first setting that differs.
    """
    for key in ("manifest_fingerprint", "examples_per_task", "max_new_tokens", "prefix", "option_scoring"):
        ours, theirs = known.get(key), reference.metadata.get(key)
        if ours != theirs:
            raise UserError(
                f"the reference results have {key} {theirs}, these {ours}: evaluate both models on the same "
                "prepared data with the same settings"
            )


def _other_examples(name: str, split: str, examples: int, other: TaskScore | None) -> UserError:
    has = "lack it" if other is None else f"have {other.examples} of split {other.split}"
    return UserError(
        f"task {name}: {examples} examples of split {split} are evaluated, but the reference results {has}; "
        "evaluate both models with the same settings"
    )


def level_metrics(tasks: Sequence[TaskScore]) -> dict[str, float]:
    """Flat numbers for metrics.jsonl and TensorBoard.

    Each level's score and its best constant answer's; each of its columns, where it has several; the
    selection score as ``selection``.
    """
    values = {}
    found = aggregate(tasks)
    for level in found:
        values[level.name] = level.scores.model
        values[f"{level.name}_constant"] = level.scores.constant
        if len(level.columns) > 1:
            for variant, column in level.columns.items():
                values[f"{level.name}_{variant}"] = column.scores.model
    values["selection"] = total(found)[1].scores.model
    return values


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("mean of nothing")
    return sum(values) / len(values)
