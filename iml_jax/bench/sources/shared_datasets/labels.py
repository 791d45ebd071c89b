"""Labels as the public files of a dataset spell them: numbers, names, booleans, or a mark for none."""

from __future__ import annotations

import numbers
import re
from collections.abc import Collection, Sequence


def label_index(value: object, names: Sequence[Collection[str]], first: int = 0) -> int | None:
    """The index of the class that a label names.

    Args:
      value: the label: a name, a number from ``first`` on as a number or as text, or a boolean (of two
        classes).
      names: for each class, the names that a text may have for it, in lower case; these precede numbers.
      first: the number of the first class.

    Returns:
      None where the row has no label: null, an empty text, or -1 (as hidden test sets have it).

    Raises:
      ValueError: the label is that of no class.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        if len(names) != 2:
            raise ValueError(value)
        return int(value)
    if isinstance(value, str):
        word = value.strip().lower()
        for index, known in enumerate(names):
            if word in known:
                return index
        if not re.fullmatch(r"-1|\d{1,4}", word):
            raise ValueError(value)
        value = int(word)
    if isinstance(value, numbers.Integral):
        number = int(value)
    elif isinstance(value, numbers.Real) and float(value).is_integer():  # NaN and infinity are not
        number = int(float(value))
    else:
        raise ValueError(value)
    if number == -1:
        return None
    if not 0 <= number - first < len(names):
        raise ValueError(value)
    return number - first
