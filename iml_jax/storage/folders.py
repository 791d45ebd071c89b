"""Listing folders that somebody else filled: sorted, without what operating systems left there.

Passed over are names that begin with a dot (hidden files; ``._NAME`` holds what macOS knows of ``NAME``,
``.DS_Store`` its view of the folder) and the names of ``COMPANIONS``. What has the name of a data file and is
none (a directory, FIFO or broken link) is refused: passed over, it would be a file less than the folder seems
to hold. Every listing of a folder of data goes through here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from iml_jax.foundation.errors import Fault, UserError

COMPANIONS = frozenset(
    {"__MACOSX", "__pycache__", "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "lost+found"}
)
_DATA_FILE = re.compile(
    r".+\.((json|jsonl|jsonlines|csv|tsv|parquet|arrow|sqlite|txt|yaml|xml|sgm|bio|lst|nltktok)(\.gz)?"
    r"|(tfrecord|array_record)-\d{5}-of-\d{5})"
)


def is_companion(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name in COMPANIONS


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without hidden and companion files.

    Raises:
      UserError: it is no folder, may not be listed, or what has the name of a data file is none.
      Fault: the device failed.
    """
    try:
        with os.scandir(folder) as found:
            regular = {entry.name: _is_file(entry) for entry in found if not is_companion(entry.name)}
    except OSError as error:
        raise _cannot_be_listed(folder, error) from error
    _check_data_files(folder, [name for name, is_file in regular.items() if not is_file])
    return [folder / name for name in sorted(regular)]


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _check_data_files(folder: Path, irregular: Iterable[str]) -> None:
    for name in irregular:
        if _DATA_FILE.fullmatch(name):
            raise _no_data_file(folder / name)


def _no_data_file(path: Path) -> UserError:
    return UserError(f"{path}: has the name of a data file and is not one; rename or remove it")


def is_there(path: Path) -> bool:
    """Whether a file is there that may be missing (templates, a description of the data).

    Raises:
      UserError: something else is there: what the file should say would be missing without a word.
    """
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise _no_data_file(path)
    return False


def walk(folder: Path, *, follow_links: bool = False) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder from ``folder`` downwards, itself included, as ``os.walk`` gives them.

    Args:
      folder: where to begin; nothing is given where it is no folder.
      follow_links: enter linked folders, each real folder once (a link may lead upwards).

    Yields:
      (folder, names of the folders in it, names of the files in it), both sorted, without hidden and
      companion files. Folders that the caller removes from the list are not entered.

    Raises:
      UserError: a folder may not be listed, or has the name of a data file.
      Fault: the device failed.
    """
    if not folder.is_dir():
        return

    def failed(error: OSError) -> None:
        raise _cannot_be_listed(Path(error.filename or folder), error) from error

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=failed, followlinks=follow_links):
        if follow_links:
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
        folders[:] = sorted(name for name in folders if not is_companion(name))
        _check_data_files(Path(place), folders)
        yield Path(place), folders, sorted(name for name in files if not is_companion(name))


def _cannot_be_listed(folder: Path, error: OSError) -> Exception:
    if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)):
        reason = error.strerror or error
        return UserError(f"{folder}: cannot be listed ({reason}); check the path and its rights")
    return Fault(f"{folder}: cannot be listed: {error.strerror or error}")
