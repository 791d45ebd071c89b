"""Rows of a dataset file as mappings: JSON, JSONL, CSV, TSV or Parquet, plain or ``.gz``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import ROW_CHARACTERS, LongRow, drop, is_long
from iml_jax.bench.sources.formats.parquet import parquet_rows
from iml_jax.bench.sources.formats.records import Record, json_rows
from iml_jax.bench.sources.formats.separated import named_cells
from iml_jax.foundation.errors import UserError

Row = dict[str, Any]
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_REAL = re.compile(r"-?\d{1,300}\.\d{1,300}([eE][-+]?\d{1,3})?")


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """As ``located_rows``, without the rows that are too long, which are dropped (``bounds``).

    Raises:
      UserError: as ``located_rows``.
    """
    for number, row in located_rows(path):
        if is_long(row):
            drop(path, number)
        else:
            yield number, row


def read_records(path: Path) -> Iterator[Record]:
    """As ``read_rows``, each row as a ``Record`` with its place in the file.

    Raises:
      UserError: as ``located_rows``.
    """
    for number, row in read_rows(path):
        yield Record(f"{path}:{number}", number, row)


def table_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """As ``located_rows``, of a table that says what tasks there are: none of its rows may be left out.

    Raises:
      UserError: as ``located_rows``, or a row is too long.
    """
    for number, row in located_rows(path):
        if is_long(row):
            raise UserError(f"{path}:{number}: a row of more than {ROW_CHARACTERS} characters; fix the table")
        yield number, row


def located_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Streams (number, row) of a file; ``LongRow`` stands for a row of text too long to be parsed.

    The number is the line for text formats (CSV: where the row starts) and the row from 1 for Parquet and a
    JSON list. A ``.json`` file is a list of objects, or lines as ``.jsonl``.
    CSV has a header and standard quoting. TSV has a header and no quoting, as its media type says. Their
    cells are text; a column becomes int or float where every cell that is not empty is one (as
    ``datasets`` would read it), and its empty cells become None.

    Raises:
      UserError: unknown format, or malformed; names file, place and remedy.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    match kind:
        case "jsonl" | "json":
            yield from ((number, row) for number, _, row in json_rows(path))
        case "csv" | "tsv":
            yield from _separated(path, kind)
        case "parquet":
            yield from parquet_rows(path)
        case _:
            raise UserError(
                f"{path}: unknown format; use .jsonl, .json, .csv, .tsv or .parquet (or .gz of it)"
            )


def _separated(path: Path, kind: str) -> Iterator[tuple[int, Row]]:
    kinds: dict[str, type] = {}
    for _, cells in named_cells(path, tabs=kind == "tsv"):
        for column, cell in (cells or {}).items():
            kinds[column] = _wider(kinds.get(column, int), cell)
    for number, cells in named_cells(path, tabs=kind == "tsv"):
        if cells is None:
            yield number, LongRow()
            continue
        yield (
            number,
            {
                column: cell if (made := kinds[column]) is str else made(cell) if cell else None
                for column, cell in cells.items()
            },
        )


def _wider(known: type, cell: str) -> type:
    """The narrowest of int, float, str that holds ``cell`` and what the column had so far."""
    if known is str or not cell:
        return known
    if known is int and _INTEGER.fullmatch(cell):
        return int
    return float if _REAL.fullmatch(cell) or _INTEGER.fullmatch(cell) else str
