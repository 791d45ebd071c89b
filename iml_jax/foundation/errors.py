"""The exceptions whose text is meant for the person at the terminal.

Everything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from iml_jax.foundation.printing import one_line

_LONGEST = 1_500  # characters of a message; a quoted key or cell may have millions
_HEAD, _TAIL = 1_000, 400


class UserError(Exception):
    """A mistake the user can fix: exit status 2.

    The message is one line that names the file, the place in it and the remedy. What it quotes from a file
    may hold anything: line breaks become spaces and what does not print is escaped, and of a message of
    more than 1,500 characters the middle is left out.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_short(str(message)))


class Fault(Exception):  # noqa: N818 - a fault is not the user's error
    """Something outside the user's input broke (full disk, NaN loss): exit status 1, one line."""


class Preempted(Exception):  # noqa: N818 - nothing went wrong
    """The platform takes the machine back (SIGTERM): what was done is saved; exit status 143."""


def _short(text: str) -> str:
    if len(text) > _LONGEST:
        text = f"{text[:_HEAD]} ... {text[-_TAIL:]}"
    return text if text.isprintable() else one_line(text)
