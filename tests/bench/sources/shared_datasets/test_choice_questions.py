"""AI2's multiple-choice questions in both public forms."""

from __future__ import annotations

from typing import Any

import pytest

from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.shared_datasets.choice_questions import ChoiceQuestion, choice_question
from iml_jax.foundation.errors import UserError

OFFICIAL = {
    "question": {"stem": "Why? ", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]}
}
LISTED = {"choices": {"label": ["A", "B"], "text": ["x", "y"]}}


def _read(**values: Any) -> ChoiceQuestion:
    return choice_question(Record("f:1", 1, values))


@pytest.mark.parametrize(
    "row", [OFFICIAL, {"question": "Why?", **LISTED}, {"question_stem": "Why?", **LISTED}]
)
def test_both_forms(row: dict[str, Any]) -> None:
    assert _read(**row, answerKey="B") == ChoiceQuestion("Why?", ("x", "y"), 1)
    assert _read(**row, answerKey=" a").answer == "x"
    assert _read(**row, answerKey=1).right == 1
    for hidden in ({}, {"answerKey": ""}, {"answerKey": None}, {"answerKey": -1}, {"answerKey": "-1"}):
        made = _read(**row, **hidden)
        assert (made.right, made.answer) == (None, "")


@pytest.mark.parametrize("key", ["C", "1", 2, 0.5])
def test_a_key_that_is_no_label_is_refused(key: object) -> None:
    with pytest.raises(UserError, match=r"f:1: 'answerKey' .* is the label of no choice"):
        _read(**OFFICIAL, answerKey=key)


def test_labels_that_are_numbers_are_no_indices() -> None:
    row = {"question": "Q", "choices": {"label": ["1", "2"], "text": ["x", "y"]}}
    assert _read(**row, answerKey="1").answer == "x"


def test_as_many_labels_as_choices() -> None:
    with pytest.raises(UserError, match="2 choices have 1 labels"):
        _read(question="Q", choices={"label": ["A"], "text": ["x", "y"]})
