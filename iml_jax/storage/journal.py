"""Files of JSON lines that a process appends to: read from either end, damaged lines passed over and counted.

A process that is killed may leave a torn last line, and a disk may damage any line. Neither stops the next
process, and nothing that can be read is lost.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.reading import LINE_LIMIT, open_binary, parse_json

_BLOCK = 1 << 16  # bytes read at once from the end


def parse(line: bytes, path: Path) -> dict[str, Any] | None:
    """The JSON object of a line; None where it is damaged."""
    try:
        found = parse_json(line.decode("utf-8"), path)
    except (UnicodeDecodeError, UserError):
        return None
    return found if isinstance(found, dict) else None


def records(path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of a file from its beginning, None for each damaged line; nothing where it is missing.

    Raises:
      UserError: it is not a regular file, or may not be read.
      Fault: the device failed.
    """
    if not os.path.lexists(path):
        return
    with open_binary(path) as stream:
        while line := stream.readline(LINE_LIMIT):
            if line.strip():
                yield parse(line, path)


def lines_from_end(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, line with its end) of each line, the last one first; reads no more than what is asked for.

    Raises:
      UserError: the file is missing, not a regular one, may not be read, or has a line above ``LINE_LIMIT``.
      Fault: the device failed.
    """
    block = _BLOCK
    with open_binary(path) as stream:
        end = stream.seek(0, os.SEEK_END)
        rest = b""  # the bytes from ``end`` on that belong to no line given yet
        while end > 0 or rest:
            start = max(end - block, 0)
            stream.seek(start)
            rest = stream.read(end - start) + rest
            end = start
            first = 0 if start == 0 else rest.find(b"\n") + 1  # before it, a line may begin earlier still
            if start and not first:
                if len(rest) > LINE_LIMIT:
                    raise UserError(
                        f"{path}: a line longer than {LINE_LIMIT} bytes ends at byte {start + len(rest)}; "
                        "remove it"
                    )
                block *= 2  # the cost stays linear in the line's length
                continue
            block = _BLOCK
            stop = len(rest)
            while stop > first:
                begin = rest.rfind(b"\n", first, stop - 1) + 1 or first
                yield start + begin, rest[begin:stop]
                stop = begin
            rest = rest[:first]
            if start == 0:
                return


def cut_after(path: Path, step: int) -> int:
    """Takes the lines of steps after ``step`` off the end of a file, as a resumed run writes them again.

    Only the end of the file is read, and the file is cut in one operation: a process that is killed leaves it
    as it was or as it shall be. Lines stand in the order of their ``step``. Damaged lines before the cut stay
    where they are; a torn last line goes.

    Returns:
      How many damaged lines were met.

    Raises:
      UserError: the file is not a regular one, or may not be read or written.
      Fault: the device failed.
    """
    if not os.path.lexists(path):
        return 0
    cut, damaged = None, 0
    for offset, line in lines_from_end(path):
        record = parse(line, path)
        number = record.get("step") if record else None
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            damaged += 1
            if not line.endswith(b"\n"):
                cut = offset
        elif number > step:
            cut = offset
        else:
            break
    if cut is not None:
        _truncate(path, cut)
    return damaged


def _truncate(path: Path, size: int) -> None:
    try:
        with path.open("r+b") as file:
            file.truncate(size)
            file.flush()
            os.fsync(file.fileno())
    except PermissionError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); check its rights") from error
    except OSError as error:
        raise Fault(f"{path}: cannot be written: {error.strerror or error}") from error


def open_at(path: Path, size: int) -> TextIO:
    """Opens a file to append, after cutting it to its first ``size`` bytes; makes it where it is missing.

    Raises:
      Fault: it cannot be written.
    """
    try:
        file = path.open("r+b" if path.exists() else "xb")
        file.truncate(size)
        file.seek(size)
    except OSError as error:
        raise Fault(f"{path}: cannot be written ({error.strerror or error})") from error
    return io.TextIOWrapper(file, encoding="utf-8", newline="\n")


def open_to_append(path: Path) -> TextIO:
    """Opens a file of JSON lines to append whole lines, after completing a torn last line with its end.

    Raises:
      UserError: it is there and is not a regular file, or may not be written.
      Fault: it cannot be written.
    """
    torn = False
    if os.path.lexists(path):
        with open_binary(path) as stream:
            if stream.seek(0, os.SEEK_END):
                stream.seek(-1, os.SEEK_END)
                torn = stream.read(1) != b"\n"
    try:
        file = path.open("a", encoding="utf-8")
        if torn:
            file.write("\n")
            file.flush()
    except PermissionError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); check its rights") from error
    except OSError as error:
        raise Fault(f"{path}: cannot be written: {error.strerror or error}") from error
    return file
