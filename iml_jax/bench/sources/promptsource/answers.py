"""Datasets whose templates draw one of several right answers: which column holds them all."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from iml_jax.bench.sources.formats.rows import Row
from iml_jax.foundation.printing import encodable

# Tasks, and the path to the list of texts any of which is right.
_RIGHT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("nq_open", ("answer",)),
    ("trivia_qa/unfiltered", ("answer", "aliases")),
    ("web_questions", ("answers",)),
    ("squad", ("answers", "text")),
    ("squad_v2", ("answers", "text")),
    ("squadshifts/*", ("answers", "text")),
    ("squad_adversarial/*", ("answers", "text")),
    ("adversarial_qa/*", ("answers", "text")),
)


def with_all_answers(task: str, row: Row, references: Sequence[str]) -> tuple[str, ...]:
    """The references of a prompt, and after them the row's other right answers.

    Only where the first reference is itself one of these: a template may ask for something else.

    Args:
      task: as PromptSource names it.
      row: the dataset's row.
      references: what the template rendered, at least one.
    """
    answers = _answers(task, row)
    if " ".join(references[0].split()) not in {" ".join(text.split()) for text in answers}:
        return tuple(references)
    others = (text.strip() for text in answers if encodable(text))
    return tuple(dict.fromkeys((*references, *filter(None, others))))


def _answers(task: str, row: Row) -> list[str]:
    """The row's right answers; none where the dataset has no such column, or another kind of value in it."""
    path = next((path for pattern, path in _RIGHT if fnmatch.fnmatchcase(task, pattern)), ())
    value: Any = row if path else None
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []
