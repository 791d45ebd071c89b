"""``report.html``, one file that needs nothing else, and the same tables on a terminal."""

from __future__ import annotations

import html
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iml_jax.data import positions
from iml_jax.evaluation import intervals
from iml_jax.evaluation.engine import exclusive
from iml_jax.evaluation.metrics import averages, cautions, levels, paired
from iml_jax.evaluation.metrics.levels import TITLES, LevelScore, Scores
from iml_jax.evaluation.pages import plots, wording
from iml_jax.evaluation.pages.wording import Gains
from iml_jax.evaluation.results import Prediction, Results, TaskScore
from iml_jax.foundation.printing import printable
from iml_jax.storage.writing import write_atomically

CSS = Path(__file__).with_name("report.css")
ANSWERS_PER_LEVEL = 8
TERMINAL_ROWS = 10
PROMPT_CHARACTERS = 700


def write_report(
    path: str | Path, results: Results, *, reference: Results | None = None, metrics_file: str | Path = ""
) -> Path:
    """Writes the report, whole or not at all.

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
    gains = _gains(results, reference)
    loss = plots.loss_curve(metrics_file) if metrics_file else ""
    sections = [
        _summary(found, name, results, gains),
        _section(
            "The three levels", plots.bars([(TITLES[level.name], level.scores) for level in found], name)
        ),
        *(_categories(level, name) for level in found),
        _section("Averages", _averages(averages.of_results(results))),
        _section("What to doubt", _cautions(results.tasks)),
        _section("Training", loss) if loss else "",
        _section("Tasks", "".join(_task_table(level, name, by_task) for level in found)),
        _section("A sample of answers", "".join(_answers(level, results.predictions) for level in found)),
        _section("How this was measured", _facts(results.metadata, reference)),
    ]
    step = results.metadata.get("step")
    title = "Evaluation" + (f" at step {step}" if step is not None else "")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{CSS.read_text(encoding='utf-8')}</style></head>"
        f"<body><main><h1>{_text(title)}</h1>{''.join(sections)}</main></body></html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _gains(results: Results, reference: Results | None) -> Gains:
    constant = {task.name: task.gain for task in results.tasks if task.gain}
    return Gains(constant, paired.against(results, reference) if reference else {})


def _summary(found: Sequence[LevelScore], name: str, results: Results, gains: Gains) -> str:
    cards = []
    for level in found:
        scores = level.scores
        beside = f"best constant answer {_number(scores.constant)}"
        if scores.reference is not None:
            beside += f", {name} {_number(scores.reference)}"
        cards.append(
            f"<article class='card'><h3>{_text(TITLES[level.name])}</h3>"
            f"<p class='figure'>{_number(scores.model)}</p><p>{_text(beside)}</p>"
            f"<p class='note'>{_text(levels.MEANINGS[level.name])}</p></article>"
        )
    sentences = "".join(
        f"<li>{_text(wording.level_sentence(level, gains, name))} "
        f"<b>{_text(wording.verdict(level, gains, name))}</b></li>"
        for level in found
    )
    count = f"{len(results.tasks)} tasks, {sum(task.examples for task in results.tasks):,} examples."
    scale = (
        "Points run from 0 to 100; each stage (templates, task, category, level) is an unweighted mean. "
        f"Selection score: {_number(levels.selection_score(results.tasks))}."
    )
    return (
        f"<p class='lead'>{_text(count)} {_text(scale)}</p><div class='cards'>{''.join(cards)}</div>"
        f"<ul class='sentences'>{sentences}</ul>"
    )


def _categories(level: LevelScore, name: str) -> str:
    rows = [(category.name, category.scores) for category in level.categories]
    return _section(f"{TITLES[level.name]}: categories", plots.bars(rows, name))


def _averages(table: averages.Table) -> str:
    """Levels, categories and benchmarks by shots."""
    rows = [_row([_text(title) for title in ("", *table.titles, "mean", "best constant answer")], "th")]
    for row in table.rows:
        cells = [row.cells[name].text if name in row.cells else "" for name in table.variants]
        label = row.label if row.kind != "category" else f"– {row.label}"
        texts = [label, *cells, row.score.text, _number(row.score.constant)]
        style = "" if row.kind in ("category", "benchmark") else " class='category'"
        rows.append(_row([_text(text) for text in texts], style=style))
    note = (
        f"In brackets 95% intervals over examples of the same tasks (estimators: {intervals.PLUS_FOUR} and "
        f"{intervals.AUGMENTED_T} for one task, {intervals.AUGMENTED_WELCH} for averages). Parts "
        "of a task (MMLU's subjects) count as one task, a dataset in several benchmarks once. Numbers of "
        "shots are averaged apart; the mean and the selection score are over them. [In square brackets]: "
        "not counted, since summaries count 0-shot only."
    )
    return f"<p class='note'>{_text(note)}</p><div class='scroll'><table>{''.join(rows)}</table></div>"


def _cautions(tasks: Sequence[TaskScore]) -> str:
    """Tasks that show no reading, right answers given away by their position, and what was lost."""
    parts, rows = [], list[tuple[str, ...]]()
    if remarked := [task for task in tasks if task.remark]:
        rows = [
            (task.name, task.remark, _number(task.score), _number(task.constant_score), _number(task.chance))
            for task in remarked
        ]
        said = f"{len(rows)} of {len(tasks)} tasks score no more than an answer without reading:"
        parts.append(
            _listed(said, ("task", "what was found", "score", "best constant answer", "chance"), rows)
        )
    if uneven := cautions.uneven(tasks):
        rows = [
            (name, f"{one.best}", f"{one.right[one.best - 1]:,} of {one.rows:,}", _number(one.score))
            for name, one in uneven.items()
        ]
        parts.append(
            _listed(_UNEVEN, ("task", "position", "right there", "points of always choosing it"), rows)
        )
    if lost := cautions.losses(tasks):
        rows = [(one.task, *_lost(one)) for one in lost]
        parts.append(
            _listed("Prompts that were not asked in full, or whose answers did not end:", _LOST, rows)
        )
    return "".join(parts) or f"<p>{_text(_NOTHING)}</p>"


_NOTHING = (
    "Nothing: no task is at 0, at chance or at its constant answer, no position gives answers away, "
    "no prompt was shortened or left out, and all answers ended."
)


_UNEVEN = (
    "Right answers stand at one position more often than a random order of the options would put them "
    f"(exact test, Holm-corrected over tasks, p < {positions.SIGNIFICANT}):"
)
_LOST = ("task", "answered", "prompts shortened", "answers unfinished", "not asked")


def _lost(one: cautions.Losses) -> tuple[str, ...]:
    def part(count: int) -> str:
        return f"{count:,} ({count / max(one.asked, 1):.0%})" if count else "0"

    reasons = [f"{count:,} ({reason.replace('_', ' ')})" for reason, count in one.dropped.items() if count]
    return f"{one.asked:,}", part(one.truncated), part(one.unfinished), ", ".join(reasons) or "0"


def _listed(said: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row([_text(title) for title in titles], "th")]
    lines += [_row([_text(cell) for cell in row]) for row in rows]
    return f"<p>{_text(said)}</p><div class='scroll'><table>{''.join(lines)}</table></div>"


def _row(cells: Sequence[str], kind: str = "td", style: str = "") -> str:
    return f"<tr{style}>" + "".join(f"<{kind}>{cell}</{kind}>" for cell in cells) + "</tr>"


def _task_table(level: LevelScore, name: str, by_task: Mapping[str, float] | None) -> str:
    titles = ["task", "metric", "examples", "score", "best constant answer"]
    if by_task is not None:
        titles.append(name)
    titles.append("notes")
    rows = [_row([_text(title) for title in titles], "th")]

    def scores(values: Scores) -> list[str]:
        cells = [_number(values.model), _number(values.constant)]
        return cells if by_task is None else [*cells, _number(values.reference)]

    for category in level.categories:
        examples = sum(task.examples for task in category.tasks)
        cells = [_text(category.name), "", f"{examples:,}", *scores(category.scores), ""]
        rows.append(_row(cells, style=" class='category'"))
        for task in category.tasks:
            constant = f" <span class='note'>“{_text(_short(task.constant_answer, 40))}”</span>"
            values = scores(levels.task_scores(task, by_task))
            values[1] += constant
            if task.interval:
                values[0] += f" <span class='note'>({' to '.join(map(_number, task.interval))})</span>"
            label = f"<span class='task'>{_text(task.name)}</span>"
            cells = [label, _text(task.metric), f"{task.examples:,}", *values, _text(_notes(task))]
            rows.append(_row(cells))
    table = f"<div class='scroll'><table>{''.join(rows)}</table></div>"
    return f"<h3>{_text(TITLES[level.name])}</h3>{table}"


def _notes(task: TaskScore) -> str:
    notes = [task.remark] if task.remark else []
    if spread := levels.template_spread(task.templates):
        least, most, deviation = map(_number, (spread.least, spread.most, spread.deviation))
        notes.append(f"{len(task.templates)} templates: {least} to {most}, standard deviation {deviation}")
    notes += [f"{name.replace('_', ' ')} {_number(points)}" for name, points in task.others.items()]
    if task.truncated:
        notes.append(f"{task.truncated} prompts shortened")
    if task.unfinished:
        notes.append(f"{task.unfinished} answers cut off")
    notes += [f"{count} not asked ({reason.replace('_', ' ')})" for reason, count in task.dropped.items()]
    return ", ".join(notes)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _answers(level: LevelScore, predictions: Sequence[Prediction]) -> str:
    """A sample drawn without looking at the scores, spread over the level's tasks."""
    by_task: dict[str, list[Prediction]] = {}
    names = {task.name for category in level.categories for task in category.tasks}
    for one in predictions:
        if one.task in names:
            by_task.setdefault(one.task, []).append(one)
    draw = random.Random(0)
    tasks = draw.sample(sorted(by_task), len(by_task))[:ANSWERS_PER_LEVEL]
    cards = []
    for name in tasks:
        one = draw.choice(by_task[name])
        prompt = (
            one.prompt if len(one.prompt) <= PROMPT_CHARACTERS else "… " + one.prompt[-PROMPT_CHARACTERS:]
        )
        right = " / ".join(one.references)
        cards.append(
            f"<article class='answer'><p class='note'>{_text(name)}</p><pre>{_text(prompt)}</pre>"
            f"<p><b>Answer:</b> {_text(one.prediction) or '<i>(nothing)</i>'}</p>"
            f"<p><b>Expected:</b> {_text(right)}</p><p class='note'>{_number(one.score)} points</p></article>"
        )
    return f"<h3>{_text(TITLES[level.name])}</h3>{''.join(cards)}" if cards else ""


def _facts(metadata: Mapping[str, Any], reference: Results | None) -> str:
    facts = dict(metadata)
    if reference is not None:
        facts["reference"] = {key: reference.metadata.get(key) for key in ("checkpoint", "step", "seconds")}
    rows = []
    for key, value in facts.items():
        rows.append(_row([_text(key.replace("_", " ")), _text(_fact(value))]))
    return f"<div class='scroll'><table class='facts'>{''.join(rows)}</table></div>"


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "–" if value in ("", None) else str(value)


def print_tables(results: Results, reference: Results | None = None, console: Console | None = None) -> None:
    """Task -> category -> level on the terminal, what to doubt, and one sentence a level.

    Raises:
      UserError: the reference is over other examples.
    """
    by_task = levels.reference_scores(results, reference) if reference else None
    found = levels.aggregate(results.tasks, by_task)
    name = reference_title(reference)
    table = Table(title="points 0..100", header_style="bold")
    table.add_column("level / category / task", overflow="fold")
    for title in ("examples", "score", "constant"):
        table.add_column(title, justify="right")
    if by_task is not None:
        table.add_column(Text(printable(name.removeprefix("the "))), justify="right")

    def add(label: str, examples: int, scores: Scores, style: str = "") -> None:
        cells = [f"{examples:,}", _number(scores.model), _number(scores.constant)]
        if by_task is not None:
            cells.append(_number(scores.reference))
        table.add_row(Text(printable(label)), *cells, style=style)

    for level in found:
        tasks = [task for category in level.categories for task in category.tasks]
        add(TITLES[level.name], sum(task.examples for task in tasks), level.scores, "bold")
        for category in level.categories:
            add(f"  {category.name}", sum(task.examples for task in category.tasks), category.scores)
            for task in category.tasks:
                add(f"    {task.name}", task.examples, levels.task_scores(task, by_task), "dim")
        table.add_section()
    if console is None:
        console = Console()
        if not console.is_terminal:  # in a log, 80 columns would break every task's name
            console.width = max(console.width, 80 + max(len(task.name) for task in results.tasks))
    console.print(table)
    console.print(_averages_table(averages.of_results(results)))
    _print_cautions(results.tasks, console)
    gains = _gains(results, reference)
    for level in found:
        sentence, verdict = (make(level, gains, name) for make in (wording.level_sentence, wording.verdict))
        console.print(Text(printable(f"{sentence} {verdict}")))


def _print_cautions(tasks: Sequence[TaskScore], console: Console) -> None:
    """What the page's "What to doubt" says, its first lines."""
    for remark in cautions.REMARKS:
        named = [task.name for task in tasks if task.remark == remark]
        if named:
            said = f"warning: {len(named)} of {len(tasks)} tasks have {remark}: {_first(named)}"
            console.print(Text(printable(said)))
    if uneven := cautions.uneven(tasks):
        named = [f"{name} (always option {one.best}: {one.score:.1f})" for name, one in uneven.items()]
        console.print(Text(printable(f"warning: {_UNEVEN} {_first(named)}")))
    if lost := cautions.losses(tasks):
        table = Table(title=f"{len(lost)} of {len(tasks)} tasks lost prompts or answers", header_style="bold")
        table.add_column("task", overflow="fold")
        for title in _LOST[1:]:
            table.add_column(title, justify="right")
        for one in lost[:TERMINAL_ROWS]:
            table.add_row(*(Text(printable(cell)) for cell in (one.task, *_lost(one))))
        console.print(table)


def _first(named: Sequence[str], most: int = 3) -> str:
    more = f" and {len(named) - most:,} more (see the page)" if len(named) > most else ""
    return ", ".join(named[:most]) + more


def _averages_table(found: averages.Table) -> Table:
    """Levels, categories and benchmarks by shots, for the terminal."""
    caption = (
        f"95% intervals over examples: {intervals.PLUS_FOUR} or {intervals.AUGMENTED_T} of one task, "
        f"{intervals.AUGMENTED_WELCH} of averages"
    )
    table = Table(title="averages", caption=caption, header_style="bold")
    table.add_column("level / category / benchmark", overflow="fold")
    for title in (*found.titles, "mean"):
        table.add_column(title, justify="right")
    last = ""
    for row in found.rows:
        if row.kind in ("level", "total") or (row.kind == "benchmark" != last):
            table.add_section()
        cells = [row.cells[name].text if name in row.cells else "" for name in found.variants]
        label = f"  {row.label}" if row.kind == "category" else row.label
        style = "bold" if row.kind in ("level", "total") else ""
        table.add_row(*(Text(printable(text)) for text in (label, *cells, row.score.text)), style=style)
        last = row.kind
    return table
