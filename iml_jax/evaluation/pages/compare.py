"""Compares evaluations example by example, with the means of OPT-IML (section 4.1)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from iml_jax.evaluation.metrics import confidence, grouping, levels, paired
from iml_jax.evaluation.metrics.paired import Difference, PairedExample
from iml_jax.evaluation.results import Prediction, Results, TaskScore, TemplateScore
from iml_jax.foundation.errors import UserError

# Metadata that may differ between evaluations of the same measurement; any other difference is a warning.
HARMLESS = {
    "weights",
    *("checkpoint", "step", "seconds", "model", "mesh", "device", "batch_size", "versions", "tasks"),
    *("examples_per_task", "skipped_tasks", "reference", "resumed", "suite"),
    "config",  # of the training run: shown as ``config_changes``
}
_MODELS = "settings.Model."  # what is compared, not how
Key = tuple[str, str, str, int]  # task, example_id, template, how often these three were seen before


@dataclasses.dataclass(frozen=True)
class ComparedEvaluation:
    """One evaluation: its letter on the page, a name for people, its file, and what it found."""

    letter: str
    name: str
    path: str
    results: Results


@dataclasses.dataclass(frozen=True)
class SharedExample:
    """One example that all evaluations answered: each one's prediction, in their order."""

    answers: tuple[Prediction, ...]

    @property
    def differs(self) -> bool:
        """Whether an answer or its points are not those of the first evaluation."""
        first = self.answers[0]
        return any((one.prediction, one.score) != (first.prediction, first.score) for one in self.answers)


@dataclasses.dataclass(frozen=True)
class ComparisonLine:
    """A level's, category's or task's row.

    Attributes:
      kind: ``level``, ``column`` (the level's tasks with one number of shots), ``category`` or ``task``.
      name: the level's key, else a title or the task's name; metric: of a task, else empty.
      examples: shared ones below it.
      scores: mean points 0..100, one per evaluation, over the shared examples.
      differences: of every evaluation but the first, to the first.
    """

    kind: str
    name: str
    metric: str
    examples: int
    scores: tuple[float, ...]
    differences: tuple[Difference, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of ``compare``.

    Attributes:
      lines: levels (hardest first), each followed by its columns where it has several, and by its
        categories, each followed by its tasks.
      shared: the common examples by task, in the first evaluation's order.
      groups: (level, category) by task, as the lines group them.
      warnings: why numbers may not be comparable, most serious first.
      notes: what was left out, harmlessly.
    """

    sources: tuple[ComparedEvaluation, ...]
    lines: tuple[ComparisonLine, ...]
    shared: Mapping[str, tuple[SharedExample, ...]]
    groups: Mapping[str, tuple[str, str]]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    sources: Sequence[ComparedEvaluation], stage: Callable[[str], None] = lambda text: None
) -> Comparison:
    """Matches predictions by task, example and template, and averages over what all have.

    Args:
      sources: two or more, loaded with their predictions; the first is what the others are compared with.
      stage: receives the name of each stage.

    Raises:
      UserError: they share no example.
    """
    stage(f"comparing {sum(len(source.results.predictions) for source in sources):,} answers")
    tables = [_by_key(source.results.predictions) for source in sources]
    tasks = [{task.name: task for task in source.results.tasks} for source in sources]
    other_metric = _other_metric(tasks)
    shared, changed = _match(tables, tasks, other_metric)
    if not shared:
        raise UserError(
            f"{' and '.join(source.path for source in sources)} share no example "
            "(task, example_id, template): evaluate the models on the same prepared data"
        )
    total = sum(map(len, shared.values()))
    warnings = [*_settings(sources), *_levels(sources, tasks, shared)]
    if other_metric:
        warnings.append(f"left out, since their metric differs: {_some(sorted(other_metric))}")
    if changed["references"]:
        warnings.append(f"left out, since their references differ: {changed['references']:,} examples")
    if changed["prompt"]:
        warnings.append(f"{changed['prompt']:,} of the {total:,} shared examples have another prompt")
    notes = []
    for source, table in zip(sources, tables, strict=True):
        if len(table) > total:
            alone = sorted({key[0] for key in table} - shared.keys())
            of_tasks = f"; tasks not compared: {_some(alone)}" if alone else ""
            notes.append(f"{source.letter} has {len(table) - total:,} further examples{of_tasks}")
    stage("intervals of the differences")
    lines = tuple(_lines(shared, tasks[0]))
    return Comparison(tuple(sources), lines, shared, _groups(lines), tuple(warnings), tuple(notes))


def _groups(lines: Sequence[ComparisonLine]) -> dict[str, tuple[str, str]]:
    found, level, category = {}, "", ""
    for line in lines:
        if line.kind == "level":
            level = line.name
        elif line.kind == "category":
            category = line.name
        elif line.kind == "task":
            found[line.name] = (level, category)
    return found


def flat_facts(metadata: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested metadata as ``a.b`` -> text; "–" for an empty value."""
    found: dict[str, str] = {}
    for key, value in metadata.items():
        if isinstance(value, Mapping) and value:
            found.update(flat_facts(value, f"{before}{key}."))
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found[f"{before}{key}"] = "–" if value in (None, "", [], {}) else text
    return found


def _by_key(predictions: Sequence[Prediction]) -> dict[Key, Prediction]:
    seen: Counter[tuple[str, str, str]] = Counter()
    found = {}
    for one in predictions:
        name = (one.task, one.example_id, one.template)
        found[*name, seen[name]] = one
        seen[name] += 1
    return found


def _other_metric(tasks: Sequence[Mapping[str, TaskScore]]) -> set[str]:
    first, *rest = tasks
    return {
        name
        for name, task in first.items()
        for other in rest
        if name in other and other[name].metric != task.metric
    }


def _match(
    tables: Sequence[Mapping[Key, Prediction]],
    tasks: Sequence[Mapping[str, TaskScore]],
    without: set[str],
) -> tuple[dict[str, tuple[SharedExample, ...]], Counter[str]]:
    """The shared examples by task, and what had changed how often."""
    shared: dict[str, list[SharedExample]] = {}
    changed: Counter[str] = Counter()
    for key, prediction in tables[0].items():
        if key[0] in without or not all(key[0] in known for known in tasks):
            continue
        answers = [table.get(key) for table in tables[1:]]
        if not all(answers):
            continue
        both = SharedExample((prediction, *(one for one in answers if one is not None)))
        if any(set(one.references) != set(prediction.references) for one in both.answers):
            changed["references"] += 1
            continue
        changed["prompt"] += any(one.prompt != prediction.prompt for one in both.answers)
        shared.setdefault(key[0], []).append(both)
    return {name: tuple(found) for name, found in shared.items()}, changed


def _settings(sources: Sequence[ComparedEvaluation]) -> Iterator[str]:
    """Settings of the measurement that are not the same everywhere."""
    facts = [flat_facts(source.results.metadata) for source in sources]
    for key in dict.fromkeys(key for table in facts for key in table):
        values = [table.get(key, "not recorded") for table in facts]
        harmless = key.partition(".")[0] in HARMLESS or key.startswith(_MODELS)
        if not harmless and len(set(values)) > 1:
            said = "; ".join(f"{s.letter}: {_short(v)}" for s, v in zip(sources, values, strict=True))
            yield f"{key.replace('_', ' ')} differs ({said})"


def config_changes(sources: Sequence[ComparedEvaluation]) -> dict[str, tuple[str, ...]]:
    """Parameters of the training runs' ``config.gin`` that are not the same in all -> the value of each.

    A run's parameter is a line ``NAME = VALUE``; "–" where a run has none.
    """
    tables = []
    for source in sources:
        lines = str(source.results.metadata.get("config", "")).split("\n")
        pairs = (line.partition(" = ") for line in lines)
        tables.append({name.strip(): value for name, equals, value in pairs if equals})
    names = dict.fromkeys(name for one in tables for name in one)
    found = {name: tuple(one.get(name, "–") for one in tables) for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _levels(
    sources: Sequence[ComparedEvaluation],
    tasks: Sequence[Mapping[str, TaskScore]],
    shared: Mapping[str, object],
) -> Iterator[str]:
    for source, known in zip(sources[1:], tasks[1:], strict=True):
        moved = [n for n in shared if known[n].level != tasks[0][n].level]
        if moved:
            yield (
                f"{len(moved)} tasks lie on another level in {source.letter}, whose model was trained on "
                f"other tasks; they are shown on the level that they have in {sources[0].letter}: "
                f"{_some(moved)}"
            )


def _lines(
    shared: Mapping[str, Sequence[SharedExample]], tasks: Mapping[str, TaskScore]
) -> Iterator[ComparisonLine]:
    """Levels, their columns where there are several, categories and tasks, averaged as ``levels`` does."""
    models = range(len(next(iter(shared.values()))[0].answers))
    rows = {name: _rows(found, tasks[name].metric) for name, found in shared.items()}
    pairs = [paired.paired_differences(rows, model) for model in models[1:]]
    by_model = [
        levels.aggregate([_rescored(tasks[name], found, model) for name, found in rows.items()])
        for model in models
    ]

    def line(kind: str, name: str, scores: Sequence[float], weights: Mapping[str, float]) -> ComparisonLine:
        of_task = kind == "task"
        differences = tuple(
            pair.difference(score - scores[0], weights, of_task=of_task)
            for pair, score in zip(pairs, scores[1:], strict=True)
        )
        metric = tasks[name].metric if of_task else ""
        examples = sum(len(shared[task]) for task in weights)
        return ComparisonLine(kind, name, metric, examples, tuple(scores), differences)

    for level in zip(*by_model, strict=True):
        yield line("level", level[0].name, [one.scores.model for one in level], level[0].weights)
        if len(level[0].columns) > 1:
            for variant, column in level[0].columns.items():
                scores = [one.columns[variant].scores.model for one in level]
                yield line("column", grouping.variant_title(variant), scores, column.weights)
        for category in zip(*(one.categories for one in level), strict=True):
            scores = [one.scores.model for one in category]
            yield line("category", category[0].name, scores, category[0].weights)
            for task in zip(*(one.tasks for one in category), strict=True):
                yield line("task", task[0].name, [one.score for one in task], {task[0].name: 1.0})


def _rows(shared: Sequence[SharedExample], metric: str) -> list[PairedExample]:
    """What each example adds to the task's mean; under some metrics several answers are one example."""
    by_model = [
        confidence.per_question(metric, [(one.example_id, one.template, one.score) for one in answers])
        for answers in zip(*(one.answers for one in shared), strict=True)
    ]
    return [
        PairedExample(name, template, tuple(points for *_, points in rows))
        for rows in zip(*by_model, strict=True)
        for name, template, _ in rows[:1]
    ]


def _rescored(task: TaskScore, rows: Sequence[PairedExample], model: int) -> TaskScore:
    points: dict[str, list[float]] = {}
    for row in rows:
        points.setdefault(row.template, []).append(row.points[model])
    templates = {name: TemplateScore(sum(found) / len(found), len(found)) for name, found in points.items()}
    score = levels.template_mean(templates)
    return dataclasses.replace(task, score=score, templates=templates, examples=len(rows))


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _short(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
