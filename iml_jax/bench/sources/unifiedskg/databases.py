"""Schemas and contents of the Spider family's databases: ``tables.json`` and ``database/ID/ID.sqlite``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.unifiedskg.files import required, side_named
from iml_jax.bench.sources.unifiedskg.values import matches
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import parse_json, read_text, regular_file

# A column with more distinct texts than this (names of a whole league) shows none of them.
VALUES_LIMIT = 50_000


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """A database's tables.

    Attributes:
      tables: (name, column names), as the database spells them, in its order.
    """

    tables: tuple[tuple[str, tuple[str, ...]], ...]


class Databases:
    """What is known of the databases that a task's rows name."""

    def __init__(self, side: Sequence[Path], *, values: bool) -> None:
        """Lists the databases; none is opened.

        Args:
          side: tables.json and SQLite files.
          values: show contents of the databases.

        Raises:
          UserError: a tables.json is malformed.
        """
        self._content = {path.stem: path for path in side_named(tuple(side), ".sqlite")}
        self._values = values
        self._schemas: dict[str, Schema] = {}
        for path in side_named(tuple(side), "tables.json"):
            for database, schema in _schemas(path):
                self._schemas.setdefault(database, schema)
        # Rows of one database come together: the texts of one are kept.
        self._read: tuple[Path, dict[tuple[str, str], tuple[str, ...]]] | None = None

    def __bool__(self) -> bool:
        return bool(self._schemas or self._content)

    def schema(self, database: str) -> Schema | None:
        """The schema of a database, from tables.json, else from its content; None where neither is there.

        Raises:
          UserError: its SQLite file cannot be read.
        """
        if database not in self._schemas and database in self._content:
            self._schemas[database] = _read_schema(self._content[database])
        return self._schemas.get(database)

    def described(self, database: str, request: str) -> list[tuple[str, list[tuple[str, Sequence[str]]]]]:
        """(table, [(column, its values that the request speaks of)]) of a known database.

        Without content, or where it is not to be shown, no column has values.

        Raises:
          UserError: its SQLite file cannot be read.
        """
        schema = self.schema(database)
        content = self._content.get(database) if self._values else None
        return [
            (table, [(column, self._found(content, table, column, request)) for column in columns])
            for table, columns in (schema.tables if schema else ())
        ]

    def _found(self, content: Path | None, table: str, column: str, request: str) -> Sequence[str]:
        if content is None:
            return ()
        if self._read is None or self._read[0] != content:
            self._read = content, {}
        texts = self._read[1]
        if (table, column) not in texts:
            texts[table, column] = _texts(content, table, column)
        return matches(request, texts[table, column], column)


def _schemas(path: Path) -> Iterator[tuple[str, Schema]]:
    content = parse_json(read_text(path), path, halves=True)
    if not isinstance(content, list):
        raise UserError(f"{path}: a {type(content).__name__}; tables.json is a list of schemas")
    for number, entry in enumerate(content, 1):
        place = f"{path}: schema {number}"
        if not isinstance(entry, dict):
            raise UserError(f"{place} is a {type(entry).__name__}; fix it")
        names = required(entry, "table_names_original", list, place)
        columns: list[list[str]] = [[] for _ in names]
        for column in required(entry, "column_names_original", list, place):
            table, name = _column(column, len(names), place)
            if table >= 0:  # -1 is the column "*"
                columns[table].append(name)
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"{place}: 'table_names_original' must be a list of strings; fix it")
        tables = zip(names, map(tuple, columns), strict=True)
        yield required(entry, "db_id", str, place), Schema(tuple(tables))


def _column(entry: Any, tables: int, place: str) -> tuple[int, str]:
    if isinstance(entry, list) and len(entry) == 2:
        table, name = entry
        if isinstance(table, int) and -1 <= table < tables and isinstance(name, str):
            return table, name
    raise UserError(f"{place}: column {entry!r} is not [number of its table, name]; fix it")


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing.

    Raises:
      UserError: it is no readable SQLite database, or lacks what its schema names.
    """
    address = f"file:{urllib.parse.quote(os.fsencode(regular_file(path).resolve()))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            connection.text_factory = bytes
            yield connection
    except sqlite3.Error as error:
        raise UserError(f"{path}: no readable SQLite database ({error}); fetch it again") from error


def _read_schema(path: Path) -> Schema:
    with _connected(path) as connection:
        names = [
            _text(name)
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not _text(name).startswith("sqlite_")  # SQLite's own
        ]
        return Schema(
            tuple(
                (
                    name,
                    tuple(_text(row[1]) for row in connection.execute(f"PRAGMA table_info({_quoted(name)})")),
                )
                for name in names
            )
        )


def _texts(path: Path, table: str, column: str) -> tuple[str, ...]:
    """The distinct texts of a column, sorted; nothing where there are more than ``VALUES_LIMIT``."""
    # SQLite takes a quoted name that is no column for a string: the table's prefix makes it an error.
    query = f"SELECT DISTINCT {_quoted(table)}.{_quoted(column)} FROM {_quoted(table)}"
    texts = set()
    with _connected(path) as connection:
        for (value,) in connection.execute(query):
            if isinstance(value, bytes):
                texts.add(_text(value))
                if len(texts) > VALUES_LIMIT:
                    return ()
    return tuple(sorted(texts))


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
