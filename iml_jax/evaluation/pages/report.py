"""``report.html``: one evaluation as one HTML file that needs nothing else."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.data import positions
from iml_jax.evaluation import intervals
from iml_jax.evaluation.engine import exclusive
from iml_jax.evaluation.metrics import averages, cautions, levels, paired
from iml_jax.evaluation.metrics.levels import MEANINGS, TITLES, LevelScore
from iml_jax.evaluation.pages import narrative, plots, rendering
from iml_jax.evaluation.pages.narrative import Gains
from iml_jax.evaluation.pages.rendering import points
from iml_jax.evaluation.results import Prediction, Results, TaskScore
from iml_jax.storage.writing import write_atomically

STYLES = ("report.css",)
ANSWERS_PER_LEVEL = 8
PROMPT_CHARACTERS = 700
AVERAGES_NOTE = (
    f"In brackets 95% intervals over examples of the same tasks (estimators: {intervals.PLUS_FOUR} and "
    f"{intervals.AUGMENTED_T} for one task, {intervals.AUGMENTED_WELCH} for averages). Parts "
    "of a task (MMLU's subjects) count as one task, a dataset in several benchmarks once. Numbers of "
    "shots are averaged apart; the mean and the selection score are over them. [In square brackets]: "
    "not counted, since summaries count 0-shot only."
)
NOTHING_TO_DOUBT = (
    "Nothing: no task is at 0, at chance or at its constant answer, no position gives answers away, "
    "no prompt was shortened or left out, and all answers ended."
)
UNEVEN = (
    "Right answers stand at one position more often than a random order of the options would put them "
    f"(exact test, Holm-corrected over tasks, p < {positions.SIGNIFICANT}):"
)
REMARK_HEADS = ("task", "what was found", "score", "best constant answer", "chance")
UNEVEN_HEADS = ("task", "position", "right there", "points of always choosing it")
LOST_HEADS = ("task", "answered", "prompts shortened", "answers unfinished", "not asked")


@dataclasses.dataclass(frozen=True)
class Caution:
    """One kind of doubt: a sentence, and a table of the tasks concerned."""

    sentence: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(
    path: str | Path, results: Results, *, reference: Results | None = None, metrics_file: str | Path = ""
) -> Path:
    """Writes the report atomically.

    Args:
      path: the HTML file.
      results: what to report; a sample of its predictions is shown.
      reference: another model's evaluation of the same examples, such as that before training.
      metrics_file: the run's metrics.jsonl, for the loss curve; may be missing.

    Returns:
      ``path``.

    Raises:
      UserError: the reference is over other examples.
      Fault: the file cannot be written.
    """
    path = Path(path)
    with exclusive.held_page(path, patient=True):
        write_atomically(path, render(results, reference, Path(metrics_file) if metrics_file else None))
    return path


def reference_title(reference: Results | None) -> str:
    """What to call the reference model: by its updates, since step 0 may be random or pre-trained weights."""
    if reference is None:
        return "the reference model"
    step = reference.metadata.get("step")
    if step == 0:
        return "the model before training"
    return f"the model at step {step}" if step else "the reference model"


def render(results: Results, reference: Results | None = None, metrics_file: Path | None = None) -> str:
    """The report's HTML; everything that comes from data is escaped.

    Raises:
      UserError: the reference is over other examples.
    """
    by_task = levels.reference_scores(results, reference) if reference else None
    found = levels.aggregate(results.tasks, by_task)
    name = reference_title(reference)
    gains = gains_of(results, reference)
    table = averages.of_results(results)
    step = results.metadata.get("step")
    return rendering.render(
        "report.html.jinja",
        title="Evaluation" + (f" at step {step}" if step is not None else ""),
        styles=STYLES,
        titles=TITLES,
        meanings=MEANINGS,
        levels=found,
        reference_name=name,
        with_reference=by_task is not None,
        lead=_lead(results),
        conclusions=[
            (narrative.level_sentence(level, gains, name), narrative.verdict(level, gains, name))
            for level in found
        ],
        level_bars=plots.bars([(TITLES[level.name], level.scores) for level in found], name),
        category_bars=[
            (level, plots.bars([(one.name, one.scores) for one in level.categories], name)) for level in found
        ],
        averages=table,
        averages_heads=("", *table.titles, "mean", "best constant answer"),
        averages_note=AVERAGES_NOTE,
        cautions=list(_cautions(results.tasks)),
        nothing_to_doubt=NOTHING_TO_DOUBT,
        loss_curve=plots.loss_curve(metrics_file) if metrics_file else "",
        task_heads=(
            *("task", "metric", "examples", "score", "best constant answer"),
            *((name,) if by_task is not None else ()),
            "notes",
        ),
        task_scores=functools.partial(levels.task_scores, reference=by_task),
        task_notes=_task_notes,
        answer_samples=[(level, _sample(level, results.predictions)) for level in found],
        prompt_characters=PROMPT_CHARACTERS,
        provenance=list(_provenance(results.metadata, reference)),
    )


def gains_of(results: Results, reference: Results | None) -> Gains:
    """The examples' differences to the best constant answers, and to the reference if there is one."""
    constant = {task.name: task.gain for task in results.tasks if task.gain}
    return Gains(constant, paired.against(results, reference) if reference else {})


def _lead(results: Results) -> str:
    return (
        f"{len(results.tasks)} tasks, {sum(task.examples for task in results.tasks):,} examples. "
        "Points run from 0 to 100; each stage (templates, task, category, level) is an unweighted mean. "
        f"Selection score: {points(levels.selection_score(results.tasks))}."
    )


def _cautions(tasks: Sequence[TaskScore]) -> Iterator[Caution]:
    """Tasks that show no reading, right answers given away by their position, and what was lost."""
    if remarked := [task for task in tasks if task.remark]:
        yield Caution(
            f"{len(remarked)} of {len(tasks)} tasks score no more than an answer without reading:",
            REMARK_HEADS,
            tuple(
                (task.name, task.remark, points(task.score), points(task.constant_score), points(task.chance))
                for task in remarked
            ),
        )
    if uneven := cautions.uneven(tasks):
        rows = (
            (name, f"{one.best}", f"{one.right[one.best - 1]:,} of {one.rows:,}", points(one.score))
            for name, one in uneven.items()
        )
        yield Caution(UNEVEN, UNEVEN_HEADS, tuple(rows))
    if losses := cautions.losses(tasks):
        yield Caution(
            "Prompts that were not asked in full, or whose answers did not end:",
            LOST_HEADS,
            tuple((one.task, *lost_cells(one)) for one in losses),
        )


def lost_cells(one: cautions.Losses) -> tuple[str, ...]:
    """The cells under ``LOST_HEADS`` after the task's name."""

    def part(count: int) -> str:
        return f"{count:,} ({count / max(one.asked, 1):.0%})" if count else "0"

    reasons = [f"{count:,} ({reason.replace('_', ' ')})" for reason, count in one.dropped.items() if count]
    return f"{one.asked:,}", part(one.truncated), part(one.unfinished), ", ".join(reasons) or "0"


def _task_notes(task: TaskScore) -> str:
    notes = [task.remark] if task.remark else []
    if spread := levels.template_spread(task.templates):
        least, most, deviation = map(points, (spread.least, spread.most, spread.deviation))
        notes.append(f"{len(task.templates)} templates: {least} to {most}, standard deviation {deviation}")
    notes += [f"{name.replace('_', ' ')} {points(value)}" for name, value in task.others.items()]
    if task.truncated:
        notes.append(f"{task.truncated} prompts shortened")
    if task.unfinished:
        notes.append(f"{task.unfinished} answers cut off")
    notes += [f"{count} not asked ({reason.replace('_', ' ')})" for reason, count in task.dropped.items()]
    return ", ".join(notes)


def _sample(level: LevelScore, predictions: Sequence[Prediction]) -> list[Prediction]:
    """A random sample that does not depend on the scores, spread over the level's tasks."""
    by_task: dict[str, list[Prediction]] = {}
    names = {task.name for category in level.categories for task in category.tasks}
    for one in predictions:
        if one.task in names:
            by_task.setdefault(one.task, []).append(one)
    generator = random.Random(0)
    tasks = generator.sample(sorted(by_task), len(by_task))[:ANSWERS_PER_LEVEL]
    return [generator.choice(by_task[name]) for name in tasks]


def _provenance(metadata: Mapping[str, Any], reference: Results | None) -> Iterator[tuple[str, str]]:
    """(name, value) of what the results say of how they were made."""
    known = dict(metadata)
    if reference is not None:
        known["reference"] = {key: reference.metadata.get(key) for key in ("checkpoint", "step", "seconds")}
    for key, value in known.items():
        yield key.replace("_", " "), _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "–" if value in ("", None) else str(value)
