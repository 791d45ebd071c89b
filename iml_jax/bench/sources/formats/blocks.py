"""Pronoun resolution sets published as blocks of lines: sentence, pronoun, candidates, answer, empty line.

The form of definite pronoun resolution (``train.c.txt``), and of the Winograd sets in
vid-koci/bert-commonsense, where ``[MASK]`` stands for the pronoun.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from iml_jax.bench.sources.formats.bounds import drop
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_bounded_lines

_LINES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One pronoun to resolve; ``label`` is the index of the right candidate, None where it is none."""

    sentence: str
    pronoun: str
    candidates: list[str]
    label: int | None


def read_blocks(path: Path) -> Iterator[tuple[str, Block]]:
    """Streams (line where the block starts, block), texts stripped.

    A block with a line that is too long is dropped.

    Raises:
      UserError: a block has not four lines.
    """
    block: list[str | None] = []
    start = 1
    number = 0
    for number, line in itertools.chain(read_bounded_lines(path), [(0, "")]):
        if line is None or line.strip():
            if not block:
                start = number
            block.append(None if line is None else line.strip())
            if len(block) > _LINES:
                break
        elif block:
            if made := _block(block, path, start):
                yield str(start), made
            block = []
    _block(block, path, start)


def _block(lines: list[str | None], path: Path, start: int) -> Block | None:
    """The block; None for one with a line that is too long, or without lines."""
    if not lines:
        return None
    if len(lines) != _LINES:
        found = f"{len(lines)} lines" if len(lines) < _LINES else f"more than {_LINES} lines"
        raise UserError(
            f"{path}:{start}: a block of {found}; it has sentence, pronoun, candidates, answer, empty line"
        )
    texts = [line for line in lines if line is not None]
    if len(texts) < _LINES:
        drop(path, start)
        return None
    sentence, pronoun, named, answer = texts
    candidates = [candidate.strip() for candidate in named.split(",")]
    label = candidates.index(answer) if answer in candidates else None
    return Block(sentence, pronoun, candidates, label)
