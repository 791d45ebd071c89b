"""Reading what somebody else wrote: bounded, regular files only, errors that name the file and the place.

The one reader of files and the one parser of JSON of the whole project; whatever a person can hand over
(task files, manifests, results, tokenizers, prompts, metrics) is opened and parsed here. What a process of
ours has just written (messages between processes, a value taken through JSON) is read with ``json.loads``.

Text is Unicode that UTF-8 can hold. Only JSON's ``\\uD83D`` can bring half of a surrogate pair, which no
file, stream or tokenizer takes: ``parse_json`` refuses it. In a row of data, which it would be wrong to stop
for, it is let through (``halves=True``), and the row is dropped and counted where an example is made of it
(``encodable``). Command-line arguments are held to the same rule in ``foundation/process.py``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import json
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.foundation.printing import encodable

# Longest line and largest whole file held in memory, in bytes; public task files stay far below (about 60
# MB). A text takes up to four times its bytes in memory, so that a file and what it is parsed into stay below
# some 1.2 GiB together.
LINE_LIMIT = 1 << 24
FILE_LIMIT = 3 << 25
# Commas, colons and opening brackets of a JSON text. As Python objects each costs up to 80 bytes ("[],[],[]"
# becomes 25 times as large), so this is about 600 MiB; the densest public files have one for every 8 bytes.
JSON_LIMIT = 1 << 23
# Containers inside one another. Python's parser takes about a thousand, and whoever walks through the value
# by recursion (pickle, json, yaml, our own linearisers) then fails; public files have at most some twenty.
DEPTH_LIMIT = 100
_BLOCK = 1 << 20
NUMBER_DIGITS = 308  # of an integer; one of more digits is no float64
_NOT_A_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL)
_LARGE_NUMBER = re.compile(
    r"[0-9]{309}|[eE]\+?[0-9]{3}"
)  # the parser looks closer only where one of these is

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps half of a pair


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file, through gzip when its name ends in ``.gz``, and names it in every error.

    Raises:
      UserError: it is missing, not readable by us, not a file, or its gzip stream is damaged or cut short.
      Fault: the device failed.
    """
    try:
        with _open_regular(path) as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                    yield stream  # type: ignore[misc]  # GzipFile reads bytes as IO[bytes] does
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut-short gzip file ({error}); fetch it again") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its rights"
        ) from error
    except OSError as error:
        if error.errno in _NOT_A_PATH:
            raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
        raise Fault(f"{path}: reading failed: {error.strerror or error}") from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise UserError(f"{path}: cannot be read (a path cannot hold a null byte)") from error


def regular_file(path: Path) -> Path:
    """The path of a file that a library opens by itself (Arrow, SQLite, TensorFlow), checked before.

    Such a library waits for ever at a FIFO, and calls a directory a damaged file.

    Raises:
      UserError, Fault: as ``open_binary``.
    """
    with open_binary(path):
        return path


def _open_regular(path: Path) -> IO[bytes]:
    """Opens a regular file, or raises: a FIFO would block for ever and a device never ends.

    Raises:
      UserError: it is something else.
      OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = "a FIFO" if stat.S_ISFIFO(mode) else "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else ""
    raise UserError(
        f"{path}: {kind or 'a special file'}, not a regular file; give the path of a regular file"
    )


def read_text(path: Path, limit: int = FILE_LIMIT) -> str:
    """The whole of a UTF-8 file of at most ``limit`` bytes (after gzip).

    Raises:
      UserError: as ``open_binary``; or it is larger, or not UTF-8.
    """
    content = bytearray()
    with open_binary(path) as stream:  # by blocks: `read(limit)` would allocate all of the limit for any file
        while len(content) <= limit and (block := stream.read(_BLOCK)):
            content += block
    if len(content) > limit:
        raise UserError(f"{path}: more than {limit} bytes; cut it into smaller files")
    return decode_utf8(bytes(content), path, 1)


def read_lines(path: Path, limit: int = LINE_LIMIT) -> Iterator[tuple[int, str]]:
    """Streams (line number from 1, line without its end) of a UTF-8 text file.

    Only "\\n" and "\\r\\n" end a line: texts may hold the other Unicode line separators.

    Raises:
      UserError: as ``open_binary``; or a line is longer than ``limit`` bytes, or not UTF-8.
    """
    for number, line in read_bounded_lines(path, limit):
        if line is None:
            raise UserError(f"{path}:{number}: line longer than {limit} bytes; cut it or remove the row")
        yield number, line


def read_bounded_lines(path: Path, limit: int = LINE_LIMIT) -> Iterator[tuple[int, str | None]]:
    """As ``read_lines``, but None stands for a line longer than ``limit`` bytes, which is never held.

    Raises:
      UserError: as ``open_binary``; or a line is not UTF-8.
    """
    with open_binary(path) as stream:
        number = 0
        while line := stream.readline(limit + 1):
            number += 1
            if len(line) > limit:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(limit)
                yield number, None
            else:
                yield number, decode_utf8(line, path, number).removesuffix("\n").removesuffix("\r")


def decode_utf8(content: bytes, path: Path, line: int) -> str:
    """The text of bytes that begin at ``line`` of a file; a byte-order mark at its beginning is dropped.

    Raises:
      UserError: they are not UTF-8; names the line.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line += content.count(b"\n", 0, error.start)
        raise UserError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; convert the file (iconv)"
        ) from error
    return text.removeprefix("\ufeff") if line == 1 else text


def parse_json(text: str, path: Path | str, line: int = 1, *, halves: bool = False) -> Any:
    """Parses JSON (RFC 8259) that starts at ``line`` of ``path``.

    NaN, Infinity and numbers beyond float64 are no JSON values here; Python's parser takes them.

    Args:
      text: the JSON; ``path`` and ``line`` are for the message.
      halves: lets halves of surrogate pairs through; for rows of data, which are dropped and counted where
        they are not ``encodable``.

    Raises:
      UserError: malformed, nested too deeply, a number too large, half of a surrogate pair, or more than
        ``JSON_LIMIT`` values; names the line.
    """
    if sum(map(text.count, ",:[{")) > JSON_LIMIT:
        raise UserError(f"{path}:{line}: JSON of more than {JSON_LIMIT} commas, colons and brackets; cut it")
    try:
        value = make_decoder(text).decode(text)
        check_depth(text, value)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}"
        raise UserError(f"{place}: malformed JSON, column {error.colno}: {error.msg}; fix it") from error
    except RecursionError as error:
        raise UserError(f"{path}:{line}: JSON that cannot be read (nested too deeply); fix it") from error
    except ValueError as error:
        raise UserError(f"{path}:{line}: JSON that cannot be read ({error}); fix it") from error
    if not halves and _HALF.search(text) and not encodable(json.dumps(value, ensure_ascii=False)):
        raise UserError(f"{path}:{line}: a text with half of a surrogate pair (\\uD800 to \\uDFFF); fix it")
    return value


def check_depth(text: str, value: Any) -> None:
    """Refuses a value that is nested more than ``DEPTH_LIMIT`` deep; ``text`` is its JSON.

    Raises:
      RecursionError: it is.
    """
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise RecursionError


def read_json(path: Path, limit: int = FILE_LIMIT) -> Any:
    """The value of a file that is one JSON text.

    Raises:
      UserError: as ``read_text`` and ``parse_json``.
      Fault: the device failed.
    """
    return parse_json(read_text(path, limit), path)


def make_decoder(text: str) -> json.JSONDecoder:
    """The JSON decoder for ``text``; NaN, Infinity and numbers beyond float64 are a ``ValueError`` to it."""
    return strict_decoder() if _LARGE_NUMBER.search(text) else _plain_decoder()


@functools.cache  # a line of a results file takes less time to parse than a decoder to be made
def _plain_decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse_constant)


def strict_decoder() -> json.JSONDecoder:
    """As ``make_decoder``, whatever the text; each number costs it a call of a Python function."""
    return json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer, parse_float=_real)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > NUMBER_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is beyond float64")
    return value


def split_lines(text: str) -> list[str]:
    """The lines of a text as ``read_lines`` gives those of a file: only "\\n" and "\\r\\n" end one."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines
