"""Tables that come with the package: TSV files whose first line names the columns."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

Row = TypeVar("Row")


@functools.cache
def rows(path: Path) -> tuple[Mapping[str, str], ...]:
    """The rows of a table, column -> cell, in the order of the file; a quote is a character like others."""
    with path.open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


@functools.cache
def read(path: Path, row: Callable[..., Row]) -> tuple[Row, ...]:
    """The rows of a table as objects, in the order of the file; each table is read once per process.

    Args:
      path: of the table.
      row: what makes an object of the cells, given by the names of their columns: a dataclass with these
        fields, or a function.
    """
    return tuple(row(**cells) for cells in rows(path))
