"""Rows of a dataset file as mappings: JSON, JSONL, CSV, TSV or Parquet, plain or ``.gz``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import ROW_CHARACTERS, LongRow, drop, is_long
from iml_jax.bench.sources.formats.records import json_rows
from iml_jax.bench.sources.formats.separated import csv_lines, header_of
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import FILE_LIMIT, open_binary, regular_file

Row = dict[str, Any]
_BATCH_BYTES = 1 << 25
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
            yield from _parquet(path)
        case _:
            raise UserError(
                f"{path}: unknown format; use .jsonl, .json, .csv, .tsv or .parquet (or .gz of it)"
            )


def _separated(path: Path, kind: str) -> Iterator[tuple[int, Row]]:
    kinds: dict[str, type] = {}
    for _, cells in _cells(path, kind):
        for column, cell in cells.items():
            kinds[column] = _wider(kinds.get(column, int), cell)
    for number, cells in _cells(path, kind):
        if isinstance(cells, LongRow):
            yield number, cells
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


def _cells(path: Path, kind: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(first line, column -> text, or ``LongRow``) of each row under the header."""
    header: list[str] | None = None
    for start, fields in csv_lines(path, tabs=kind == "tsv"):
        if header is None:
            header = header_of(fields, path)
            if start > 1 or len(set(header)) != len(header) or not all(header):
                raise UserError(f"{path}:1: empty or repeated column names; the first line is the header")
            continue
        if fields is None:
            yield start, LongRow()
            continue
        if len(fields) != len(header):
            wanted = f"{len(fields)} cells, the header has {len(header)}"
            raise UserError(f"{path}:{start}: {wanted}; fix the row")
        yield start, dict(zip(header, fields, strict=True))


def rows_at_once(metadata: Any) -> int:
    """How many rows of a Parquet file to hold at a time: 256, fewer where a row is larger than usual."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(256, _BATCH_BYTES * metadata.num_rows // max(1, size)))


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow
    from pyarrow import parquet

    content = b""
    if path.suffix == ".gz":
        with open_binary(path) as stream:
            content = stream.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise UserError(
            f"{path}: more than {FILE_LIMIT} bytes; give it without .gz, Parquet compresses itself"
        )
    try:
        with parquet.ParquetFile(io.BytesIO(content) if content else regular_file(path)) as file:
            number = 0
            for batch in file.iter_batches(batch_size=rows_at_once(file.metadata)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: no readable Parquet file ({reason}); fetch it again") from error
