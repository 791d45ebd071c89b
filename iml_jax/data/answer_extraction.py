"""The answer that a rationale states, for benchmarks that ask for the reasoning before it."""

from __future__ import annotations

import re

_STATES = re.compile(r"\bthe answer is\b:?", re.IGNORECASE)
_NEXT_QUESTION = "\n\nQ:"


def stated_answer(text: str) -> str:
    """What a rationale concludes: the text after its last "the answer is", to the end of that line.

    A single full stop at its end and surrounding white space are taken off, nothing else; empty where no
    answer is stated. What follows an empty line and ``Q:`` is not read: a model that was shown several
    questions continues with another question. So BIG-Bench Hard's chains of thought are read (arXiv
    2210.09261: the answer is what follows "the answer is").
    """
    parts = _STATES.split(text.partition(_NEXT_QUESTION)[0])
    if len(parts) < 2:
        return ""
    line = parts[-1].lstrip(" ").partition("\n")[0]
    return line.strip().removesuffix(".").rstrip()
