"""DROP's exact match and F1: answers as bags of words, in which numbers must agree.

Stated again after the benchmark's evaluation script (Dua et al. 2019; allennlp_models/rc/tools/drop.py); a
test holds them equal to lm-eval's copy of it. Our records hold texts, not lists of spans: prompts join
several spans by ", ".
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
JOINED = ", "


@functools.lru_cache(maxsize=1 << 16)
def best_scores(prediction: str, references: tuple[str, ...]) -> tuple[float, float]:
    """(exact match, F1) in 0..1: the best over the annotators' answers of each, F1 to two decimals.

    A reference with ``JOINED`` is read as one span and as several, the prediction alike, and the better
    reading counts: the records do not say which it is.

    Args:
      prediction: what was written.
      references: the annotators' answers, each a text; an empty one counts for nothing.
    """
    best_match, best_f1 = 0.0, 0.0
    for reference in references:
        readings: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((prediction,), (reference,))]
        if JOINED in reference:
            readings.append((_spans(prediction), _spans(reference)))
        for said, wanted in readings:
            if wanted and wanted[0].strip():
                match, f1 = scores(said, wanted)
                best_match, best_f1 = max(best_match, match), max(best_f1, f1)
    return best_match, best_f1


def scores(predicted: Sequence[str], wanted: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) in 0..1 of some spans against some others, as ``get_metrics`` of the script.

    Spans are matched one to one so that the sum of their F1 is the largest; a span with numbers agrees with
    none that lacks all of them; a span without a partner counts 0.

    Args:
      predicted, wanted: at least one span each.
    """
    said, right = ([_normalised(span) for span in spans] for spans in (predicted, wanted))
    match = float(len(said) == len(right) and set(said) == set(right))
    table = np.array([[_f1(set(a.split()), set(b.split())) for a in said] for b in right])
    return match, float(np.round(_best_sum(table) / max(table.shape), 2))


def _best_sum(table: np.ndarray) -> float:
    """The largest sum of cells, no two in one row or column."""
    from scipy.optimize import linear_sum_assignment

    return float(table[linear_sum_assignment(table, maximize=True)].sum())


def _spans(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(JOINED)))) or ("",)


def _f1(said: set[str], wanted: set[str]) -> float:
    """Of two bags; an empty one says nothing wrong, and nothing is missing where nothing is wanted."""
    numbers = set(filter(_is_number, wanted))
    if numbers and not numbers & said:
        return 0.0
    common = len(said & wanted)
    precision = common / len(said) if said else 1.0
    recall = common / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision or recall else 0.0


def _normalised(span: str) -> str:
    """Lower case, split at spaces and hyphens; words without punctuation and articles, numbers as floats."""
    words = []
    for token in re.split("[ -]", span.lower()):
        word = token if _is_number(token) else token.translate(_PUNCTUATION)
        words.append(str(float(word)) if _is_number(word) else _ARTICLES.sub(" ", word))
    return " ".join(" ".join(words).split())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
