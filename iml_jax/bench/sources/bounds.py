"""The one bound on a row of data, whatever its format: longer rows are dropped and counted, never an error.

A row is too long if its texts have more than ``ROW_CHARACTERS`` characters together, or if it takes more than
``LINE_LIMIT`` bytes in its file, so that it is not even parsed; so is an example whose texts have more.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from iml_jax.bench.example import Example
from iml_jax.storage.reading import encodable

# A row of 2,048 tokens shows some ten thousand characters; all tokens of a row that is kept cost about 160
# bytes of memory a character while it is prepared.
ROW_CHARACTERS = 1 << 20
LONG_ROW = f"row of more than {ROW_CHARACTERS} characters"
NOT_UNICODE = "text that is not valid Unicode"
_dropped: contextvars.ContextVar[collections.Counter[str] | None] = contextvars.ContextVar(
    "dropped", default=None
)


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


def drop() -> None:
    """Counts a row that a reader leaves out; where no one counts, the rows are only looked at."""
    counter = _dropped.get()
    if counter is not None:
        counter[LONG_ROW] += 1


def usable(examples: Iterator[Example], skipped: collections.Counter[str]) -> Iterator[Example]:
    """The examples of a source without those above the bound or with halves of surrogate pairs.

    Args:
      examples: as ``Source.examples`` gives them; rows that its readers leave out are counted here.
      skipped: receives, by reason, one count for each row that is left out.
    """
    while True:
        with _counting(skipped):
            example = next(examples, None)
        if example is None:
            return
        texts = (example.instruction, example.source, *example.references, *example.options)
        if sum(map(len, texts)) > ROW_CHARACTERS:
            skipped[LONG_ROW] += 1
        elif not encodable(*texts):
            skipped[NOT_UNICODE] += 1
        else:
            yield example


@contextlib.contextmanager
def _counting(counter: collections.Counter[str]) -> Iterator[None]:
    token = _dropped.set(counter)
    try:
        yield
    finally:
        _dropped.reset(token)
