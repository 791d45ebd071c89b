"""The report's plots as inline SVG that follows the page's light or dark colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from iml_jax.evaluation.metrics.levels import Scores
from iml_jax.storage import journal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Fixed colours stand for the page's CSS variables; ``_svg`` puts the variables in their place.
INK, GRID = "#010203", "#040506"
MODEL, CONSTANT, REFERENCE = "#0a0b0c", "#0d0e0f", "#101112"
VARIABLES = {INK: "ink", GRID: "rule", MODEL: "model", CONSTANT: "constant", REFERENCE: "reference"}
LABEL = 36  # characters
# The file's own settings, so that a user's matplotlibrc changes nothing.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "iml", "font.family": "sans-serif", "font.size": 11}


def bars(rows: Sequence[tuple[str, Scores]], reference_name: str) -> Markup:
    """Horizontal bars 0..100, one group per row: model, best constant answer, reference model if any."""
    with_reference = any(scores.reference is not None for _, scores in rows)
    series: list[tuple[str, str, list[float]]] = [("this model", MODEL, [one.model for _, one in rows])]
    series.append(("best constant answer", CONSTANT, [one.constant for _, one in rows]))
    if with_reference:
        values = [one.reference if one.reference is not None else math.nan for _, one in rows]
        series.append((reference_name, REFERENCE, values))
    return _grouped([name for name, _ in rows], series)


def compared_bars(rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str]) -> Markup:
    """Horizontal bars 0..100, one group per row, one bar per model of ``names``."""
    colours = (REFERENCE, MODEL, CONSTANT)  # the first is what the others are compared with
    series = [
        (name, colours[min(number, 2)], [values[number] for _, values in rows])
        for number, name in enumerate(names)
    ]
    return _grouped([name for name, _ in rows], series)


def _grouped(labels: Sequence[str], series: Sequence[tuple[str, str, list[float]]]) -> Markup:
    """One group of bars per label; series are (name, colour, a value for each label, NaN for none)."""
    thick = 0.8 / len(series)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.0 + len(labels) * 0.26 * len(series)), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, colour, values) in enumerate(series):
            places = [row + number * thick - 0.4 + thick / 2 for row in range(len(labels))]
            axes.barh(places, values, height=thick * 0.9, color=colour, label=_plain(label))
            for place, value in zip(places, values, strict=True):
                if math.isfinite(value):
                    axes.text(value + 0.8, place, f"{value:.1f}", va="center", color=INK, fontsize=9)
        axes.set_yticks(range(len(labels)), [_plain(name) for name in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)  # downwards, without matplotlib's margins
        axes.set_xlim(0, 108)
        axes.set_xlabel("points")
        figure.legend(loc="outside upper left", ncols=len(series), frameon=False, labelcolor=INK, fontsize=10)
        return _svg(figure, axes, "bars of scores")


def _plain(name: str) -> str:
    """A label: matplotlib reads "$" as the start of a formula; long labels would leave no space for bars."""
    short = name if len(name) <= LABEL else name[: LABEL - 1] + "…"
    return short.replace("$", r"\$")


def loss_curve(metrics_file: Path) -> Markup:
    """Training loss over updates from a run's ``metrics.jsonl``; empty where there is nothing to plot."""
    points = _losses(metrics_file)
    if len(points) < 2:
        return Markup()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(*zip(*points, strict=True), color=MODEL, linewidth=1.6)
        axes.set_xlabel("updates")
        axes.set_ylabel("training loss, nats per token")
        axes.set_ylim(bottom=0)
        return _svg(figure, axes, "training loss over updates")


def _losses(metrics_file: Path) -> list[tuple[float, float]]:
    """(step, loss) of every complete line that has both; a running process may be writing the last one."""
    found: dict[float, float] = {}
    for record in journal.records(metrics_file):
        values = [record.get(name) for name in ("step", "loss")] if record else []
        numbers = [float(value) for value in values if isinstance(value, (int, float))]
        if len(numbers) == 2:
            found[numbers[0]] = numbers[1]
    return sorted(found.items())


def _svg(figure: Figure, axes: Any, label: str) -> Markup:
    axes.tick_params(colors=INK, length=0)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis="x" if label.startswith("bars") else "y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    # Sizes come from the page; the view box keeps the proportions.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return Markup(text)  # matplotlib has escaped the labels
