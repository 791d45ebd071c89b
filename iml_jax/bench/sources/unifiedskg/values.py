"""Which values of a database column a question speaks of (Lin et al. 2020, BRIDGE).

UnifiedSKG shows these beside the column. The measure agrees with its ``bridge_content_encoder.py``, but for
ties, which here do not depend on Python's hash seed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

THRESHOLD = 0.85
SHOWN = 2
_SEPARATORS = frozenset("'\"()`,.?! ")
_COMMON = frozenset({"no", "yes", "many"})
# NLTK's English stop words but for "no": a value that is one of them says nothing of the question.
_STOP_WORD_LIST = """
    i me my myself we our ours ourselves you you're you've you'll you'd your yours yourself yourselves he
    him his himself she she's her hers herself it it's its itself they them their theirs themselves what which
    who whom this that that'll these those am is are was were be been being have has had having do does did
    doing a an the and but if or because as until while of at by for with about against between into through
    during before after above below to from up down in out on off over under again further then once here
    there when where why how all any both each few more most other some such nor not only own same so than
    too very s t can will just don don't should should've now d ll m o re ve y ain aren aren't couldn couldn't
    didn didn't doesn doesn't hadn hadn't hasn hasn't haven haven't isn isn't ma mightn mightn't mustn mustn't
    needn needn't shan shan't shouldn shouldn't wasn wasn't weren weren't won won't wouldn wouldn't
"""
_STOP_WORDS = frozenset(_STOP_WORD_LIST.split())


def matches(question: str, values: Iterable[str], column: str) -> list[str]:
    """At most ``SHOWN`` of ``values`` that the question names, the best first.

    A value is named where the longest run of characters that it shares with the question begins at a word of
    the question, and that stretch of the question is nearly the whole value (``similarity`` of at least
    ``THRESHOLD``; values of a column of names must be there as they are).

    Args:
      question: the request, in any case.
      values: the distinct texts of the column; of equal ones the order decides.
      column: its name.
    """
    question = question.strip()
    characters = [character.lower() for character in question]
    lowered = "".join(characters)
    best: dict[str, tuple[float, int, str]] = {}
    for value in values:
        if _may_match(value.strip().lower(), lowered) and (found := _match(question, characters, value)):
            key, score, size = found
            best[key] = (score, size, value)
    ranked = sorted(best.values(), key=lambda entry: (-entry[0], -entry[1]))
    return [value for score, _, value in ranked if score == 1 or "name" not in column][:SHOWN]


def _may_match(value: str, question: str) -> bool:
    """Whether the shared run can be long enough; a quick test that turns away nearly all values.

    Similarity s of texts of lengths m and n is at most 2 min(m, n) / (m + n), and the stretch of the question
    is at most two characters longer than the run.
    """
    shortest = max(1, int(len(value) * THRESHOLD / (2 - THRESHOLD) - 2))
    return any(value[at : at + shortest] in question for at in range(len(value) - shortest + 1))


def _match(question: str, characters: Sequence[str], value: str) -> tuple[str, float, int] | None:
    """(shared run, similarity, length of the run), or None where the question does not name the value."""
    own = [character.lower() for character in value.strip()]
    run = difflib.SequenceMatcher(None, characters, own).find_longest_match(0, len(characters), 0, len(own))
    if not run.size or (stretch := _stretch(characters, run.a, run.a + run.size)) is None:
        return None
    begin, end = stretch
    shared = value[run.b : run.b + run.size]
    texts = [text.lower().strip() for text in (shared, question[begin:end], value)]
    if end - begin < 2 or not texts[0] or _is_number(texts[0]) or texts[0] == "id":
        return None
    if any(text in _STOP_WORDS for text in texts):
        return None
    score = similarity(texts[2], texts[1]) if _same_beginning(texts[2], texts[1]) else 0.0
    exact = score == 1
    if score < THRESHOLD or (not exact and (value.isupper() or any(text in _COMMON for text in texts))):
        return None
    return shared, score, run.size


def _stretch(characters: Sequence[str], begin: int, end: int) -> tuple[int, int] | None:
    """The run widened to whole words of the question: it must begin at one and end at most two before.

    None where a word begins before the run or continues further after it.
    """
    if begin > 0 and characters[begin] not in _SEPARATORS and characters[begin - 1] not in _SEPARATORS:
        return None
    last = end - 1
    while last < len(characters) and characters[last] not in _SEPARATORS:
        last += 1
        if last > end + 2:
            return None
    while begin < last and characters[begin] in _SEPARATORS:
        begin += 1
    while last > begin and characters[last - 1] in _SEPARATORS:
        last -= 1
    return begin, last


def _same_beginning(one: str, other: str) -> bool:
    """Whether the first characters that are no separators are the same."""
    separators = "".join(_SEPARATORS)
    return one.lstrip(separators)[:1] == other.lstrip(separators)[:1]


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def similarity(one: str, other: str) -> float:
    """Twice the longest common subsequence over the sum of both lengths; 1 for two empty texts."""
    if not one and not other:
        return 1.0
    lengths = [0] * (len(other) + 1)
    for character in one:
        diagonal = 0
        for at, against in enumerate(other, 1):
            kept = lengths[at]
            lengths[at] = diagonal + 1 if character == against else max(kept, lengths[at - 1])
            diagonal = kept
    return 2 * lengths[-1] / (len(one) + len(other))
