"""The answer that a rationale states."""

from __future__ import annotations

import pytest

from iml_jax.data.answer_extraction import stated_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("He jumps. So the answer is (B).", "(B)"),
        ("So the answer is No", "No"),
        ("The answer is: ] ) }.", "] ) }"),
        ("the answer is  two  words .", "two  words"),
        ("First the answer is 3. No: the answer is 4.\nDone", "4"),
        ("the answer is 1.5.", "1.5"),
        ("the answer is e.g..", "e.g."),
        ("the answer is yes.\n\nQ: Next?\nA: So the answer is no.", "yes"),
        ("nothing.\n\nQ: Next?\nA: So the answer is no.", ""),
        ("the answer is\nyes", ""),
        ("the answer isn't here", ""),
        ("breathe answer is 3", ""),
        ("yes", ""),
        ("", ""),
    ],
)
def test_stated_answer(text: str, answer: str) -> None:
    assert stated_answer(text) == answer
