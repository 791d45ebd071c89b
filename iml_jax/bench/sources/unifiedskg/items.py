"""What every reader of UnifiedSKG yields: items of text, structured knowledge and targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.unifiedskg.files import records
from iml_jax.foundation.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One instance, with the names of UnifiedSKG's own items.

    Attributes:
      text_in: the request; of a conversation ``latest || the one before | ...``. May be empty.
      struct_in: the structured knowledge as one line. May be empty.
      references: the targets; the first is UnifiedSKG's ``seq_out``.
    """

    text_in: str
    struct_in: str
    references: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a reader is to read.

    Attributes:
      path: the file of the split.
      files: every file of the task.
      training: items of the training split: a row with several targets gives one item per target.
      database_values: show contents of databases.
    """

    path: Path
    files: tuple[Path, ...]
    training: bool
    database_values: bool = True


# (id, unique in the split; the item, or why the row has none)
Outcome = tuple[str, Item | str]
Reader = Callable[[Request], Iterator[Outcome]]


def preprocessed(request: Request) -> Iterator[Outcome]:
    """The authors' preprocessed items: objects with ``text_in``, ``struct_in`` and ``seq_out`` among others.

    Outside the training split, ``references`` (or ToTTo's ``final_sentences``) are targets too.

    Raises:
      UserError: malformed.
    """
    for number, row in records(request.path):
        place = f"{request.path}: item {number}"
        if "seq_out" not in row or not ("text_in" in row or "struct_in" in row):
            raise UserError(f"{place}: no 'seq_out', or neither 'text_in' nor 'struct_in'; fix or remove it")
        target = _text(row, "seq_out", place)
        more = [] if request.training else _texts(row, place)
        yield (
            str(number),
            Item(_text(row, "text_in", place), _text(row, "struct_in", place), distinct(target, *more)),
        )


def distinct(*targets: str) -> tuple[str, ...]:
    """The targets in their order, each once; nothing where the first is blank: it is the one trained on."""
    if not targets or not targets[0].strip():
        return ()
    return tuple(dict.fromkeys(target for target in targets if target.strip()))


def targets(training: bool, texts: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(suffix of the id, references): one for each text in training, else one with all."""
    if training:
        for number, text in enumerate(texts, 1):
            yield f":{number}", distinct(text)
    else:
        yield "", distinct(*texts)


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{place}: {key!r} is a {type(value).__name__}; it must be a string; fix it")
    return value


def _texts(row: Mapping[str, Any], place: str) -> list[str]:
    for key in ("references", "final_sentences"):
        value = row.get(key)
        if isinstance(value, str):
            return [value]
        if value is not None:
            if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
                raise UserError(f"{place}: {key!r} must be a list of strings; fix it")
            return value
    return []
