"""Rows with their place in a file, from JSON lines, JSON arrays and CSV, for sets published as raw files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import LongRow, drop, is_long
from iml_jax.bench.sources.formats.separated import named_cells
from iml_jax.foundation.errors import UserError
from iml_jax.storage.json_stream import TOO_LONG, elements, open_json
from iml_jax.storage.reading import LINE_LIMIT, parse_json, read_bounded_lines, read_text


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One JSON object, or one row of a table.

    Attributes:
      place: ``FILE:LINE`` or ``FILE: where``, for messages.
      number: its line, or its count from 1 in an array.
      values: what it holds.
    """

    place: str
    number: int
    values: dict[str, Any]

    def text(self, key: str, default: str | None = None) -> str:
        """A string, stripped; ``default`` where the key is missing or null.

        Raises:
          UserError: it is no string, or missing without a default.
        """
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.error(f"{key!r} must be a string, not {_kind(value)}")
        return value.strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, stripped; a single string counts as one, a missing key as none.

        Raises:
          UserError: it is neither.
        """
        value = self.values.get(key)
        if value is None:
            return ()
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key!r} must be a list of strings")
        return tuple(item.strip() for item in value)

    def items(self, key: str) -> list[Any]:
        """A list; empty where the key is missing or null.

        Raises:
          UserError: it is no list.
        """
        value = self.values.get(key)
        if not isinstance(value, list | None):
            raise self.error(f"{key!r} must be a list, not {_kind(value)}")
        return value or []

    def records(self, key: str) -> list[Record]:
        """A list of objects; empty where the key is missing or null.

        Raises:
          UserError: it is no list of objects.
        """
        return [self._inner(item, f"{key}[{index}]") for index, item in enumerate(self.items(key))]

    def record(self, key: str) -> Record:
        """An object.

        Raises:
          UserError: it is none, or missing.
        """
        return self._inner(self.values.get(key), key)

    def mapping(self, key: str) -> dict[str, Any]:
        """An object as a mapping; empty where the key is missing, null or an empty list (as PHP writes it).

        Raises:
          UserError: it is something else.
        """
        return self._inner(self.values.get(key) or {}, key).values

    def error(self, what: str) -> UserError:
        """What a reader raises of this row."""
        return UserError(f"{self.place}: {what}; fix or remove the row")

    def _inner(self, value: object, where: str) -> Record:
        if not isinstance(value, dict):
            raise self.error(f"{where!r} must be an object, not {_kind(value)}")
        return Record(f"{self.place}: {where}", self.number, value)


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def document(path: Path) -> Record:
    """A file that is one JSON object.

    Raises:
      UserError: it is not.
    """
    content = parse_json(read_text(path), path, halves=True)
    if not isinstance(content, dict):
        raise UserError(f"{path}: a {type(content).__name__}; the file must be one JSON object")
    return Record(f"{path}", 1, content)


def json_object(path: Path, limit: int = 1 << 24) -> dict[str, Any]:
    """A file of metadata of at most ``limit`` bytes that is one JSON object.

    Raises:
      UserError: it is not.
    """
    content = parse_json(read_text(path, limit), path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: a {type(content).__name__}; it must be a JSON object")
    return content


def head_of(path: Path, key: str) -> Record:
    """A file that is one JSON object, without the list that it has under a key (``listed``).

    Raises:
      UserError: it is no object, malformed, or has more than ``LINE_LIMIT`` characters beside the list.
    """
    head: dict[str, Any] = {}
    held = 0
    with open_json(path) as text:
        if text.peek() != "{":
            return document(path)  # which says what it is
        for name in text.members():
            if name == key:
                text.skip()
                continue
            start = text.position - len(name)
            head[name] = text.value()
            held += text.position - start
            if head[name] is TOO_LONG or held > LINE_LIMIT:
                what = f"more than {LINE_LIMIT} characters beside the list {key!r}"
                raise UserError(f"{path}:{text.line}: {what}; is it the right file?")
        text.end()
    return Record(f"{path}", 1, head)


def listed(path: Path, key: str, *, wanted: str = "") -> Iterator[Record]:
    """Streams the objects of a list that a file, one JSON object, has under a key; too long ones are dropped.

    The list may be of any size. The number of a record is its place in it, from 1. Of the other members only
    strings and brackets are checked.

    Args:
      path: the file.
      key: of the list.
      wanted: what the file should be, where a missing or empty list is an error.

    Raises:
      UserError: malformed, no list, there twice, or an element is no object; names the line or the element.
    """
    with open_json(path) as text:
        if text.peek() != "{":
            document(path)  # which says what it is
        there, index = False, -1
        for name in text.members():
            if name != key:
                text.skip()
                continue
            if there:
                raise UserError(f"{path}:{text.line}: a second {key!r}; remove one")
            there = True
            if text.peek() != "[":
                Record(f"{path}", 1, {key: text.value()}).items(key)  # refuses what is not null
                continue
            for index, (_, value) in enumerate(text.array()):
                place = f"{key}[{index}]"
                if isinstance(value, dict) and not is_long(value):
                    yield Record(f"{path}: {place}", index + 1, value)
                elif value is TOO_LONG or isinstance(value, dict):
                    drop(path, index)
                else:
                    raise Record(f"{path}", 1, {}).error(f"{place!r} must be an object, not {_kind(value)}")
        text.end()
    if wanted and index < 0:
        raise UserError(f"{path}: no list {key!r} with anything in it; is it {wanted}?")


def json_records(path: Path, *, cut_later: bool = False) -> Iterator[Record]:
    """Streams the objects of JSON lines or of one JSON array, as ``json_rows``; too long ones are dropped.

    Args:
      path: the file.
      cut_later: the objects hold whole documents, which are cut into examples afterwards: only those that
        are too long to be parsed are dropped.

    Raises:
      UserError: malformed, or an element is no object; names the line.
    """
    for number, line, values in json_rows(path):
        if isinstance(values, LongRow) or (not cut_later and is_long(values)):
            drop(path, line)
        else:
            yield Record(f"{path}:{line}", number, values)


def json_rows(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Streams (number, line, object) of JSON lines or of one JSON array, as its first character says.

    The number is the line, or the count from 1 in an array. Only one object is held at a time; ``LongRow``
    stands for one of more than ``LINE_LIMIT`` bytes (of an array: characters).

    Raises:
      UserError: malformed, or an element is no object; names the line.
    """
    if _begins_with_bracket(path):
        for count, (line, value) in enumerate(elements(path), start=1):
            yield count, line, LongRow() if value is TOO_LONG else _checked(value, f"{path}:{line}")
        return
    for number, text in read_bounded_lines(path):
        if text is None:
            yield number, number, LongRow()
        elif text.strip():
            value = parse_json(text, path, number, halves=True)
            yield number, number, _checked(value, f"{path}:{number}")


def _begins_with_bracket(path: Path) -> bool:
    with open_json(path) as text:
        return text.peek() == "["


def _checked(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: a {type(value).__name__}; expected a JSON object")
    return value


def csv_records(path: Path) -> Iterator[Record]:
    """Streams the rows of a CSV file with a header, every cell as text; a column without a name is left out.

    Rows that are too long are dropped.

    Raises:
      UserError: malformed, or a column is there twice; names the line.
    """
    for number, values in named_cells(path, unnamed=True):
        if values is None or is_long(values):
            drop(path, number)
        else:
            yield Record(f"{path}:{number}", number, values)
