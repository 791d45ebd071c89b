"""Files that hold the prompts of many tasks in mixed order: which rows are whose, and reading one task's.

A file is scanned once per process. Of JSON Lines that is all of it, and later reads jump to the rows
of a task (in a ``.gz`` file by unpacking what is between them). Of Parquet it is the columns with the tasks'
names, and later reads skip the row groups without rows of the task.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import LongRow, drop, is_long
from iml_jax.bench.sources.formats.files import is_name
from iml_jax.bench.sources.formats.parquet import open_parquet
from iml_jax.bench.sources.formats.records import Record
from iml_jax.foundation.errors import UserError
from iml_jax.storage.json_stream import TOO_LONG, JsonStream
from iml_jax.storage.reading import LINE_LIMIT, decode_utf8, open_binary, parse_json

COLUMNS = ("inputs", "targets", "task_name")
_SOURCE, _KIND = "task_source", "template_type"
_NAMES = ("task_name", "task")  # the first is FLAN's, the second Muennighoff's
_TEMPLATES = re.compile(r"_\d+templates$")
_BATCH = 512  # rows of Parquet held as Python objects


@dataclasses.dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A row: prompt, target, and ``zs_opt``, ``zs_noopt``, ``fs_opt``, ``fs_noopt`` or nothing."""

    inputs: str
    targets: str
    template_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class TaskRows:
    """The rows of one task in a file.

    Attributes:
      name: the task, as the file has it.
      source: the ``task_source`` of the first one; empty where there is no such column.
      places: of JSON Lines byte offsets, of Parquet row groups.
      numbers: of JSON Lines the lines, from 1, one for each offset.
    """

    name: str
    source: str
    places: array.array[int]
    numbers: array.array[int]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskIndex:
    """What is in a file: the column of its tasks' names, and task (without "_10templates") -> rows."""

    column: str
    tasks: dict[str, TaskRows]


def is_collected(path: Path) -> bool:
    """Whether the first row of a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file has a collection's columns.

    Raises:
      UserError: it cannot be read.
    """
    return _columns(path, *_state(path)) is not None


def index_of(path: Path) -> TaskIndex:
    """Which rows are whose.

    Raises:
      UserError: a row is malformed.
    """
    return _index(path, *_state(path))


def prompts(path: Path, index: TaskIndex, task: str) -> Iterator[tuple[int, RenderedPrompt]]:
    """Streams (line, or row from 1; prompt) of a task's rows, in the order of the file.

    Rows that are too long are dropped.

    Raises:
      UserError: a row is malformed; names it.
    """
    read = _parquet_rows if path.suffix == ".parquet" else _json_rows
    for number, row in read(path, index, task):
        if is_long(row):
            drop(path, number)
        else:
            yield number, _prompt(Record(f"{path}:{number}", number, row))


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its rights"
        ) from error
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _columns(path: Path, size: int, changed: int) -> str | None:
    """The column of the tasks' names, None where the file is no collection's."""
    del size, changed
    names: set[str] = set()
    if path.suffix == ".parquet":
        with open_parquet(path) as file:
            names = set(file.schema_arrow.names)
    else:
        for offset, number, row in _json_lines(path):
            names = set(_short_texts(path, offset) if row is None else _object(row, path, number))
            break
    if not names.issuperset(COLUMNS[:2]):
        return None
    return next((name for name in _NAMES if name in names), None)


@functools.lru_cache(maxsize=64)
def _index(path: Path, size: int, changed: int) -> TaskIndex:
    column = _columns(path, size, changed)
    if column is None:
        raise UserError(f"{path}: has not the columns {', '.join(COLUMNS)}; is it a collection's file?")
    found = _parquet_places(path, column) if path.suffix == ".parquet" else _json_places(path, column)
    tasks: dict[str, TaskRows] = {}
    for name, source, place, number in found:
        rows = tasks.get(name)
        if rows is None:
            rows = tasks[name] = TaskRows(name, source, array.array("Q"), array.array("Q"))
        rows.places.append(place)
        if number:
            rows.numbers.append(number)
    return TaskIndex(column, {_TEMPLATES.sub("", name): rows for name, rows in tasks.items()})


def _json_lines(path: Path) -> Iterator[tuple[int, int, str | None]]:
    """(byte offset, line, text) of every line that is not blank; None stands for one above ``LINE_LIMIT``."""
    with open_binary(path) as stream:
        offset = number = 0
        while line := stream.readline(LINE_LIMIT + 1):
            number += 1
            start, text = offset, _decoded(line, path, number)
            offset += len(line)
            while text is None and line and not line.endswith(b"\n"):
                line = stream.readline(LINE_LIMIT)
                offset += len(line)
            if text != "":
                yield start, number, text


def _decoded(line: bytes, path: Path, number: int) -> str | None:
    return None if len(line) > LINE_LIMIT else decode_utf8(line, path, number).strip()


def _short_texts(path: Path, offset: int) -> dict[str, Any]:
    """The values of the object that begins at an offset, without those that are too long."""
    with open_binary(path) as stream:
        stream.seek(offset)
        text = JsonStream(stream, path)
        read = ((key, text.value()) for key in text.members())
        return {key: value for key, value in read if value is not TOO_LONG}


def _object(text: str | None, path: Path, number: int) -> dict[str, Any]:
    if text is None:
        return LongRow()
    row = parse_json(text, path, number, halves=True)
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: a {type(row).__name__}; each line must be a JSON object")
    return row


def _json_places(path: Path, column: str) -> Iterator[tuple[str, str, int, int]]:
    for offset, number, text in _json_lines(path):
        row = _short_texts(path, offset) if text is None else _object(text, path, number)
        yield _name(row.get(column), f"{path}:{number}", column), str(row.get(_SOURCE) or ""), offset, number


def _name(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise UserError(f"{place}: {column!r} must be the name of a task; fix or remove the row")
    return value


def _json_rows(path: Path, index: TaskIndex, task: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = index.tasks[task]
    with open_binary(path) as stream:
        for offset, number in zip(rows.places, rows.numbers, strict=True):
            stream.seek(offset)
            yield number, _object(_decoded(stream.readline(LINE_LIMIT + 1), path, number), path, number)


def _parquet_places(path: Path, column: str) -> Iterator[tuple[str, str, int, int]]:
    with open_parquet(path) as file:
        columns = [column, *({_SOURCE} & set(file.schema_arrow.names))]
        row_number = 0
        for group in range(file.num_row_groups):
            seen: dict[str, str] = {}
            for batch in file.iter_batches(row_groups=[group], columns=columns, batch_size=65_536):
                names = batch.column(column).to_pylist()
                sources = batch.column(_SOURCE).to_pylist() if len(columns) > 1 else [""] * len(names)
                for name, source in zip(names, sources, strict=True):
                    row_number += 1
                    seen.setdefault(_name(name, f"{path}:{row_number}", column), str(source or ""))
            yield from ((name, source, group, 0) for name, source in seen.items())


def _parquet_rows(path: Path, index: TaskIndex, task: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = index.tasks[task]
    wanted = collections.deque(rows.places)
    with open_parquet(path) as file:
        optional = {_KIND} & set(file.schema_arrow.names)
        columns = [*COLUMNS[:2], index.column, *optional]
        first = 0
        for group in range(file.num_row_groups):
            if wanted and wanted[0] == group:
                wanted.popleft()
                number = first
                for batch in file.iter_batches(row_groups=[group], columns=columns, batch_size=_BATCH):
                    for place, name in enumerate(batch.column(index.column).to_pylist(), start=number + 1):
                        if name == rows.name:
                            yield place, batch.slice(place - number - 1, 1).to_pylist()[0]
                    number += batch.num_rows
            first += file.metadata.row_group(group).num_rows


def _prompt(row: Record) -> RenderedPrompt:
    texts = [row.values.get(column) for column in COLUMNS[:2]]
    for column, text in zip(COLUMNS, texts, strict=False):
        if not isinstance(text, str):
            raise row.error(f"{column!r} must be a text")
    return RenderedPrompt(str(texts[0]), str(texts[1]), str(row.values.get(_KIND) or ""))
