"""Writing files atomically, and checking before long work that its result can be written.

A reader sees the old content or the new, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from iml_jax.foundation.errors import Fault, UserError

# Another place or other rights are the remedy; what else an operating system says is a fault.
_NOT_THERE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes ``content`` (text as UTF-8) to ``path`` through a temporary name beside it.

    Directories above ``path`` that are missing are made.

    Raises:
      Fault: the file cannot be written (disk full, no permission); nothing half-written stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise Fault(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing that replaces ``path`` when the block ends, and is removed if the block raises.

    The directory of ``path`` must exist: one that was removed meanwhile is not made again.

    Raises:
      OSError: it cannot be written; nothing half-written stays.
    """
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # below a file, say
            temporary.unlink(missing_ok=True)
        raise


def copy(source: Path, target: Path) -> None:
    """Copies a file atomically.

    Raises:
      OSError: ``source`` cannot be read, or ``target`` not be written.
    """
    with source.open("rb") as content, atomic_file(target) as file:
        shutil.copyfileobj(content, file)


def delete(path: Path) -> None:
    """Deletes a file; one that is missing is deleted already.

    Raises:
      OSError: it cannot be deleted.
    """
    path.unlink(missing_ok=True)


def check_writable(path: Path, remedy: str, *, directory: bool = False) -> None:
    """Checks that ``write_atomically`` could write ``path``: call it before the work whose result goes there.

    A temporary file is written and removed in the directory or, where that does not exist yet, in the nearest
    one above it that does; nothing else is created, and ``path`` is not touched.

    Args:
      path: the file that will be written.
      remedy: ends the message: what to give instead.
      directory: ``path`` is a directory that will be put there under a temporary name first.

    Raises:
      UserError: no right to write there, or ``path`` cannot be the name of a file.
      Fault: the disk is full or failed.
    """
    try:
        if path.is_dir() and not directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # a name too long, or one below a file, is found here
        folder = path.absolute().parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        temporary = folder / _temporary(path).name
        try:
            temporary.write_bytes(b"\n")  # a full disk refuses bytes only
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        text = f"{path}: cannot be written ({error.strerror or error})"
        if error.errno in _NOT_THERE:
            raise UserError(f"{text}; {remedy}") from error
        raise Fault(text) from error
    except ValueError as error:  # a null byte
        raise UserError(f"{path}: cannot be written ({error}); {remedy}") from error


def _temporary(path: Path) -> Path:
    # Random, since two threads, or processes of two machines, may write the same file at once.
    return path.with_name(f".{path.name}.{secrets.randbelow(10**12)}.tmp")
