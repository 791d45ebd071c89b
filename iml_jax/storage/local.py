"""Directories and temporary files of the local file system, for libraries that write into a directory.

Orbax, JAX's compilation cache, ArrayRecord, safetensors and TensorBoard's writer need a local directory. A
bucket has none of these operations; see the package's docstring for those that it has.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from iml_jax.foundation.errors import Fault
from iml_jax.storage import lease


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Makes a directory and those above it, where they are missing.

    Args:
      path: of the directory.
      mode: the rights of ``path`` itself, less the umask.

    Raises:
      OSError: it cannot be made.
    """
    path.mkdir(mode=mode, parents=True, exist_ok=True)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it, as far as the operating system permits; never raises."""
    shutil.rmtree(path, ignore_errors=True)


def clear_directory(path: Path) -> None:
    """Removes all that is in a directory.

    Raises:
      OSError: something cannot be removed.
    """
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def remove_empty_directory(path: Path) -> None:
    """Removes a directory that holds nothing.

    Raises:
      OSError: it is missing, not empty, or cannot be removed.
    """
    path.rmdir()


def rename_file(path: Path, name: str) -> Path:
    """Renames a file within its directory; returns the new path. A file of that name is replaced.

    Raises:
      OSError: it cannot be renamed.
    """
    return path.replace(path.with_name(name))


def set_aside(path: Path) -> Path:
    """Renames a file or directory to ``NAME.refused``, or ``NAME.refused1`` ... where that exists.

    Returns:
      The new path.

    Raises:
      OSError: it cannot be renamed.
    """
    names = (path.with_name(f"{path.name}.refused{suffix}") for suffix in ("", *range(1, 1000)))
    return path.rename(next(name for name in names if not name.exists()))


def replace_directory(finished: Path, target: Path) -> None:
    """Renames ``finished`` to ``target``, and then removes the directory that was there.

    A kill in between leaves either directory complete, the older one perhaps under a temporary name.

    Args:
      finished: a directory whose name ends in ``.tmp``, beside ``target``.
      target: missing, or a directory.

    Raises:
      OSError: it cannot be renamed.
    """
    old = finished.with_name(f"{finished.name}.old.tmp")
    try:
        finished.replace(target)  # POSIX lets an empty directory be replaced
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    target.rename(old)
    finished.rename(target)
    remove_tree(old)


@contextlib.contextmanager
def replacing_directory(target: Path, held: lease.Lease, *, nonempty: bool = False) -> Iterator[Path]:
    """A new directory beside ``target`` that replaces it when the block succeeds, and is removed if not.

    What a killed process left of an earlier such directory is removed first.

    Args:
      target: missing, or a directory.
      held: the lease of ``target``, which must still be held when the block ends.
      nonempty: also replace a directory that holds something.

    Raises:
      UserError: the lease was lost meanwhile.
      Fault: the directory cannot be made.
      OSError: it cannot be renamed, or ``target`` is not empty and ``nonempty`` is false.
    """
    for left in target.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}\.tmp(\.old\.tmp)?", left.name):
            remove_tree(left)
    temporary = target.with_name(f".{target.name}.{held.token}.tmp")
    try:
        try:
            temporary.mkdir()
        except OSError as error:
            raise Fault(f"{temporary}: cannot be made: {error.strerror or error}") from error
        yield temporary
        held.check()
        replace_directory(temporary, target) if nonempty else temporary.replace(target)
    finally:
        remove_tree(temporary)


@contextlib.contextmanager
def temporary_directory(parent: Path | None = None, prefix: str = "tmp") -> Iterator[Path]:
    """A directory of this user alone that is removed when the block ends.

    Args:
      parent: where; None for the system's directory of temporary files.
      prefix: with which its name begins.

    Raises:
      OSError: it cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def temporary_file(parent: Path | None = None) -> IO[bytes]:
    """A file without a name to write and read, for what a child process prints; gone when it is closed.

    Args:
      parent: in which directory; None for the system's directory of temporary files.

    Raises:
      OSError: it cannot be made.
    """
    return tempfile.TemporaryFile(dir=parent)
