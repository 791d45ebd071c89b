"""What every reader of a reasoning set yields: a question with its rationales and answers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

_CLOSED = re.compile(r"[.!?:;…。][\"'”’)\]}$]*$")
NO_ANSWER = "no public answer"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question as the model is asked it, with one or more solutions.

    Attributes:
      identity: unique in its file.
      text: the question with all that is needed to answer it; options, if any, are listed in it.
      solutions: (rationale, answer) pairs; the rationale may be empty in sets that have none.
      unusable: why there is no solution; a short fixed reason.
    """

    identity: str
    text: str
    solutions: tuple[tuple[str, str], ...] = ()
    unusable: str = ""

    def targets(self) -> tuple[str, ...]:
        """``RATIONALE The answer is ANSWER.`` for each solution (OPT-IML section 2.4), without repeats."""
        targets = (
            f"{sentence(rationale)} The answer is {answer.removesuffix('.')}.".lstrip()
            for rationale, answer in self.solutions
        )
        return tuple(dict.fromkeys(targets))

    def problem(self, *, reasoned: bool) -> str:
        """Why the question yields no example; empty where it does.

        Args:
          reasoned: its set has rationales, so an empty one is missing.
        """
        if self.unusable:
            return self.unusable
        if not self.text:
            return "empty question"
        if not self.solutions or not all(answer for _, answer in self.solutions):
            return "empty answer"
        if reasoned and not all(rationale for rationale, _ in self.solutions):
            return "empty rationale"
        return ""


def sentence(text: str) -> str:
    """The text, closed by a full stop where nothing closes it; an empty text stays empty."""
    text = text.strip()
    return text if not text or _CLOSED.search(text) else f"{text}."


def sentences(texts: Iterable[str]) -> str:
    """Texts as sentences, one after the other."""
    return " ".join(filter(None, map(sentence, texts)))


def with_options(question: str, options: Sequence[str]) -> str:
    """A question and its options, as FLAN v2's chain-of-thought files list them."""
    return "\n".join([question, "Options:", *(f"- {option}" for option in options)])
