"""The tables of ``iml report`` on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iml_jax.evaluation import intervals
from iml_jax.evaluation.metrics.levels import TITLES
from iml_jax.evaluation.pages.compare import Comparison, ComparisonLine, config_changes
from iml_jax.foundation.printing import printable

MOST_DIFFERENT = 10
MOST_PARAMETERS = 12


def print_tables(found: Comparison, console: Console | None = None) -> None:
    """Warnings, levels and categories, and the tasks that clearly differ most."""
    tasks = [line for line in found.lines if line.kind == "task"]
    if console is None:
        console = Console()
        if not console.is_terminal:  # in a log, 80 columns would break every task's name
            console.width = max(console.width, 60 + 22 * len(found.sources) + max(len(t.name) for t in tasks))
    for source in found.sources:
        console.print(Text(printable(f"{source.letter}: {source.name} ({source.path})")))
    for warning in found.warnings:
        console.print(Text(printable(f"not measured alike: {warning}"), style="bold red"))
    for note in found.notes:
        console.print(Text(printable(f"note: {note}")))
    changes = config_changes(found.sources)
    if changes:
        names = [*changes][:MOST_PARAMETERS] + (["..."] if len(changes) > MOST_PARAMETERS else [])
        text = f"the training runs differ in {len(changes)} parameters (the page has values)"
        console.print(Text(printable(f"note: {text}: {', '.join(names)}")))
    shared = sum(map(len, found.shared.values()))
    console.print(_table(found, f"points 0..100, over the {shared:,} shared examples",
                         [line for line in found.lines if line.kind != "task"]))  # fmt: skip
    clear = [line for line in tasks if any(difference.clear for difference in line.differences)]
    clear.sort(key=lambda line: -max(abs(one.value) for one in line.differences))
    title = f"{len(clear):,} of {len(tasks):,} tasks clearly differ"
    if len(clear) > MOST_DIFFERENT:
        title += f"; the {MOST_DIFFERENT} largest differences"
    console.print(_table(found, title, clear[:MOST_DIFFERENT]) if clear else Text(title))


def _table(found: Comparison, title: str, lines: list[ComparisonLine]) -> Table:
    estimators = f"{intervals.AUGMENTED_T} of a task, {intervals.AUGMENTED_WELCH} of averages"
    caption = f"95% intervals over examples: {estimators}"
    table = Table(title=title, caption=caption, header_style="bold")
    table.add_column("level / category / task", overflow="fold")
    for name in ("examples", *(source.letter for source in found.sources)):
        table.add_column(name, justify="right")
    first = found.sources[0].letter
    for source in found.sources[1:]:
        table.add_column(f"{source.letter} - {first}", justify="right")
        table.add_column("95% interval", justify="right")
    for line in lines:
        cells = [f"{line.examples:,}", *(f"{score:.1f}" for score in line.scores)]
        for one in line.differences:
            style = "bold" if one.clear else ""
            cells += [f"[{style}]{one.value:+.1f}[/]" if style else f"{one.value:+.1f}"]
            cells += [f"{one.interval.low:+.1f} .. {one.interval.high:+.1f}"]
        label = TITLES[line.name] if line.kind == "level" else f"  {line.name}"
        table.add_row(Text(printable(label)), *cells, style="bold" if line.kind == "level" else "")
    return table
