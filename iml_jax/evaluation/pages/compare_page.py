"""The page of ``iml report``: one HTML file that needs no network, and no script to be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import CONFIDENCE
from iml_jax.evaluation.metrics.levels import MEANINGS, TITLES
from iml_jax.evaluation.metrics.paired import Difference
from iml_jax.evaluation.pages import compare_answers, compare_benchmark_metrics, plots, rendering
from iml_jax.evaluation.pages.compare import Comparison, ComparisonLine, config_changes, flat_facts
from iml_jax.evaluation.pages.rendering import signed
from iml_jax.storage.writing import write_atomically

STYLES = ("report.css", "compare.css")
SCRIPT = "compare.js"
MOST_DIFFERENT = 10
Heads = list[tuple[str, str]]  # a column's title and its class


@dataclasses.dataclass(frozen=True)
class ClearlyBetter:
    """Of ``tasks`` tasks, those on which one evaluation is clearly better; the largest differences first."""

    letter: str
    lines: tuple[ComparisonLine, ...]
    tasks: int


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Rows (name, one value per evaluation) of what is known of how each was made."""

    different: tuple[tuple[str, ...], ...]
    alike: tuple[tuple[str, ...], ...]


def write_page(path: str | Path, found: Comparison, *, per_task: int) -> Path:
    """Writes the page atomically.

    Args:
      path: the HTML file.
      found: what to show.
      per_task: how many examples of each task are shown with their answers, at most.

    Raises:
      Fault: the file cannot be written.
    """
    path = Path(path)
    write_atomically(path, render(found, per_task=per_task))
    return path


def render(found: Comparison, *, per_task: int) -> str:
    """The page's HTML; everything that comes from data is escaped."""
    names = [f"{source.letter}: {source.name}" for source in found.sources]
    levels = [line for line in found.lines if line.kind == "level"]
    *most, last = [source.letter for source in found.sources]
    groups = set(found.groups.values())
    value_heads = [(source.letter, "") for source in found.sources]
    return rendering.render(
        "comparison.html.jinja",
        title=f"Comparison of {', '.join(most)} and {last}",
        styles=STYLES,
        script=SCRIPT,
        titles=TITLES,
        meanings=MEANINGS,
        found=found,
        same={name for name, shared in found.shared.items() if not any(one.differs for one in shared)},
        examples=sum(map(len, found.shared.values())),
        confidence=f"{CONFIDENCE:.0%}",
        estimators=(intervals.AUGMENTED_T, intervals.AUGMENTED_WELCH),
        interval=interval,
        ends=ends,
        probability=probability,
        filter_levels=[name for name in TITLES if any(level == name for level, _ in groups)],
        filter_categories=sorted({category for _, category in groups}),
        level_heads=_heads(found, "level"),
        level_bars=plots.compared_bars([(TITLES[line.name], line.scores) for line in levels], names),
        clearly_better=_clearly_better(found),
        most_different=MOST_DIFFERENT,
        category_bars=list(_category_bars(found, names)),
        task_heads=[*_heads(found, "task", "metric"), *_count_heads(found)],
        lines_by_level=_lines_by_level(found),
        benchmark_lines=list(compare_benchmark_metrics.lines(found)),
        metric_heads=_heads(found, "task", "metric"),
        bootstrap_samples=compare_benchmark_metrics.SAMPLES,
        not_sampled=" and ".join(compare_benchmark_metrics.NOT_SAMPLED),
        most_sampled=compare_benchmark_metrics.MOST,
        samples=compare_answers.samples(found, per_task),
        option_heads=[
            ("option, log-likelihood in nats", ""),
            *((source.letter, "n") for source in found.sources),
        ],
        option_characters=compare_answers.OPTION,
        prompt_characters=compare_answers.PROMPT,
        answer_characters=compare_answers.ANSWER,
        config_changes=config_changes(found.sources),
        config_heads=[("parameter", ""), *value_heads],
        provenance=_provenance(found),
        provenance_heads=[("", ""), *value_heads],
    )


def interval(difference: Difference) -> str:
    """The ends of a difference's interval."""
    return ends(difference.interval.ends)


def ends(values: tuple[float, float]) -> str:
    """``[low, high]``."""
    return f"[{signed(values[0])}, {signed(values[1])}]"


def probability(difference: Difference) -> str:
    """The p-value of the sign test with three decimals; empty where there is none."""
    if difference.p_value is None:
        return ""
    return "<.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}".removeprefix("0")


def _heads(found: Comparison, *first: str) -> Heads:
    heads = [(name, "") for name in first] + [("examples", "n")]
    heads += [(source.letter, "n") for source in found.sources]
    for source in found.sources[1:]:
        letters = f"{source.letter} − {found.sources[0].letter}"
        heads += [(letters, "n"), (f"{CONFIDENCE:.0%} interval", "n")]
    return heads


def _count_heads(found: Comparison) -> Heads:
    first = found.sources[0].letter
    heads: Heads = []
    for source in found.sources[1:]:
        heads += [(f"{first} better", "n"), (f"{source.letter} better", "n"), ("sign test p", "n")]
    return heads


def _clearly_better(found: Comparison) -> list[ClearlyBetter]:
    """The tasks on which the second evaluation, then the first, is clearly better than the other."""
    first, second = found.sources[:2]
    tasks = [line for line in found.lines if line.kind == "task"]
    better = []
    for sign, letter in ((1, second.letter), (-1, first.letter)):
        clear = [t for t in tasks if t.differences[0].clear and sign * t.differences[0].value > 0]
        clear.sort(key=lambda t: -sign * t.differences[0].value)
        better.append(ClearlyBetter(letter, tuple(clear), len(tasks)))
    return better


def _category_bars(found: Comparison, names: Sequence[str]) -> Iterator[tuple[str, Markup]]:
    """Each level with the bars of its categories."""
    for level, lines in _lines_by_level(found):
        rows = [(line.name, line.scores) for line in lines if line.kind == "category"]
        yield level, plots.compared_bars(rows, names)


def _lines_by_level(found: Comparison) -> list[tuple[str, list[ComparisonLine]]]:
    """Each level with its categories, each followed by its tasks."""
    by_level: list[tuple[str, list[ComparisonLine]]] = []
    for line in found.lines:
        if line.kind == "level":
            by_level.append((line.name, []))
        elif line.kind in ("category", "task"):
            by_level[-1][1].append(line)
    return by_level


def _provenance(found: Comparison) -> Provenance:
    known = [dict(source.results.metadata) for source in found.sources]
    for one in known:
        one.pop("config", None)  # ``config_changes`` shows it, parameter by parameter
    facts = list(map(flat_facts, known))
    different: list[tuple[str, ...]] = []
    alike: list[tuple[str, ...]] = []
    for key in dict.fromkeys(key for one in facts for key in one):
        values = [one.get(key, "not recorded") for one in facts]
        (different if len(set(values)) > 1 else alike).append((key.replace("_", " "), *values))
    return Provenance(tuple(different), tuple(alike))
