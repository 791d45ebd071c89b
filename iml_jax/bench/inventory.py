"""The known tasks that a folder of data holds: present, missing or broken (``iml tasks --data_dir``)."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from iml_jax.bench import known_tasks, unused_files
from iml_jax.bench.categories import category_of
from iml_jax.bench.known_tasks import KnownTask
from iml_jax.bench.sources import default_sources, remedy
from iml_jax.bench.sources.base import BrokenTask, NothingFoundError, Source, TaskInfo
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import one_line
from iml_jax.storage.reading import regular_file

PRESENT, MISSING, BROKEN = STATES = ("present", "missing", "broken")
UNKNOWN = -1  # a count that nobody made


@dataclasses.dataclass(frozen=True)
class Listed:
    """One task, known or found.

    Attributes:
      benchmark, task: its names.
      state: one of ``STATES``.
      category: its one category.
      role: ``train``, ``dev`` or ``test`` in OPT-IML; ``held back``, ``duplicate``, or ``-`` where OPT-IML
        Bench does not have it.
      level: the generalization level that OPT-IML evaluates it at; ``-`` where it does not.
      templates: prompt templates; ``UNKNOWN`` unless present.
      examples: of all its splits; ``UNKNOWN`` where they were not counted.
      note: why it is broken, what is missing and how to get it, or whose duplicate it is.
    """

    benchmark: str
    task: str
    state: str
    category: str
    role: str
    level: str
    templates: int = UNKNOWN
    examples: int = UNKNOWN
    note: str = ""


def survey(
    data_dir: str | Path,
    *,
    count: bool = False,
    tick: Callable[[int, int], None] | None = None,
    not_read: dict[str, dict[Path, str]] | None = None,
) -> tuple[Listed, ...]:
    """Every known task and every task found, benchmark by benchmark, sorted by name.

    A task is present if its source lists it with some split and reads its first example; it is broken if the
    source refuses one of the two; it is missing otherwise.

    Args:
      data_dir: the folder, laid out as ``default_sources`` has it.
      count: read every file to the end and count its examples; else they are counted only where a file
        says how many rows it has.
      tick: called with (tasks done, tasks found) as it proceeds.
      not_read: receives for each benchmark the files that no task is made of -> why.

    Raises:
      UserError: the folder is not of that layout.
    """
    sources = {source.name: source for source in default_sources(data_dir)}
    surveyed = {name: _surveyed(source) for name, source in sources.items()}
    total = sum(len(found) for found, _ in surveyed.values())
    if not_read is not None:
        for name, (found, failure) in surveyed.items():
            if not failure:  # else nothing is known of any file
                not_read[name] = unused_files.of_source(sources[name], found.values())
        if other := unused_files.beside(Path(data_dir), sources.values()):
            not_read["data_dir"] = other
    rows: list[Listed] = []
    done = 0
    names = [name for name in known_tasks.BENCHMARKS if name not in known_tasks.EVALUATION_ONLY]
    for benchmark in [*names, *sorted(sources.keys() - set(names))]:
        found, failure = surveyed.get(benchmark, ({}, ""))
        own = []
        for task in found.values():
            own.append(_examined(sources[benchmark], task, count=count))
            done += 1
            if tick:
                tick(done, total)
        absent = (known for known in known_tasks.every(benchmark) if known.task not in found)
        own += [_absent(known, failure, Path(data_dir)) for known in absent]
        rows += sorted(own, key=lambda row: row.task)
        if failure and not own:
            rows.append(_row(benchmark, "*", BROKEN, note=failure))
    return tuple(rows)


def _surveyed(source: Source) -> tuple[dict[str, TaskInfo | BrokenTask], str]:
    """Task -> what the source says of it, and why it cannot say anything."""
    try:
        return {task.task: task for task in source.survey()}, ""
    except NothingFoundError:
        return {}, ""  # every task is missing, and files elsewhere are reported as not read
    except UserError as error:
        return {}, str(error)


def _examined(source: Source, task: TaskInfo | BrokenTask, *, count: bool) -> Listed:
    if isinstance(task, BrokenTask):
        return _row(source.name, task.task, BROKEN, note=task.reason)
    try:
        templates = source.templates(task)
        if not task.splits:
            return _row(source.name, task.task, MISSING, category=task.category, note=_no_split(source.name))
        examples = _counted(source, task) if count else _stated(task)
        if not count:
            _first(source, task)
    except UserError as error:
        return _row(source.name, task.task, BROKEN, category=task.category, note=str(error))
    return _row(
        source.name, task.task, PRESENT, category=task.category, templates=templates, examples=examples
    )


def _first(source: Source, task: TaskInfo) -> None:
    """Reads one example of each split."""
    for split in task.splits:
        source.probe(task, split)


def _counted(source: Source, task: TaskInfo) -> int:
    """Examples of all splits, one for each however many templates render it."""
    total = 0
    for split in task.splits:
        skipped = collections.Counter[str]()
        identities = (one.example_id for one in source.examples(task, split, skipped))
        total += sum(1 for _ in itertools.groupby(identities))
    return total


def _stated(task: TaskInfo) -> int:
    """The rows that Parquet files say they have, where all of a task's rows are in such files."""
    rows = [path for path in task.files if path.suffix not in (".yaml", ".yml")]
    if not rows or any(path.suffix != ".parquet" for path in rows):
        return UNKNOWN
    import pyarrow
    from pyarrow import parquet

    try:
        return sum(parquet.read_metadata(regular_file(path)).num_rows for path in rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{rows[0].parent}: no readable Parquet file ({error}); fetch it again") from error


def _absent(known: KnownTask, failure: str, data_dir: Path) -> Listed:
    """A known task of which nothing was found."""
    if failure:
        return _row(known.benchmark, known.task, BROKEN, note=failure)
    return _row(known.benchmark, known.task, MISSING, note=remedy(known.benchmark, known.task, data_dir))


def _no_split(benchmark: str) -> str:
    templates = (
        "; its templates.yaml is missing or has none that is used" if benchmark == "promptsource" else ""
    )
    return f"no split is present{templates}"


def _row(
    benchmark: str,
    task: str,
    state: str,
    *,
    category: str = "",
    templates: int = UNKNOWN,
    examples: int = UNKNOWN,
    note: str = "",
) -> Listed:
    known = known_tasks.lookup(benchmark, task)
    if known is not None and known.same_as:
        note = "; ".join(filter(None, (f"the same data as {known.same_as}", note)))
    return Listed(
        benchmark=benchmark,
        task=task,
        state=state,
        category=category or category_of(benchmark, task),
        role=_role(known),
        level=(known.level if known else "") or "-",
        templates=templates,
        examples=examples,
        note=note,
    )


def _role(known: KnownTask | None) -> str:
    if known is None:
        return "-"
    return "duplicate" if known.same_as else known.role or "held back"


def render(rows: Iterable[Listed], not_read: Mapping[str, Mapping[Path, str]] | None = None) -> str:
    """Tab-separated text with a header, then the files not read and one summary line (``# ...`` all)."""
    return "\n".join(_lines(tuple(rows), not_read or {})) + "\n"


def _lines(rows: tuple[Listed, ...], not_read: Mapping[str, Mapping[Path, str]]) -> Iterator[str]:
    yield "\t".join(("task", "state", "category", "role", "level", "templates", "examples", "note"))
    for row in rows:
        counts = ("-" if number == UNKNOWN else str(number) for number in (row.templates, row.examples))
        columns = (
            f"{row.benchmark}:{row.task}",
            row.state,
            row.category,
            row.role,
            row.level,
            *counts,
            row.note,
        )
        yield "\t".join(map(one_line, columns))
    yield from unused_files.lines(not_read)
    states = collections.Counter(row.state for row in rows)
    bench = sum(row.state == PRESENT and row.role not in ("-", "duplicate") for row in rows)
    yield (
        f"# {len(rows)} tasks: " + ", ".join(f"{states[state]} {state}" for state in STATES) + "; "
        f"{bench} of the {len(known_tasks.max_set())} of OPT-IML Bench present"
    )
