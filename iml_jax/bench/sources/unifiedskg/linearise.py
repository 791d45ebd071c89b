"""Structured knowledge as one line of text, as UnifiedSKG's ``seq2seq_construction`` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Between an utterance and those before it, the latest first (UnifiedSKG utils/dataset.py).
TURNS = " || "
EARLIER = " | "
CUT = " ..."
_WORD = re.compile(r"(?<!['\"])\b\w+\b(?!['\"])")
# Where a structure may end when it is cut: before a row, else after a field, else between words.
_SEAMS = (re.compile(r" (?=row \d+ : )"), re.compile(r" (?=\| )"), re.compile(r"(?<=;) "), re.compile(r" "))


def cell(value: Any) -> str:
    """A table's cell as text on one line; JSON's null is an empty cell."""
    return "" if value is None else " ".join(str(value).split())


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """``col : h1 | h2 row 1 : a | b row 2 : ...`` (UnifiedSKG utils/processor/table_linearize.py)."""
    lines = ["col : " + " | ".join(map(cell, header))]
    lines += [f"row {number} : " + " | ".join(map(cell, row)) for number, row in enumerate(rows, 1)]
    return " ".join(lines).strip()


def triples(triples: Iterable[Sequence[str]]) -> str:
    """``subject : relation : object | ...`` (UnifiedSKG dart.py)."""
    return " | ".join(" : ".join(triple) for triple in triples)


def schema(database: str, tables: Iterable[tuple[str, Iterable[tuple[str, Sequence[str]]]]]) -> str:
    """``| database | table : column , column ( value , value ) | ...`` (Shaw et al.; UnifiedSKG spider.py).

    Args:
      database: its id, kept as it is.
      tables: name and (column, values to show) of each; names become lower case.
    """
    parts = [f"| {database}"]
    for name, columns in tables:
        shown = (
            f"{column.lower()} ( {' , '.join(values)} )" if values else column.lower()
            for column, values in columns
        )
        parts.append(f"| {name.lower()} : {' , '.join(shown)}")
    return " ".join(parts)


def sql(query: str) -> str:
    """A query with single spaces, none before commas, in lower case but for words that touch a quote.

    It agrees with UnifiedSKG's ``normalize`` (spider.py), whose test for quotes looks at one character: of
    'New York City' only the middle word becomes lower case.
    """
    lowered = _WORD.sub(lambda match: match[0].lower(), query)
    return " ".join(lowered.split()).replace(" , ", ", ")


def conversation(utterances: Sequence[str], *, always: bool = False) -> str:
    """``latest || the one before | the one before that | ...``.

    Args:
      utterances: in the order in which they were said.
      always: write the separator even where there is no earlier utterance, as some tasks do.
    """
    *earlier, latest = (utterance.strip() for utterance in utterances)
    if not earlier and not always:
        return latest
    return latest + TURNS + EARLIER.join(reversed(earlier))


def highlighted(
    cells: Sequence[Sequence[Mapping[str, Any]]],
    indices: Iterable[Sequence[int]],
    page_title: str,
    section_title: str,
) -> str:
    """The highlighted cells of a ToTTo table with their headers (UnifiedSKG totto.py).

    A cell's column headers are the header cells above it that share a column with it, its row headers those
    to its left.

    Args:
      cells: rows of {value, is_header, column_span, ...}.
      indices: (row, place in the row) of the highlighted cells, in the order to write them.
      page_title: written where it is not empty, as ``section_title``.

    Raises:
      IndexError: there is no such cell.
    """
    spans = [_columns(row) for row in cells]
    parts = [f"<page_title> {page_title} </page_title>"] if page_title else []
    parts += [f"<section_title> {section_title} </section_title>"] if section_title else []
    parts.append("<table>")
    for row, place in indices:
        if row < 0 or place < 0:
            raise IndexError((row, place))
        first, end = spans[row][place]
        parts += ["<cell>", cells[row][place]["value"]]
        for above, above_spans in zip(cells[:row], spans[:row], strict=True):
            for other, (start, stop) in zip(above, above_spans, strict=True):
                if other["is_header"] and start < end and stop > first:
                    parts += ["<col_header>", other["value"], "</col_header>"]
        for other in cells[row][:place]:
            if other["is_header"]:
                parts += ["<row_header>", other["value"], "</row_header>"]
        parts.append("</cell>")
    return " ".join([*parts, "</table>"])


def _columns(row: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """[first column, column after the last) of each cell."""
    columns, at = [], 0
    for each in row:
        columns.append((at, at + each["column_span"]))
        at += each["column_span"]
    return columns


def cut(structure: str, limit: int) -> str:
    """At most ``limit`` characters of a structure, then ``CUT``; the whole where it is no longer.

    It ends before a table row where one begins in the second half of what fits, else after a field, else
    between words.

    Args:
      structure: one line.
      limit: characters; 0 cuts nothing.
    """
    if not limit or len(structure) <= limit:
        return structure
    for seam in _SEAMS:
        ends = [match.start() for match in seam.finditer(structure, limit // 2, limit + 1)]
        if ends:
            return structure[: ends[-1]] + CUT
    return structure[:limit] + CUT
