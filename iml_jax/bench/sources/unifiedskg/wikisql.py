"""WikiSQL from its own files: the answer is what the annotated query gives (weak supervision).

The answers agree with TaPas' ``wikisql_utils.py``, which UnifiedSKG's loader runs: numbers are written as
Python writes floats, a query that selects nothing has the answer ``none``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import bounded_lines
from iml_jax.bench.sources.unifiedskg import linearise
from iml_jax.bench.sources.unifiedskg.files import records, required, side_named
from iml_jax.bench.sources.unifiedskg.items import Item, Outcome, Request, distinct
from iml_jax.bench.sources.unifiedskg.tables import ANSWERS, NO_TABLE
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import FILE_LIMIT, parse_json

NOTHING = "none"
MAXIMUM, MINIMUM, COUNT, SUM, AVERAGE = range(1, 6)  # WikiSQL's aggregations; 0 is none
_COMPARE: tuple[Callable[[Any, Any], bool], ...] = (
    lambda one, other: one == other,
    lambda one, other: one > other,
    lambda one, other: one < other,
)
_TOKEN = re.compile(r"\w+|[^\w\s]+")


def wikisql(request: Request) -> Iterator[Outcome]:
    """``SPLIT.jsonl`` with question, table_id and sql beside ``SPLIT.tables.jsonl``."""
    stem = request.path.name.partition(".")[0]
    tables = _Tables(side_named(request.files, f"{stem}.tables.jsonl"), request.path)
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        question, name = (required(row, key, str, place) for key in ("question", "table_id"))
        query = required(row, "sql", dict, place)
        if (table := tables.get(name)) is None:
            yield str(number), NO_TABLE
            continue
        try:
            answers = answer(table, query)
        except (ValueError, TypeError, LookupError):
            yield str(number), "query that cannot be run on its table"
            continue
        struct = linearise.table(table["header"], table["rows"])
        yield (
            str(number),
            Item(question.lower(), struct.lower(), distinct(ANSWERS.join(answers).lower())),
        )


class _Tables:
    """Tables by id, held as lines of JSON; the last one parsed is kept."""

    def __init__(self, paths: Sequence[Path], beside: Path) -> None:
        if not paths:
            stem = beside.name.partition(".")[0]
            raise UserError(f"{beside}: needs {stem}.tables.jsonl in the folder of its task")
        self._lines: dict[str, tuple[str, str]] = {}
        self._last: tuple[str, dict[str, Any]] | None = None
        held = 0
        for path in paths:
            for number, line in bounded_lines(path):
                if line.strip():
                    place = f"{path}:{number}"
                    held += len(line)
                    if held > FILE_LIMIT:
                        raise UserError(
                            f"{place}: more than {FILE_LIMIT} characters of tables; split the file"
                        )
                    table = parse_json(line, path, number, halves=True)
                    if not isinstance(table, dict):
                        raise UserError(f"{place}: a {type(table).__name__}; each line must be a JSON object")
                    self._lines[_checked(table, place)] = place, line

    def get(self, name: str) -> dict[str, Any] | None:
        if self._last is None or self._last[0] != name:
            if name not in self._lines:
                return None
            place, line = self._lines[name]
            self._last = name, parse_json(line, place, halves=True)
        return self._last[1]


def _checked(table: Mapping[str, Any], place: str) -> str:
    """The id of a well-formed table."""
    header, rows, types = (required(table, key, list, place) for key in ("header", "rows", "types"))
    if len(types) != len(header) or not all(
        isinstance(row, list) and len(row) == len(header) for row in rows
    ):
        raise UserError(f"{place}: rows, header and types must have as many cells; fix or remove the table")
    return required(table, "id", str, place)


def answer(table: Mapping[str, Any], query: Mapping[str, Any]) -> list[str]:
    """What a WikiSQL query gives.

    Args:
      table: header, types (``text`` or ``real``) and rows.
      query: sel (column), agg (see ``MAXIMUM`` and so on) and conds, [column, operator, value] each.

    Raises:
      ValueError, TypeError, LookupError: the query does not fit the table.
    """
    selected, aggregation, types = query["sel"], query["agg"], table["types"]
    typed = [[_typed(kind, cell) for kind, cell in zip(types, row, strict=True)] for row in table["rows"]]
    conditions = [
        (column, operator, _typed(types[column], value)) for column, operator, value in query["conds"]
    ]
    kept = [
        number
        for number, row in enumerate(typed)
        if all(_holds(row[column], operator, value) for column, operator, value in conditions)
    ]
    values = [typed[number][selected] for number in kept]
    if len(kept) > 1 and aggregation in (MAXIMUM, MINIMUM):
        best = (max if aggregation == MAXIMUM else min)((value, place) for place, value in enumerate(values))
        kept, values, aggregation = [kept[best[1]]], [best[0]], 0
    if aggregation in (MAXIMUM, MINIMUM):
        aggregation = 0
    if not kept:
        return [str(0.0) if aggregation == COUNT else NOTHING]
    if aggregation == COUNT:
        return [str(float(len(kept)))]
    if len(kept) == 1:
        try:
            return [str(number_of(values[0]))]
        except ValueError:
            if aggregation:
                raise
    if aggregation and all(isinstance(value, float) for value in values):
        return [str(sum(values) if aggregation == SUM else sum(values) / len(values))]
    return [str(table["rows"][number][selected]) for number in kept]


def _typed(kind: str, value: Any) -> str | float:
    if kind == "real":
        return number_of(value)
    if kind != "text":
        raise ValueError(kind)
    return str(value)


def _holds(value: str | float, operator: int, against: str | float) -> bool:
    if isinstance(value, str) and isinstance(against, str):
        return _COMPARE[operator](_TOKEN.findall(value.lower()), _TOKEN.findall(against.lower()))
    return _COMPARE[operator](value, against)


def number_of(value: Any) -> float:
    """A cell as a number: ``1,000.7``, ``1,000``, ``5,5556`` (a decimal comma), ``0.0.0.1`` (no points).

    Raises:
      ValueError: it is none.
    """
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        raise ValueError(value)
    commas = value.count(",")
    if commas == 1 and "." not in value and not any(len(part) == 3 for part in value.split(",")):
        return float(value.replace(",", "."))
    if commas:
        return float(value.replace(",", ""))
    return float(value.replace(".", "")) if value.count(".") > 1 else float(value)
