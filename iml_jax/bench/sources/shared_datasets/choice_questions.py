"""Multiple-choice questions as AI2 publishes them: ARC, OpenBookQA, CommonsenseQA and QASC."""

from __future__ import annotations

import dataclasses

from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.shared_datasets.labels import label_index


@dataclasses.dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """A question with its choices.

    Attributes:
      stem: the question.
      options: the texts of the choices, in the order of the file.
      right: the index of the right choice; None where it is not public.
    """

    stem: str
    options: tuple[str, ...]
    right: int | None

    @property
    def answer(self) -> str:
        """The right choice; empty where it is not public."""
        return "" if self.right is None else self.options[self.right]


def choice_question(row: Record) -> ChoiceQuestion:
    """A row of the official files or of Hugging Face's.

    ``question`` {``stem``, ``choices`` [{``label``, ``text``}]}, or ``question`` (or ``question_stem``) and
    ``choices`` {``label`` [...], ``text`` [...]}; ``answerKey`` is a label or, as a number, an index; it is
    empty or missing in test sets.

    Raises:
      UserError: the row has neither form, or the key is the label of no choice.
    """
    if isinstance(row.values.get("question"), dict):
        question = row.record("question")
        stem, choices = question.text("stem"), question.records("choices")
        texts = tuple(choice.text("text") for choice in choices)
        labels = tuple(choice.text("label") for choice in choices)
    else:
        stem = row.text("question_stem" if "question" not in row.values else "question")
        listed = row.record("choices")
        texts, labels = listed.texts("text"), listed.texts("label")
        if len(texts) != len(labels):
            raise row.error(f"{len(texts)} choices have {len(labels)} labels")
    return ChoiceQuestion(stem, texts, _right(row, [label.lower() for label in labels]))


def _right(row: Record, labels: list[str]) -> int | None:
    key = row.values.get("answerKey")
    if isinstance(key, str):
        key = key.strip()
        if key not in ("", "-1") and key.lower() not in labels:  # a number as text is a label, never an index
            raise row.error(f"'answerKey' {key[:40]!r} is the label of no choice")
    try:
        return label_index(key, [(label,) for label in labels])
    except ValueError:
        raise row.error(f"'answerKey' {str(key)[:40]!r} is the label of no choice") from None
