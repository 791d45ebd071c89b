"""Shell-style patterns over the keys of tasks (``benchmark:task``)."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from iml_jax.foundation.errors import UserError


def matches(patterns: Iterable[str], key: str) -> bool:
    """Whether any of the patterns matches the key."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def check(field: str, patterns: Iterable[str], keys: Sequence[str]) -> None:
    """Refuses a pattern that matches no task.

    Args:
      field: the gin parameter, for the message.
      patterns: its value.
      keys: of all tasks.

    Raises:
      UserError: one matches nothing; names the nearest key.
    """
    for pattern in patterns:
        if pattern != "*" and not fnmatch.filter(keys, pattern):
            near = difflib.get_close_matches(pattern, keys, n=1, cutoff=0.3)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise UserError(f"{field}: the pattern {pattern!r} matches no task{hint} (see `iml tasks`)")
