"""Whose directory it is: a command writes into, and deletes in, only what this project made.

A marker file, written before anything else, says what a directory is (a run, a prepared directory). Names of
files cannot say it: a ``manifest.json`` or a ``checkpoints`` folder may be anybody's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_json, read_text
from iml_jax.storage.writing import write_atomically

MARKER = ".iml_jax"
# What is there before the marker: the lease, and files of ``storage.writing`` under their temporary names. A
# process killed before the marker leaves them, and another host may see them.
_EARLIER = re.compile(r"^\.[a-z]*\.?lease(\.|$)|^\..+\.[0-9]+\.tmp$")
_TEXT = "written by iml_jax, which replaces and deletes files here; this file says so\n"


def check_own(folder: Path, kind: str, name: str, before: Callable[[Path], bool] | None = None) -> None:
    """Checks that a command may write into ``folder``: missing, empty, or marked as ``kind``. Writes nothing.

    Args:
      folder: the directory.
      kind: what the command makes of it, e.g. ``run``.
      name: of the setting that names it, for the message.
      before: whether a directory without a marker is one that a version before the marker wrote.

    Raises:
      UserError: it is somebody else's, or cannot be looked at.
    """
    try:
        if not folder.is_dir():
            if folder.exists() or folder.is_symlink():
                raise UserError(f"{name} = {folder}: is no directory; choose another {name}")
            return
        others = [path.name for path in folder.iterdir() if not _EARLIER.search(path.name)]
    except OSError as error:
        raise UserError(f"{name} = {folder}: {error.strerror or error}; choose another {name}") from error
    except ValueError as error:  # a null byte
        raise UserError(f"{name} = {str(folder)!r}: {error}; choose another {name}") from error
    if not others:
        return
    if MARKER in others:
        found = read_text(folder / MARKER).partition(":")[0]
        if found == kind:
            return
        raise UserError(f"{name} = {folder}: is a {found}, not a {kind}; choose another {name}")
    if before is None or not before(folder):
        shown = ", ".join(sorted(others)[:3])
        raise UserError(
            f"{name} = {folder}: is not empty and not a {kind} of iml_jax (it holds {shown}); nothing in it "
            f"was touched; choose a new or empty {name}"
        )


def claim(folder: Path, kind: str) -> None:
    """Marks a directory that ``check_own`` let pass; makes it if it is missing.

    Raises:
      Fault: it cannot be written.
    """
    if not (folder / MARKER).is_file():
        write_atomically(folder / MARKER, f"{kind}: {_TEXT}")


@contextlib.contextmanager
def claimed(folder: Path, kind: str) -> Iterator[None]:
    """``claim`` for the body; one that fails before it wrote anything leaves no marker either."""
    new = not (folder / MARKER).is_file()
    claim(folder, kind)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if new and all(path.name == MARKER or _EARLIER.search(path.name) for path in folder.iterdir()):
                (folder / MARKER).unlink()
        raise


def check_record(file: Path, is_ours: Callable[[dict[str, Any]], bool], kind: str, option: str) -> None:
    """Refuses to replace a JSON file that no command of this project wrote.

    Args:
      file: that a command would replace; it may be missing.
      is_ours: whether an object is one that such a command writes.
      kind: what it would be ("plan"), for the message.
      option: that names another file.

    Raises:
      UserError: it is somebody else's, or cannot be read.
    """
    if not file.exists():
        return
    found = read_json(file)
    if not (isinstance(found, dict) and is_ours(found)):
        raise UserError(f"{file}: exists and is no {kind}; nothing was written; name another {option}")


def check_given(text: str, name: str) -> None:
    """Refuses an empty path, which would be the working directory.

    Raises:
      UserError: it is empty, or blanks.
    """
    if not text.strip():
        raise UserError(f"{name} is empty; give the path of a directory")
