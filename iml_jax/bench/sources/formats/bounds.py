"""The bound on the size of a row in any format: longer rows are dropped and counted, never an error.

A row is too long if its texts have more than ``ROW_CHARACTERS`` characters together, or if it takes more than
``LINE_LIMIT`` bytes in its file, so that it is not even parsed; so is an example whose texts have more.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.example import Example
from iml_jax.foundation.printing import encodable
from iml_jax.storage.reading import LINE_LIMIT, read_bounded_lines

# A row of 2,048 tokens shows some ten thousand characters; the tokens of a row that is kept take about 160
# bytes of memory per character while it is prepared.
ROW_CHARACTERS = 1 << 20
LONG_ROW = f"row of more than {ROW_CHARACTERS} characters"
NOT_UNICODE = "text that is not valid Unicode"


@dataclasses.dataclass(frozen=True)
class _Count:
    """Where rows that readers leave out are counted, and which of them were: a file may be read twice.

    ``named``: the task that is read was asked for by name.
    """

    counter: collections.Counter[str]
    seen: set[tuple[str, int]]
    named: bool = False


_counting: contextvars.ContextVar[_Count | None] = contextvars.ContextVar("counting", default=None)


class LongRow(dict[str, Any]):
    """Stands for a row that was too long to be parsed, where rows are counted by their places."""


def text_length(value: Any) -> int:
    """Characters of every text in a row's value, however deep it is nested."""
    total, stack = 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return total


def is_long(row: Any) -> bool:
    """Whether a row is above the bound."""
    return isinstance(row, LongRow) or text_length(row) > ROW_CHARACTERS


def drop(path: Path, number: int) -> None:
    """Counts a row that a reader leaves out, once for ``Source.examples`` however often it is read.

    Where no examples are made (tasks are listed), rows are only inspected and not counted.

    Args:
      path: its file.
      number: its line or its number, as the reader has it.
    """
    leave_out(path, number, LONG_ROW)


def leave_out(path: Path, number: int, reason: str) -> None:
    """As ``drop``, for another reason; ``number`` is 0 where it is the file as a whole."""
    count = _counting.get()
    if count is not None and (place := (str(path), number)) not in count.seen:
        count.seen.add(place)
        count.counter[reason] += 1


def asked_by_name() -> bool:
    """Whether examples are made of a task that was asked for by name (``Source.asked_for``)."""
    count = _counting.get()
    return count is not None and count.named


@contextlib.contextmanager
def not_counted() -> Iterator[None]:
    """While rows of other splits are inspected (for the labels of a task), what is dropped is not counted."""
    token = _counting.set(None)
    try:
        yield
    finally:
        _counting.reset(token)


def bounded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """As ``read_lines``, for files with one row per line: lines above ``LINE_LIMIT`` bytes are dropped.

    Raises:
      UserError: as ``read_lines``, but for the length.
    """
    for number, line in read_bounded_lines(path):
        if line is None:
            drop(path, number)
        else:
            yield number, line


class Block:
    """A unit made of several lines (a sentence, a dialogue) that is dropped above the bound.

    In a malformed file it may have no end, and the whole file would be held in memory. ::

        if line is the end:
            if block.ends():
                yield what was kept
            kept.clear()
        elif block.takes(number, line):
            kept.append(line)
        else:
            kept.clear()
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._size = 0

    def takes(self, number: int, line: str | None) -> bool:
        """Counts a line's text, and some characters for keeping it; whether it still is within the bound.

        Args:
          number: the line.
          line: its text; None for one that is too long itself.
        """
        self._start = self._start or number
        self._size += LINE_LIMIT + 1 if line is None else len(line) + 32
        return self._size <= LINE_LIMIT

    def ends(self) -> bool:
        """The next one begins; whether this one is to be used. If not, it is counted as dropped."""
        within = self._size <= LINE_LIMIT
        if not within:
            drop(self._path, self._start)
        self._start = self._size = 0
        return within


def usable(
    examples: Iterator[Example], skipped: collections.Counter[str], *, named: bool = False
) -> Iterator[Example]:
    """The examples of a source without those above the bound or with halves of surrogate pairs.

    Args:
      examples: as ``Source.read_split`` gives them; rows that its readers leave out are counted here.
      skipped: receives, by reason, one count for each row that is left out.
      named: the task was asked for by name (``asked_by_name``).
    """
    count = _Count(skipped, set(), named)
    while True:
        token = _counting.set(count)
        try:
            example = next(examples, None)
        finally:
            _counting.reset(token)
        if example is None:
            return
        texts = (example.instruction, example.source, *example.references, *example.options)
        if sum(map(len, texts)) > ROW_CHARACTERS:
            skipped[LONG_ROW] += 1
        elif not encodable(*texts):
            skipped[NOT_UNICODE] += 1
        else:
            yield example
