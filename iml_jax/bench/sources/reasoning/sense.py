"""Sense making: which of two sentences is against common sense, and why (ComVE and Sen-Making)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from iml_jax.bench.hashing import draw
from iml_jax.bench.sources.formats.bounds import drop
from iml_jax.bench.sources.formats.records import csv_records, json_records
from iml_jax.bench.sources.formats.separated import csv_lines
from iml_jax.bench.sources.reasoning.questions import Question, with_options
from iml_jax.foundation.errors import UserError

_QUESTION = "Which of the following two sentences is against common sense?"
_NAMES = ("Sentence A", "Sentence B")
_RIGHT = ("Right Reason1", "Right Reason2", "Right Reason3")
_CONFUSING = ("Confusing Reason1", "Confusing Reason2")


def _question(identity: str, sentences: tuple[str, str], wrong: int, reasons: Sequence[str]) -> Question:
    """The question in the form of FLAN v2's file of the same set."""
    options = [f'{name}: "{sentence}"' for name, sentence in zip(_NAMES, sentences, strict=True)]
    solutions = tuple((reason, _NAMES[wrong]) for reason in dict.fromkeys(reasons) if reason)
    missing = "" if solutions else "empty rationale"
    return Question(identity, with_options(_QUESTION, options), solutions, missing)


def comve(path: Path) -> Iterator[Question]:
    """ComVE's ``train.csv``, ``dev.csv`` or ``test.csv``: a correct and an incorrect statement, with reasons.

    Which of the two comes first is drawn by their text. A "right" reason that is also one of the confusing
    reasons of the row is none: so is every ``Right Reason2`` of the published dev and test files.
    """
    for row in csv_records(path):
        right, wrong = row.text("Correct Statement"), row.text("Incorrect Statement")
        confusing = {row.text(key, "") for key in _CONFUSING}
        reasons = [row.text(key, "") for key in _RIGHT]
        place = draw((0, 1), "sense making", right, wrong)
        pair = (wrong, right) if place == 0 else (right, wrong)
        yield _question(str(row.number), pair, place, [text for text in reasons if text not in confusing])


def comve_subtasks(path: Path, others: Sequence[Path]) -> Iterator[Question]:
    """ComVE as the shared task gave it out: ``subtaskA`` (two sentences) joined to ``subtaskC`` by id.

    Args:
      path: ``subtaskA``'s data: ``id``, ``sent0``, ``sent1``.
      others: ``subtaskC``'s data (``id``, ``FalseSent``), then its answers (id and reasons, no header).
    """
    if len(others) != 2:
        raise UserError(f"{path}: subtaskC's data and answers must lie beside it; fetch them too")
    false = {row.text("id"): row.text("FalseSent") for row in csv_records(others[0])}
    reasons = {}
    for number, cells in csv_lines(others[1]):
        if cells is None:
            drop(others[1], number)
        else:
            reasons[cells[0].strip()] = [text.strip() for text in cells[1:]]
    for row in csv_records(path):
        identity = row.text("id")
        pair = (row.text("sent0"), row.text("sent1"))
        if false.get(identity) not in pair or identity not in reasons:
            yield Question(identity, "", unusable="sentence without reasons")
            continue
        yield _question(identity, pair, pair.index(false[identity]), reasons[identity])


def sen_making(path: Path) -> Iterator[Question]:
    """Sen-Making's ``dataset.jsonl``: ``false`` is the index of the sentence, ``reason`` the letter why."""
    for row in json_records(path):
        wrong, letter = row.values.get("false"), row.text("reason")
        if wrong not in (0, 1) or isinstance(wrong, bool) or letter not in ("A", "B", "C"):
            raise row.error("'false' must be 0 or 1, and 'reason' A, B or C")
        pair = (row.text("sentence0"), row.text("sentence1"))
        yield _question(row.text("id", str(row.number)), pair, wrong, [row.text(letter)])
