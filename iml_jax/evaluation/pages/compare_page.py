"""The page of ``iml report``: one HTML file that needs no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import CONFIDENCE
from iml_jax.evaluation.metrics.levels import MEANINGS, TITLES
from iml_jax.evaluation.metrics.paired import Difference
from iml_jax.evaluation.pages import compare_answers, compare_others, plots
from iml_jax.evaluation.pages.compare import Comparison, Line, config_changes, flat_facts
from iml_jax.evaluation.pages.markup import attributes, cells, name_of, section, table, text
from iml_jax.storage.writing import write_atomically

STYLES = ("report.css", "compare.css")
SCRIPT = "compare.js"
MOST_DIFFERENT = 10


def write_page(path: str | Path, found: Comparison, *, per_task: int) -> Path:
    """Writes the page, whole or not at all.

    Args:
      path: the HTML file.
      found: what to show.
      per_task: at most so many examples of each task are shown with their answers.

    Raises:
      Fault: the file cannot be written.
    """
    path = Path(path)
    write_atomically(path, render(found, per_task=per_task))
    return path


def render(found: Comparison, *, per_task: int) -> str:
    """The page's HTML; everything that comes from data is escaped."""
    letters = f"{found.sources[0].letter} and {found.sources[1].letter}"
    names = [f"{source.letter}: {source.name}" for source in found.sources]
    levels = [line for line in found.lines if line.kind == "level"]
    bars = [(TITLES[line.name], line.scores) for line in levels]
    *most, last = [source.letter for source in found.sources]
    title = f"Comparison of {', '.join(most)} and {last}"
    body = [
        f"<h1>{text(title)}</h1>",
        _sources(found),
        _warnings(found),
        _lead(found),
        _controls(found),
        section("The three levels", _level_table(found) + plots.compared_bars(bars, names), id="levels"),
        section(f"Tasks where {letters} differ most", _most_different(found), id="most"),
        *_categories(found, names),
        section("All tasks", _tasks(found), id="tasks"),
        _others(found),
        section("Answers", compare_answers.render(found, per_task), id="answers"),
        _config(found),
        section("How each was measured", _facts(found), id="facts"),
    ]
    folder = Path(__file__).parent
    css = "".join((folder / name).read_text(encoding="utf-8") for name in STYLES)
    script = (folder / SCRIPT).read_text(encoding="utf-8")
    # Only this script may run: predictions can hold any text, and escaping should not be the only wall.
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{own}'; base-uri 'none'"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{text(title)}</title><style>{css}</style></head>"
        f"<body><main class='compare'>{''.join(body)}</main><script>{script}</script></body></html>\n"
    )


def _sources(found: Comparison) -> str:
    cards = []
    for source in found.sources:
        facts = source.results.metadata
        cards.append(
            "<article class='card'>"
            f"<h3><span class='letter'>{text(source.letter)}</span> {text(source.name)}</h3>"
            f"<p class='note'>{text(source.path)}</p>"
            f"<p class='note'>checkpoint {text(facts.get('checkpoint', '–'))}</p></article>"
        )
    return f"<div class='cards'>{''.join(cards)}</div>"


def _warnings(found: Comparison) -> str:
    if not found.warnings:
        return ""
    items = "".join(f"<li>{text(warning)}</li>" for warning in found.warnings)
    return (
        "<div class='warning' role='alert'><h2>These were not measured alike</h2>"
        f"<p>Differences below may come from this rather than from the models.</p><ul>{items}</ul></div>"
    )


def _lead(found: Comparison) -> str:
    examples = sum(map(len, found.shared.values()))
    first = found.sources[0].letter
    notes = "".join(f" {text(note)}." for note in found.notes)
    return (
        f"<p class='lead'>{len(found.shared):,} tasks, {examples:,} examples that all of them answered; "
        f"every number here is over these.{notes} Points run from 0 to 100; templates, tasks and categories "
        f"each count the same within the next stage. Differences are to {text(first)}; in brackets "
        f"their {CONFIDENCE:.0%} intervals over examples (estimators: {intervals.AUGMENTED_T} for a task, "
        f"{intervals.AUGMENTED_WELCH} for averages), which say nothing of other tasks or another training "
        "run. <b>Bold</b>: chance in the choice of "
        "examples hardly explains the difference (one in twenty equal tasks would still be bold).</p>"
    )


def _controls(found: Comparison) -> str:
    """The checkbox works by CSS alone; the script unhides what needs it."""
    places = sorted(set(found.place.values()))

    def options(values: Sequence[tuple[str, str]]) -> str:
        return "".join(f"<option value='{text(value)}'>{text(label)}</option>" for value, label in values)

    levels = [(name, TITLES[name]) for name in TITLES if any(level == name for level, _ in places)]
    categories = [(name, name) for name in sorted({category for _, category in places})]
    return (
        "<input type='checkbox' id='only'><label for='only'>only where they differ</label>"
        "<form class='filter' hidden>"
        "<select id='level' aria-label='level'><option value=''>all levels</option>"
        f"{options(levels)}</select>"
        "<select id='category' aria-label='category'><option value=''>all categories</option>"
        f"{options(categories)}</select>"
        "<input id='task' type='search' placeholder='task name' aria-label='task name'></form>"
    )


def _heads(found: Comparison, *first: str) -> list[tuple[str, str]]:
    heads = [(name, "") for name in first] + [("examples", "n")]
    heads += [(source.letter, "n") for source in found.sources]
    for source in found.sources[1:]:
        letters = f"{source.letter} − {found.sources[0].letter}"
        heads += [(letters, "n"), (f"{CONFIDENCE:.0%} interval", "n")]
    return heads


def _values(line: Line) -> Iterator[tuple[str, str]]:
    yield f"{line.examples:,}", "n"
    for score in line.scores:
        yield f"{score:.1f}", "n"
    for difference in line.differences:
        yield signed(difference.value), "n strong" if difference.clear else "n"
        yield interval(difference), "n faint"


def signed(value: float) -> str:
    """One digit, a sign that is as wide as a digit, and no negative zero."""
    rounded = round(value, 1)
    if rounded == 0:
        return "0.0"
    return f"{'+' if rounded > 0 else '−'}{abs(rounded):.1f}"


def interval(difference: Difference) -> str:
    """The interval's ends."""
    return f"[{signed(difference.interval.low)}, {signed(difference.interval.high)}]"


def _level_table(found: Comparison) -> str:
    rows = []
    for line in found.lines:
        if line.kind == "level":
            title = (
                f"<b>{text(TITLES[line.name])}</b><br><span class='note'>{text(MEANINGS[line.name])}</span>"
            )
            rows.append(cells([(title, ""), *_values(line)]))
        elif line.kind == "column":
            rows.append(cells([(f"<span class='column'>{text(line.name)}</span>", ""), *_values(line)]))
    return table(_heads(found, "level"), rows)


def _counts(found: Comparison, line: Line) -> Iterator[tuple[str, str]]:
    for difference in line.differences:
        yield f"{difference.worse:,}", "n"
        yield f"{difference.better:,}", "n"
        yield probability(difference), "n faint"


def probability(difference: Difference) -> str:
    """The sign test's, short."""
    if difference.p_value is None:
        return ""
    return "&lt;.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}".removeprefix("0")


def _count_heads(found: Comparison) -> list[tuple[str, str]]:
    first, heads = found.sources[0].letter, []
    for source in found.sources[1:]:
        heads += [(f"{first} better", "n"), (f"{source.letter} better", "n"), ("sign test p", "n")]
    return heads


def _most_different(found: Comparison) -> str:
    """The clear differences, the largest of each sign first, for the second evaluation against the first."""
    first, second = found.sources[:2]
    tasks = [line for line in found.lines if line.kind == "task"]
    parts = []
    for sign, letter in ((1, second.letter), (-1, first.letter)):
        clear = [t for t in tasks if t.differences[0].clear and sign * t.differences[0].value > 0]
        clear.sort(key=lambda t: -sign * t.differences[0].value)
        count = f"{text(letter)} is clearly better on {len(clear):,} of {len(tasks):,} tasks"
        if not clear:
            parts.append(f"<h3>{count}</h3>")
            continue
        shown = f", the {MOST_DIFFERENT} largest differences" if len(clear) > MOST_DIFFERENT else ""
        rows = [_task_row(found, line) for line in clear[:MOST_DIFFERENT]]
        heads = [*_heads(found, "task", "metric"), *_count_heads(found)]
        parts.append(f"<h3>{count}{shown}</h3>{table(heads, rows)}")
    return "".join(parts)


def _categories(found: Comparison, names: Sequence[str]) -> Iterator[str]:
    """One section of bars a level."""
    level = ""
    rows: list[tuple[str, Sequence[float]]] = []
    for line in [*found.lines, None]:
        if line is None or line.kind == "level":
            if rows:
                yield section(f"{TITLES[level]}: categories", plots.compared_bars(rows, names))
            level, rows = line.name if line else "", []
        elif line.kind == "category":
            rows.append((line.name, line.scores))


def _task_row(found: Comparison, line: Line) -> str:
    level, category = found.place[line.name]
    same = not any(one.differs for one in found.shared[line.name])
    label = f"<span class='task'>{name_of(line.name)}</span>"
    values = [(label, ""), (text(line.metric), ""), *_values(line), *_counts(found, line)]
    marks = attributes(level=level, category=category, task=line.name)
    return cells(values, f"class='row{' same' if same else ''}' {marks}")


def _tasks(found: Comparison) -> str:
    """A table a level: its categories, each followed by its tasks."""
    rows: dict[str, list[str]] = {}
    level = ""
    for line in found.lines:
        if line.kind == "level":
            level = line.name
        elif line.kind == "category":
            marks = attributes(level=level, category=line.name, task="")
            values = [(text(line.name), ""), ("", ""), *_values(line), *_counts(found, line)]
            rows.setdefault(level, []).append(cells(values, f"class='category' {marks}"))
        elif line.kind == "task":
            rows[level].append(_task_row(found, line))
    heads = [*_heads(found, "task", "metric"), *_count_heads(found)]
    parts = [
        f"<div {attributes(level=level)}><h3>{text(TITLES[level])}</h3>{table(heads, of_level)}</div>"
        for level, of_level in rows.items()
    ]
    explained = (
        "“Better” counts examples: where answers are right or wrong, those that only this one got right; "
        "elsewhere, those on which it has more points. The sign test (McNemar's, for right and wrong) is "
        "over these."
    )
    return f"<p class='note'>{text(explained)}</p>{''.join(parts)}"


def _others(found: Comparison) -> str:
    """Tasks under their benchmarks' own metrics; nothing where none has one."""
    rows = []
    for line in compare_others.lines(found):
        level, category = found.place[line.task]
        values = [(f"<span class='task'>{name_of(line.task)}</span>", ""), (text(line.metric), "")]
        values += [(f"{line.answers:,}", "n"), *((f"{score:.1f}", "n") for score in line.scores)]
        for score, ends in zip(line.scores[1:], line.intervals, strict=True):
            clear = ends is not None and (ends[0] > 0 or ends[1] < 0)
            values.append((signed(score - line.scores[0]), "n strong" if clear else "n"))
            values.append((f"[{signed(ends[0])}, {signed(ends[1])}]" if ends else "", "n faint"))
        same = not any(one.differs for one in found.shared[line.task])
        marks = attributes(level=level, category=category, task=line.task)
        rows.append(cells(values, f"class='row{' same' if same else ''}' {marks}"))
    if not rows:
        return ""
    explained = (
        "What the tasks' own benchmarks report; it enters no mean. Computed over the shared answers of each "
        f"template and averaged over templates; intervals from {compare_others.DRAWS} draws of the examples, "
        f"none for {' and '.join(compare_others.NOT_DRAWN)} and above {compare_others.MOST:,} answers."
    )
    body = f"<p class='note'>{text(explained)}</p>{table(_heads(found, 'task', 'metric'), rows)}"
    return section("Benchmarks' own metrics", body, id="others")


def _config(found: Comparison) -> str:
    """The parameters in which the training runs differ; nothing where they do not."""
    heads = [("parameter", ""), *((source.letter, "") for source in found.sources)]
    rows = [
        cells([(text(name), ""), *((text(value), "") for value in values)], "class='differs'")
        for name, values in config_changes(found.sources).items()
    ]
    return section("How the training runs differ", table(heads, rows, "facts"), id="config") if rows else ""


def _facts(found: Comparison) -> str:
    """What differs first and marked, then what is the same."""
    known = [dict(source.results.metadata) for source in found.sources]
    for one in known:
        one.pop("config", None)  # told by _config, line by line
    facts = list(map(flat_facts, known))
    heads = [("", ""), *((source.letter, "") for source in found.sources)]
    different: list[str] = []
    alike: list[str] = []
    for key in dict.fromkeys(key for one in facts for key in one):
        values = [one.get(key, "not recorded") for one in facts]
        other = len(set(values)) > 1
        row = cells([(text(key.replace("_", " ")), ""), *((text(value), "") for value in values)],
                    "class='differs'" if other else "")  # fmt: skip
        (different if other else alike).append(row)
    return (
        f"<h3>Different</h3>{table(heads, different, 'facts')}"
        f"<details><summary>The same in all ({len(alike)})</summary>{table(heads, alike, 'facts')}</details>"
    )
