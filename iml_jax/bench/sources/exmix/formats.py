"""What the readers of ExMix's datasets share: files of a task, and what a row becomes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.base import Item, Outcome
from iml_jax.bench.sources.formats.records import json_records
from iml_jax.foundation.errors import UserError
from iml_jax.storage.json_stream import open_json
from iml_jax.storage.reading import parse_json, read_text

_JSON_LIMIT = 1 << 26  # bytes; the largest of these files, CLINC150's, has 2 MB
NO_LABEL = "no label"
NO_TEXT = "empty text"
# How public file names call their splits, besides the three names themselves.
SPLIT_WORDS = {
    "train": "train",
    "development": "train",  # GAP's name for what systems are developed on; it has a validation set too
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "eval": "validation",
    "dev": "validation",
    "test": "test",
    "tests": "test",
    "gen": "test",  # COGS: the test of generalization
}


@dataclasses.dataclass(frozen=True)
class TaskFiles:
    """The files of one task.

    Attributes:
      folder: the task's folder.
      rows: path -> split, of every file with rows; "" where the file itself says the split of its rows.
      side: files that the rows need: labels, vocabularies, schemas.
    """

    folder: Path
    rows: dict[Path, str]
    side: tuple[Path, ...] = ()

    def beside(self, name: str) -> Path | None:
        """The side file of a name relative to the folder, plain or ``.gz``; None if there is none."""
        for path in self.side:
            if path.relative_to(self.folder).as_posix().removesuffix(".gz") == name:
                return path
        return None

    def needed(self, name: str, path: Path) -> Path:
        """As ``beside``.

        Raises:
          UserError: ``path`` needs it and it is not there.
        """
        if (found := self.beside(name)) is None:
            raise UserError(f"{path}: needs {self.folder / name}, which is missing; put it there")
        return found


# (files of the task, file, split) -> what comes of its rows of that split.
Reader = Callable[[TaskFiles, Path, str], Iterator[Outcome]]


@dataclasses.dataclass(frozen=True)
class Format:
    """One dataset format: a row of ``formats.tsv``, whose ``reader`` names one of a module's ``READERS``.

    Attributes:
      files: names of files with rows, relative to the task's folder and without ``.gz``; the group ``split``
        is one of ``SPLIT_WORDS``; a name without one is of a test set.
      read: the reader of a file.
      metric: how the answers are scored, one of ``data.terms.METRICS``.
      side: names of files that rows need.
      by_row: the files hold all three splits, and each row says its own (``splits`` is ``by row``).
      hides: the test files may come without labels (``test_labels`` is ``may be hidden``).
    """

    files: re.Pattern[str]
    read: Reader
    metric: str
    side: re.Pattern[str] | None
    by_row: bool
    hides: bool


def plain(path: Path) -> str:
    """A file's name without ``.gz``."""
    return path.name.removesuffix(".gz")


def load_json(path: Path, kind: type) -> Any:
    """A whole JSON file.

    Raises:
      UserError: malformed, larger than 64 MiB, or not of this kind.
    """
    content = parse_json(read_text(path, _JSON_LIMIT), path, halves=True)
    if not isinstance(content, kind):
        raise UserError(
            f"{path}: holds a {type(content).__name__}, not a {kind.__name__}; is it the right file?"
        )
    return content


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of a file that is one JSON list, of any size; too long ones are dropped.

    Raises:
      UserError: malformed, no list, or an element is no object.
    """
    with open_json(path) as text:
        is_list = text.peek() == "["
    if not is_list:
        load_json(path, list)  # which says what it is
    for row in json_records(path):
        yield row.number, row.values


def objects(values: Any, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of a list of JSON objects.

    Raises:
      UserError: an element is no object.
    """
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise UserError(f"{path}: element {number} is a {type(value).__name__}, not an object; fix it")
        yield number, value


def text_of(row: Any, key: str, place: str) -> str:
    """A text field, stripped.

    Raises:
      UserError: it is missing or no text.
    """
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise UserError(f"{place}: {key!r} is missing or no text; fix the row")
    return value.strip()


def list_of(row: Any, key: str, place: str) -> list[Any]:
    """A list field; empty where the field is missing.

    Raises:
      UserError: it is no list.
    """
    value = row.get(key, []) if isinstance(row, dict) else None
    if not isinstance(value, list):
        raise UserError(f"{place}: {key!r} is no list; fix the row")
    return value


def chosen(choices: Iterable[str], answer: int | None, lines: Iterable[str]) -> Item | str:
    """A multiple-choice item: the lines, then a list of the choices; the target is the choice itself.

    Args:
      choices: what there is to choose from.
      answer: index of the right one; None where the row has no label.
      lines: the input before the choices; empty ones are left out.
    """
    options = tuple(choice.strip() for choice in choices)
    if answer is None:
        return NO_LABEL
    if not all(options):
        return "empty choice"
    if not 0 <= answer < len(options):
        return "label is no choice"
    shown = [line for line in lines if line] + ["Choices:"] + [f"- {option}" for option in options]
    return Item("\n".join(shown), (options[answer],), tuple(dict.fromkeys(options)))


def slots_text(slots: Iterable[tuple[str, str]]) -> str:
    """``slot: value; slot: value``, or ``none``."""
    return "; ".join(f"{slot}: {value}" for slot, value in slots) or "none"


def spans_of(tokens: Iterable[str], tags: Iterable[str]) -> list[tuple[str, str]]:
    """(type, words) of every BIO span, in order; an I- tag that continues nothing starts a span."""
    spans: list[tuple[str, list[str]]] = []
    before = ""
    for token, tag in zip(tokens, tags, strict=True):
        mark, _, kind = tag.partition("-")
        if mark == "B" or (mark == "I" and kind != before):
            spans.append((kind, [token]))
        elif mark == "I":
            spans[-1][1].append(token)
        before = kind if mark in ("B", "I") else ""
    return [(kind, " ".join(words)) for kind, words in spans]
