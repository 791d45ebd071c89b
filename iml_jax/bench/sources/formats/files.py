"""What every source needs of the files it reads: folders, names and splits."""

from __future__ import annotations

from pathlib import Path

from iml_jax.foundation.errors import UserError

NAME_LIMIT = 200  # characters of a task or category that a file names; the longest known one has 85
SPLIT_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}


def directory(path: str, what: str) -> Path:
    """``path`` as an existing folder.

    Args:
      path: what the user bound.
      what: the field it was bound to, for the message.

    Raises:
      UserError: it is no folder.
    """
    if not path:
        raise UserError(f"{what} is empty; bind it to a folder")
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{what} = {path}: no such folder; check the path")
    return folder


def is_name(text: str) -> bool:
    """Whether a text can name a task or category: not blank, on one line of a table, and valid Unicode."""
    return bool(text.strip()) and len(text) <= NAME_LIMIT and text.isprintable()
