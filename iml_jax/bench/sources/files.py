"""Reading what somebody else wrote: bounded, and with errors that name the file and the place."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from iml_jax.errors import Fault, UserError

# Longest line and largest whole file held in memory, in bytes; public task files stay far below (about 60
# MB). A text takes up to four times its bytes in memory, so that a file and what it is parsed into stay below
# some 1.2 GiB together.
LINE_LIMIT = 1 << 24
FILE_LIMIT = 3 << 25
# Commas, colons and opening brackets of a JSON text. As Python objects each costs up to 80 bytes ("[],[],[]"
# becomes 25 times as large), so this is about 600 MiB; the densest public files have one for every 8 bytes.
JSON_LIMIT = 1 << 23
NAME_LIMIT = 200  # characters of a task or category that a file names; the longest known one has 85
SPLIT_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file, through gzip when its name ends in ``.gz``, and names it in every error.

    Raises:
      UserError: it is missing, not readable by us, not a file, or its gzip stream is damaged or cut short.
      Fault: the device failed.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream  # type: ignore[misc]  # GzipFile reads bytes as IO[bytes] does
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut-short gzip file ({error}); fetch it again") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and its rights"
        ) from error
    except OSError as error:
        raise Fault(f"{path}: reading failed: {error}") from error


def read_text(path: Path, limit: int = FILE_LIMIT) -> str:
    """The whole of a UTF-8 file of at most ``limit`` bytes (after gzip).

    Raises:
      UserError: as ``open_binary``; or it is larger, or not UTF-8.
    """
    with open_binary(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise UserError(f"{path}: more than {limit} bytes; cut it into smaller files")
    return _decode(content, path, 1)


def read_lines(path: Path, limit: int = LINE_LIMIT) -> Iterator[tuple[int, str]]:
    """Streams (line number from 1, line without its end) of a UTF-8 text file.

    Only "\\n" and "\\r\\n" end a line: texts may hold the other Unicode line separators.

    Raises:
      UserError: as ``open_binary``; or a line is longer than ``limit`` bytes, or not UTF-8.
    """
    with open_binary(path) as stream:
        number = 0
        while line := stream.readline(limit + 1):
            number += 1
            if len(line) > limit:
                raise UserError(f"{path}:{number}: line longer than {limit} bytes; cut it or remove the row")
            yield number, _decode(line, path, number).removesuffix("\n").removesuffix("\r")


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


def _decode(content: bytes, path: Path, line: int) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line += content.count(b"\n", 0, error.start)
        raise UserError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; convert the file (iconv)"
        ) from error
    return text.removeprefix("\ufeff") if line == 1 else text


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """Parses JSON that starts at ``line`` of ``path``.

    Raises:
      UserError: malformed, nested too deeply, a number too large, or more than ``JSON_LIMIT`` values; names
        the line.
    """
    if sum(map(text.count, ",:[{")) > JSON_LIMIT:
        raise UserError(f"{path}:{line}: JSON of more than {JSON_LIMIT} commas, colons and brackets; cut it")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}"
        raise UserError(f"{place}: malformed JSON, column {error.colno}: {error.msg}; mend it") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{line}: JSON that cannot be read ({error}); mend it") from error


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


def encodable(*texts: str) -> bool:
    """Whether every text can be written as UTF-8 (JSON may bring lone surrogates)."""
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_name(text: str) -> bool:
    """Whether a text can name a task or category: not blank, on one line of a table, and valid Unicode."""
    return bool(text.strip()) and len(text) <= NAME_LIMIT and text.isprintable()
