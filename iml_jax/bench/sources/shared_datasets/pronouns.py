"""T5's form of Winograd schemas: the pronoun stands in asterisks, its referent is the target.

What ``t5.data.preprocessors.wsc_simple`` and ``wnli_simple`` (t5 0.9.4) make of a row, without TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PRONOUNS = frozenset(("he", "she", "they", "it", "her", "his", "their", "them", "him"))
_ARTICLES = ("a", "an", "the")
_MARKS = ".,?!"


def wsc_highlighted(text: str, index: int, pronoun: str) -> str | None:
    """The text with the word at ``index`` (words separated by single spaces) in asterisks.

    Two rows of the dataset do not have the pronoun alone at its index: in one, punctuation adjoins it; in
    the other it is the next word. T5 rewrites these two by hand; here every row like them is fixed so.

    Returns:
      None where the pronoun is at neither place, or has no word before it.
    """
    words = text.split(" ")
    if not 0 < index < len(words):
        return None
    rest = [*words[index + 1 :]]
    if words[index] == pronoun:
        pass
    elif words[index].startswith(pronoun):
        rest = [words[index].removeprefix(pronoun), *" ".join(rest).rstrip().split(" ")]
    elif rest and rest[0] == pronoun:
        index, rest = index + 1, rest[1:]
    else:
        return None
    blanked = " ".join((" ".join(words[:index]), "X", " ".join(rest)))
    return blanked.replace(" X ", f" *{pronoun}* ")


def wnli_referent(premise: str, hypothesis: str) -> tuple[str, str] | None:
    """(premise with the pronoun to resolve in asterisks, its referent in the hypothesis).

    The hypothesis repeats the part of the premise around the pronoun with the referent in its place. The
    pronoun is the one with most words around it found in the hypothesis (on a tie, the first); the referent
    is what the hypothesis has between these words.

    Returns:
      None where no pronoun or no referent is found.
    """
    words, stated = _words(premise), _words(hypothesis)
    best: tuple[int, int, str] | None = None
    for index, word in enumerate(words):
        if word not in _PRONOUNS:
            continue
        before = _overlap(stated[::-1], words[index - 1 :: -1] if index else [])
        after = _overlap(stated, words[index + 1 :])
        if best is None or before + after > best[0]:
            left, right = words[index - before : index], words[index + 1 : index + 1 + after]
            best = (before + after, index, _between(left, right, stated) if before + after else "")
    if best is None or not best[2]:
        return None
    shown = premise.split(" ")
    index = best[1]
    if index >= len(shown) or not shown[index]:
        return None
    referent = _as_written(best[2], hypothesis)
    return None if referent is None else (" ".join(_marked(shown, index)), referent)


def _words(text: str) -> list[str]:
    """Lower-case words without a final mark."""
    words = [word[:-1] if word[-1:] in tuple(_MARKS) else word for word in text.strip().lower().split(" ")]
    return [word for word in words if word]


def _overlap(stated: Sequence[str], words: Sequence[str]) -> int:
    """How many first words are, joined, part of the statement."""
    whole = " ".join(stated)
    return next((n for n in range(len(words)) if " ".join(words[: n + 1]) not in whole), len(words))


def _between(left: list[str], right: list[str], stated: Sequence[str]) -> str:
    """What the statement has between the two, else before the right part, else after the left part."""
    whole = " ".join(stated)
    for pattern in (
        " ".join([*map(re.escape, left), "(.+)", *map(re.escape, right)]),
        " ".join(["^(.+)", *map(re.escape, right)]),
        " ".join([*map(re.escape, left), "(.+)$"]),
    ):
        if match := re.search(pattern, whole):
            return match[1]
    return ""


def _as_written(candidate: str, hypothesis: str) -> str | None:
    """The candidate from its last article on, spelled as in the hypothesis and not possessive."""
    words = candidate.split(" ")
    start = max((words.index(article) for article in _ARTICLES if article in words), default=0)
    pattern = " ".join(rf"{re.escape(word)}[{re.escape(_MARKS)}]?" for word in words[start:])
    match = re.search(pattern, hypothesis, re.IGNORECASE)
    if match is None:
        return None
    found = match[0][:-1] if match[0][-1:] in tuple(_MARKS) else match[0]
    return found.removesuffix("'") if found.endswith("'") else found.removesuffix("'s")


def _marked(words: list[str], index: int) -> list[str]:
    word = words[index]
    marked = f"*{word[:-1]}* {word[-1]}" if word[-1] in _MARKS else f"*{word}*"
    return [*words[:index], marked, *words[index + 1 :]]
