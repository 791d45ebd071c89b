"""The nearest right name for a wrong one, as part of an error message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, candidates: Iterable[str], quote: str = '"') -> str:
    """``; did you mean "X"?`` for the closest candidate, or an empty string if none is close."""
    spelling = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), spelling, n=1, cutoff=0.6)
    return f"; did you mean {quote}{spelling[close[0]]}{quote}?" if close else ""
