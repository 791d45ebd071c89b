"""The tables of ``iml evaluate`` on a terminal: the same numbers as on the report page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iml_jax.evaluation import intervals
from iml_jax.evaluation.metrics import averages, cautions, levels
from iml_jax.evaluation.metrics.levels import TITLES, Scores
from iml_jax.evaluation.pages import narrative, report
from iml_jax.evaluation.pages.rendering import points
from iml_jax.evaluation.results import Results, TaskScore
from iml_jax.foundation.printing import printable

TERMINAL_ROWS = 10


def print_tables(results: Results, reference: Results | None = None, console: Console | None = None) -> None:
    """Task -> category -> level on the terminal, what to doubt, and one sentence per level.

    Raises:
      UserError: the reference is over other examples.
    """
    by_task = levels.reference_scores(results, reference) if reference else None
    found = levels.aggregate(results.tasks, by_task)
    name = report.reference_title(reference)
    table = Table(title="points 0..100", header_style="bold")
    table.add_column("level / category / task", overflow="fold")
    for title in ("examples", "score", "constant"):
        table.add_column(title, justify="right")
    if by_task is not None:
        table.add_column(Text(printable(name.removeprefix("the "))), justify="right")

    def add(label: str, examples: int, scores: Scores, style: str = "") -> None:
        cells = [f"{examples:,}", points(scores.model), points(scores.constant)]
        if by_task is not None:
            cells.append(points(scores.reference))
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
    gains = report.gains_of(results, reference)
    for level in found:
        sentence, verdict = (
            make(level, gains, name) for make in (narrative.level_sentence, narrative.verdict)
        )
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
        console.print(Text(printable(f"warning: {report.UNEVEN} {_first(named)}")))
    if lost := cautions.losses(tasks):
        table = Table(title=f"{len(lost)} of {len(tasks)} tasks lost prompts or answers", header_style="bold")
        table.add_column("task", overflow="fold")
        for title in report.LOST_HEADS[1:]:
            table.add_column(title, justify="right")
        for one in lost[:TERMINAL_ROWS]:
            table.add_row(*(Text(printable(cell)) for cell in (one.task, *report.lost_cells(one))))
        console.print(table)


def _first(named: Sequence[str], most: int = 3) -> str:
    more = f" and {len(named) - most:,} more (see the page)" if len(named) > most else ""
    return ", ".join(named[:most]) + more


def _averages_table(found: averages.AveragesTable) -> Table:
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
