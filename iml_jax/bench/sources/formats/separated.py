"""CSV and TSV, a row at a time: one above ``LINE_LIMIT`` bytes is passed over without being held.

Quoted cells may hold line ends, so that a quote too many makes one row of what follows. Where a row ends is
then found by ``_Quotes``; everything else is Python's ``csv``, which keeps a row until it is complete.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import LINE_LIMIT, decode_utf8, open_binary

_PIECE = 1 << 20  # bytes of a line that is passed over, held at a time


def csv_lines(
    path: Path, *, tabs: bool = False, limit: int = LINE_LIMIT
) -> Iterator[tuple[int, list[str] | None]]:
    """Streams (line where it starts, cells) of every row of a CSV file; empty lines are left out.

    Args:
      path: the file.
      tabs: it is TSV: cells stand between tabs, and quotes are characters like others.
      limit: bytes of a row; None stands for the cells of a longer one.

    Raises:
      UserError: malformed; names the line.
    """
    kind = "TSV" if tabs else "CSV"
    with open_binary(path) as stream:
        lines = _Lines(stream, path, limit, quotes=not tabs)
        rows = _reader(lines, tabs=tabs)
        while True:
            start = lines.number + 1
            try:
                cells = next(rows, None)
            except _TooLongError:
                lines.pass_over(start)
                yield start, None
                continue
            except csv.Error as error:
                raise UserError(f"{path}:{start}: malformed {kind} ({error}); fix the row") from error
            lines.row_ends()
            if cells is None:
                return
            if cells:
                yield start, cells


def named_cells(
    path: Path, *, tabs: bool = False, unnamed: bool = False
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Streams (line where it starts, column -> text) of every row under the header; None for a longer one.

    Args:
      path, tabs: as for ``csv_lines``.
      unnamed: columns may have no name and are left out then; the names of the others are stripped.

    Raises:
      UserError: as ``csv_lines``; or a row has not as many cells as the header, or a column is there twice.
    """
    header: list[str] | None = None
    for start, cells in csv_lines(path, tabs=tabs):
        if header is None:
            if cells is None:
                what = f"a header of more than {LINE_LIMIT} bytes"
                raise UserError(f"{path}:1: {what}; the first line is the header")
            header = [name.strip() for name in cells] if unnamed else cells
            named = list(filter(None, header))
            complete = bool(named) if unnamed else start == 1 and all(header)
            if not complete or len(set(named)) != len(named):
                what = f"{'no' if unnamed else 'empty'} or repeated column names"
                raise UserError(f"{path}:{start if unnamed else 1}: {what}; the first line is the header")
        elif cells is None:
            yield start, None
        elif len(cells) != len(header):
            wanted = f"{len(cells)} cells, the header has {len(header)}"
            raise UserError(f"{path}:{start}: {wanted}; fix the row")
        else:
            yield start, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def parse_csv(text: str, place: str, *, escapes: bool) -> list[list[str]]:
    """The rows of a CSV text that is held already; empty lines are left out.

    Args:
      text: the CSV.
      place: where it is from, for the message.
      escapes: quotes inside a cell are written ``\\"``, not doubled.

    Raises:
      UserError: malformed.
    """
    lines = io.StringIO(text, newline="")
    try:
        return [row for row in _reader(lines, strict=False, escapes=escapes) if row]
    except csv.Error as error:
        raise UserError(f"{place}: malformed CSV ({error}); fetch the table again") from error


def _reader(
    lines: Iterable[str], *, tabs: bool = False, strict: bool = True, escapes: bool = False
) -> Iterator[list[str]]:
    csv.field_size_limit(LINE_LIMIT)
    if tabs:
        return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    kind: dict[str, Any] = {"escapechar": "\\", "doublequote": False} if escapes else {}
    return csv.reader(lines, strict=strict, **kind)


class _TooLongError(Exception):
    """The row that ``csv`` puts together is above the bound; it begins with the next line after this."""


class _Lines(Iterator[str]):
    """The lines of a file, for ``csv``, with what is needed to find the end of a row that is too long."""

    def __init__(self, stream: IO[bytes], path: Path, limit: int, *, quotes: bool) -> None:
        self._stream, self._path, self._limit, self._quotes = stream, path, limit, quotes
        self._row = bytearray()  # what the present row has so far, as it is in the file
        self.number = 0  # lines read

    def __next__(self) -> str:
        line = self._stream.readline(self._limit + 1 - len(self._row))
        self._row += line
        if len(self._row) > self._limit:
            raise _TooLongError
        if not line:
            raise StopIteration
        self.number += 1
        text = decode_utf8(line, self._path, self.number)
        return text.removesuffix("\n").removesuffix("\r") + "\n"

    def row_ends(self) -> None:
        """The next line begins a row."""
        self._row.clear()

    def pass_over(self, start: int) -> None:
        """Reads on to the end of the present row, holding a piece of a line at a time.

        Args:
          start: the line where it begins.

        Raises:
          UserError: it has no end, or text follows a cell's closing quote.
        """
        state = _Quotes()
        piece: bytes = bytes(self._row).removeprefix(b"\xef\xbb\xbf" if start == 1 else b"")
        self._row.clear()
        while piece:
            ended = piece.endswith(b"\n")
            self.number += ended
            if self._quotes and not state.feed(piece.rstrip(b"\r\n") if ended else piece):
                what = "malformed CSV (',' expected after '\"')"
                raise UserError(f"{self._path}:{self.number + (not ended)}: {what}; fix the row")
            if ended and not state.line_ends():
                return
            piece = self._stream.readline(_PIECE)
        if state.line_ends():
            raise UserError(f"{self._path}:{start}: malformed CSV (a quote without an end); fix the row")


class _Quotes:
    """Whether a row continues after the end of a line, by the rules of ``csv`` (strict, doubled quotes)."""

    _START, _BARE, _QUOTED, _QUOTE = range(4)  # of a cell; in one without quotes; in one with; after a quote

    def __init__(self) -> None:
        self._state = self._START

    def feed(self, text: bytes) -> bool:
        """Takes a part of a line, or some lines; False where it is malformed."""
        at, state = 0, self._state
        while at < len(text):
            if state == self._QUOTED:
                at = text.find(b'"', at) + 1 or len(text) + 1
                state = self._QUOTE if at <= len(text) else state
            elif state == self._BARE:
                at = text.find(b",", at) + 1 or len(text) + 1
                state = self._START if at <= len(text) else state
            else:
                mark, at = text[at], at + 1
                if mark == ord(","):
                    state = self._START
                elif mark == ord('"'):
                    state = self._QUOTED
                elif state == self._QUOTE:
                    if mark != ord("\r"):  # whose line feed is in the next part
                        return False
                else:
                    state = self._BARE
        self._state = state
        return True

    def line_ends(self) -> bool:
        """The line ends; whether its last cell, and with it the row, continues."""
        if self._state == self._QUOTED:
            return True
        self._state = self._START
        return False
