"""Optional files beside the rows, such as lists of labels: a malformed one is done without and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from iml_jax.bench.sources.formats import bounds
from iml_jax.foundation.errors import UserError

UNUSED = "optional file that is malformed and not used"
_Said = TypeVar("_Said")


def said(path: Path | None, read: Callable[[Path], _Said]) -> _Said | None:
    """What an optional file says; None where it is not there or is malformed.

    A malformed one is counted as one row that is left out, unless its task was asked for by name.

    Args:
      path: the file; None where it is not there.
      read: reads it.

    Raises:
      UserError: the file is malformed, and its task was asked for by name (``Source.asked_for``).
    """
    if path is None:
        return None
    try:
        return read(path)
    except UserError as error:
        if bounds.asked_by_name():
            raise
        bounds.leave_out(path, 0, f"{UNUSED}: {error}")
        return None
