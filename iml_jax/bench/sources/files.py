"""What every source needs of the files it reads: bounded blocks, folders, names and splits."""

from __future__ import annotations

from pathlib import Path

from iml_jax.errors import UserError
from iml_jax.storage.reading import LINE_LIMIT

NAME_LIMIT = 200  # characters of a task or category that a file names; the longest known one has 85
SPLIT_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}


class Block:
    """What is put together from several lines (a row, a sentence, a dialogue), which must end some time.

    In a malformed file it need not: the file's whole content would be held in memory, many times over.
    """

    def __init__(self, path: Path, what: str) -> None:
        """``path`` and ``what`` it is are for the message."""
        self._path, self._what, self._size = path, what, 0

    def add(self, line: int, text: str) -> None:
        """Counts a line's text, and some characters for keeping it.

        Raises:
          UserError: more than ``LINE_LIMIT`` characters are held.
        """
        self._size += len(text) + 32
        if self._size > LINE_LIMIT:
            what = f"{self._what} of more than {LINE_LIMIT} characters"
            raise UserError(
                f"{self._path}:{line}: {what} ends here or later; mend what parts it from the next"
            )

    def end(self) -> None:
        """The next one begins."""
        self._size = 0


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
