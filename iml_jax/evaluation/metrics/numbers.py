"""Numbers as people and models write them: signs, currencies, per cent, grouping and emphasis in any order.

For what has no reader of its own. The metrics that restate a benchmark's script (DROP, TAPEX's denotations,
STS-B) read numbers as that script does, which is ``float``.
"""

from __future__ import annotations

import re
import unicodedata

_MINUS = "-\u2010\u2011\u2012\u2013\u2014\u2212\u2796\ufe58\ufe63"
EMPHASIS = "*_`~"
_SPACES = " \u00a0\u2007\u2009\u202f"
# Full-width forms as their ASCII ones, and Arabic separators. Not NFKC, to which a raised 2 is a 2.
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: " ",
    0x066A: "%",
    0xFE6A: "%",
    0x066B: ".",
    0x066C: ",",
    ord("\u2019"): "'",
}
# Commas may part groups of any size (1,20,000); spaces and apostrophes only groups of three: "1 2" is two.
_DIGITS = re.compile(
    rf"((?:\d{{1,3}}(?:[{_SPACES}]\d{{3}})+|\d{{1,3}}(?:'\d{{3}})+|\d+(?:,\d+)*)?)(?:\.(\d*))?"
)
_CODE = r"(?:us|ca|au|nz|hk|sg|[acs])(?=\$)|(?:usd|eur|gbp|jpy|cny|inr|chf|cad|aud|rs)(?![a-z])\.?"
_BEFORE = re.compile(rf"(?:[^\w.,]|_|{_CODE})*", re.IGNORECASE)
_CODES = re.compile(_CODE, re.IGNORECASE)


def plain_number(text: str) -> str | None:
    """The number that a text consists of, in plain digits: ``-1200.5``; None where it is no number.

    Before and after the digits, in any order: one sign (hyphen, minus, dashes), currency signs and codes,
    per-cent signs (which do not change the value), white space, emphasis of Markdown, and full stops after
    them. Parentheses around a number without a sign make it negative, as accountants write. Commas, and
    spaces or apostrophes between groups of three digits, are left out. So ``-$1,200.00``, ``$-1 200.`` and
    ``**($1,200)**`` are ``-1200``. Exponents, fractions and numbers with units are no plain numbers.

    Args:
      text: one line.
    """
    text = text.translate(_PLAIN).replace("\\$", "$").replace("\\%", "%")
    first = next((place for place, char in enumerate(text) if char.isdecimal()), None)
    if first is None:
        return None
    if first and text[first - 1] == "." and not (first > 1 and text[first - 2].isalpha()):
        first -= 1  # .5, but not the full stop of Rs.5
    found = _DIGITS.match(text, first)
    if found is None or not found[0].strip("."):
        return None
    before, after = text[:first], text[found.end() :]
    if _BEFORE.fullmatch(before) is None:
        return None
    marks = [_CODES.sub("", part) for part in (before, after)]
    signs = [char for char in marks[0] if char in _MINUS or char == "+"]
    if len(signs) > 1 or not (_decorates(marks[0], f"{_MINUS}+(") and _decorates(marks[1], ").")):
        return None
    enclosed = "(" in marks[0] and ")" in marks[1]
    negative = signs[0] in _MINUS if signs else enclosed
    whole = _ascii(found[1]).lstrip("0") or "0"
    part = _ascii(found[2] or "").rstrip("0")
    value = f"{whole}.{part}" if part else whole
    return f"-{value}" if negative and value != "0" else value


def _decorates(text: str, more: str) -> bool:
    return all(
        char in more
        or char in EMPHASIS
        or char == "%"
        or char.isspace()
        or unicodedata.category(char) == "Sc"
        for char in text
    )


def _ascii(digits: str) -> str:
    return "".join(str(unicodedata.decimal(char)) for char in digits if char.isdecimal())
