"""Pronoun resolution sets published as blocks of lines: sentence, pronoun, candidates, answer, empty line.

The form of definite pronoun resolution (``train.c.txt``), and of the Winograd sets in
vid-koci/bert-commonsense, where ``[MASK]`` stands for the pronoun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from iml_jax.errors import UserError
from iml_jax.storage.reading import read_lines

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

    Raises:
      UserError: a block has not four lines.
    """
    block: list[str] = []
    start = 1
    number = 0
    for number, line in read_lines(path):
        if line.strip():
            if not block:
                start = number
            block.append(line.strip())
        elif block:
            yield str(start), _block(block, path, start)
            block = []
        if len(block) > _LINES:
            break
    if block:
        yield str(start), _block(block, path, start)


def _block(lines: list[str], path: Path, start: int) -> Block:
    if len(lines) != _LINES:
        found = f"{len(lines)} lines" if len(lines) < _LINES else f"more than {_LINES} lines"
        raise UserError(
            f"{path}:{start}: a block of {found}; it has sentence, pronoun, candidates, answer, empty line"
        )
    sentence, pronoun, named, answer = lines
    candidates = [candidate.strip() for candidate in named.split(",")]
    label = candidates.index(answer) if answer in candidates else None
    return Block(sentence, pronoun, candidates, label)
