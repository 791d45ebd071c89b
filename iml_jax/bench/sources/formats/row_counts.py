"""Counts the rows of files without making examples of them."""

from __future__ import annotations

import re
from pathlib import Path

from iml_jax.bench.sources.formats.copies import TABLES
from iml_jax.bench.sources.formats.separated import csv_lines
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.reading import open_binary, parse_json, read_text

_BUDGET = 1 << 30  # bytes that one count reads of all files together
_TEXT_LIMIT = 1 << 26  # bytes of a file that is read for it
_JSON_LIMIT = 1 << 24
_LISTS = ("Instances", "examples")  # where tasks in one JSON file have their rows
_RECORDS = re.compile(r".*\.tfrecord-\d{5}-of-\d{5}")
_HEAD, _FOOT = 12, 4  # bytes around a record: its length and that one's checksum; its checksum


class RowCounter:
    """Counts rows of files until it has read ``budget`` bytes; Parquet and Arrow files state theirs."""

    def __init__(self, budget: int = _BUDGET) -> None:
        """``budget``: bytes of text, packed as they are on disk, and of TFRecord files."""
        self._budget = budget

    def count(self, path: Path, *, header: bool | None) -> int | None:
        """The rows of a file: 0 where it holds no table; None where its rows were not counted.

        Not counted are files that are malformed or too large, and CSV and TSV where ``header`` is None.

        Args:
          path: the file.
          header: whether the first row of a CSV or TSV file names its columns; None where that is unknown.
        """
        kind = path.name.removesuffix(".gz").rpartition(".")[2]
        if not path.is_file() or not (kind in (*TABLES, "arrow") or _RECORDS.fullmatch(path.name)):
            return 0
        try:
            if kind in ("parquet", "arrow"):
                return None if path.suffix == ".gz" else _stated(path, kind)
            size = path.stat().st_size
            if size > min(self._budget, _TEXT_LIMIT):
                return None
            self._budget -= size
            return self._read(path, kind, header)
        except (UserError, Fault, OSError):
            return None

    def _read(self, path: Path, kind: str, header: bool | None) -> int | None:
        if kind in ("csv", "tsv"):
            if header is None:
                return None
            return max(0, sum(1 for _ in csv_lines(path, tabs=kind == "tsv")) - header)
        if kind == "jsonl":
            return _lines(path)
        if kind == "json":
            return _json(path)
        return _tfrecords(path)

    def count_all(self, path: Path, *, header: bool | None) -> tuple[int, bool]:
        """The rows of a file, or of every file below a folder, and whether all of them were counted."""
        if not path.is_dir():
            rows = self.count(path, header=header)
            return rows or 0, rows is not None
        found = [self.count(file, header=header) for file in sorted(path.rglob("*")) if file.is_file()]
        return sum(rows or 0 for rows in found), None not in found


def _stated(path: Path, kind: str) -> int | None:
    import pyarrow
    from pyarrow import parquet

    try:
        if kind == "parquet":
            return int(parquet.read_metadata(path).num_rows)
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
            return sum(batch.num_rows for batch in stream)
    except (pyarrow.ArrowException, OSError, ValueError):
        return None


def _lines(path: Path) -> int:
    """Lines that are not blank."""
    with open_binary(path) as stream:
        return sum(not line.isspace() for line in stream)


def _json(path: Path) -> int | None:
    """A list's objects, the objects under one of ``_LISTS``, or lines with an object each."""
    text = read_text(path, _JSON_LIMIT)
    try:
        content = parse_json(text, path, halves=True)
    except UserError:
        rows = [parse_json(line, path, halves=True) for line in text.split("\n") if line.strip()]
        return len(rows) if all(isinstance(row, dict) for row in rows) else None
    if isinstance(content, dict):
        content = next((content[key] for key in _LISTS if isinstance(content.get(key), list)), [])
    rows = content if isinstance(content, list) else []
    return len(rows) if all(isinstance(row, dict) for row in rows) else 0


def _tfrecords(path: Path) -> int | None:
    """Records of a file, by their lengths; None where it ends inside of one."""
    size, place, rows = path.stat().st_size, 0, 0
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            length = int.from_bytes(stream.read(8), "little")
            place += _HEAD + length + _FOOT
            rows += 1
    return rows if place == size else None
