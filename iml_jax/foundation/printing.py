"""Printing what others wrote: control sequences are escaped, and a stream that is not UTF-8 is no error.

Everything that this project prints to a terminal and that may hold text of a file goes through ``show``,
``printable`` or ``json_line``. Escaped are the control characters (ESC begins a terminal's commands), the
line and paragraph separators U+2028 and U+2029, the characters that reorder their surroundings (U+202A..E,
U+2066..9) and halves of surrogate pairs, each as Python writes it in a string (``\\x1b``, ``\\u202e``).
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    """``text`` with everything escaped that a terminal would act upon or could not show.

    Args:
      text: anything.
      keep: control characters that stay, such as the line breaks of a prompt (``"\\n\\t"``).
    """
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """``text`` on one line, for a message: white space becomes single spaces, the unprintable is escaped."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else _escape(one) for one in line)


def show(text: str, *, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Prints text of several lines (to stdout by default); line breaks and tabs stay, the rest is escaped.

    Not for data that another program reads exactly: JSON lines are made by ``json_line``.
    """
    print(printable(text, keep="\n\t"), file=file, end=end, flush=flush)


def encodable(*texts: str) -> bool:
    """Whether UTF-8 can hold every text: none has half of a surrogate pair."""
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def json_line(record: Mapping[str, Any], stream: TextIO | None = None) -> str:
    """``record`` as JSON on one line, to be printed to ``stream`` (stdout by default).

    What ``printable`` escapes, and all but ASCII where the stream is not UTF-8, stands as JSON's ``\\uXXXX``:
    whoever parses the line reads exactly the record.

    Raises:
      ValueError: a number is NaN or infinite.
    """
    encoding = (getattr(stream or sys.stdout, "encoding", None) or "ascii").lower().replace("_", "-")
    text = json.dumps(record, ensure_ascii=encoding not in ("utf-8", "utf8"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def tolerate_any_text() -> None:
    """Makes stdout and stderr write what their encoding lacks as ``\\xe9`` or ``\\u2192`` instead of raising.

    Called once by every command before it prints.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
