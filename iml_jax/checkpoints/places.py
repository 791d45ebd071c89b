"""Places that Orbax and TensorStore cannot read from or save to, refused before the work.

Tried with Orbax 0.12.8 and TensorStore 0.1.86, one character at a time (tests/checkpoints/test_places.py
keeps the table): Orbax looks for the files of each process by a glob whose beginning is the checkpoint's own
path, so that ``[...]`` in it finds nothing and ``*`` or ``?`` another run's files too; TensorStore takes
a backslash for a slash, and no text but UTF-8. Line breaks, control characters, percent signs and ``gs:`` are
ordinary characters to them.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

from iml_jax.foundation.errors import UserError

_DEEPEST = 120  # bytes of the longest name that Orbax makes below the run directory
_PATH_BYTES, _NAME_BYTES = 4095, 255  # PATH_MAX less its final zero, and NAME_MAX, of Linux


def check_readable(place: Path) -> None:
    """Refuses a path that no checkpoint can be read from.

    Raises:
      UserError: it holds a backslash, a null byte, or bytes that are not UTF-8.
    """
    text = str(place.absolute())
    if "\\" in text:
        raise UserError(f"{place}: checkpoints cannot lie at a path with a backslash; choose another path")
    if "\0" in text:
        raise UserError(f"{place}: a path cannot hold a null byte; choose another path")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{text!a}: checkpoints cannot lie at a path that is not UTF-8; choose another path"
        ) from None


def check_saveable(place: Path) -> None:
    """Refuses a run directory that no usable checkpoint can be saved to.

    Raises:
      UserError: as ``check_readable``; or it matches other names as a pattern, or is too long.
    """
    check_readable(place)
    whole = place.absolute()
    for part in whole.parts:
        if "*" in part or "?" in part or not fnmatch.fnmatchcase(part, part):
            raise UserError(
                f"{place}: checkpoints cannot be saved below {part!r}, a pattern (* ? [...]) to Orbax; "
                "choose a directory without these characters in its absolute path"
            )
    longest = max(len(os.fsencode(part)) for part in whole.parts)
    if longest > _NAME_BYTES or len(os.fsencode(whole)) + _DEEPEST > _PATH_BYTES:
        raise UserError(
            f"{place}: the path is too long to save checkpoints there; choose one of at most "
            f"{_PATH_BYTES - _DEEPEST} bytes, {_NAME_BYTES} bytes a name"
        )
