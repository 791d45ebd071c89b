"""JSON of any size, parsed value by value from a stream: one element of an array is held at a time.

An element of more than ``LINE_LIMIT`` characters is skipped without being held: ``TOO_LONG`` stands in its
place, and of what is in it only strings and brackets are checked.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import LINE_LIMIT, check_depth, open_binary, strict_decoder

_CHUNK = 1 << 16
_SCAN = strict_decoder().raw_decode
_BLANK = re.compile(r"[ \t\r\n]*")
_OPENING_OR_CLOSING = re.compile(r'["\[\]{}]')
_STRING_END = re.compile(r'"|\\')
_SCALAR_END = re.compile(r"[,\]}\s]")
# An error this close to the end of what was read may come from what is not read yet ("tru", "\u12", "-").
_NEAR_END = 16


class _TooLong:
    """Stands for an element that was skipped."""

    def __repr__(self) -> str:
        return "TOO_LONG"


TOO_LONG: Final = _TooLong()


class JsonStream:
    """What is left to parse of one JSON text.

    ``array`` and ``members`` walk through the array or object that begins here; of the latter every value
    must be taken, by ``value``, ``skip``, ``array`` or ``members`` itself, before the next key.
    """

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        """``path`` is for the messages."""
        self._stream, self._path = stream, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._ended = "", 0, False
        self._line, self._counted = 1, 0  # the line at that place of ``_text``
        self._dropped = 0  # characters before ``_text``

    @property
    def line(self) -> int:
        """The line of what comes next, from 1."""
        self._line, self._counted = self._line_at(self._at), self._at
        return self._line

    @property
    def position(self) -> int:
        """Characters before what comes next."""
        return self._dropped + self._at

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            match = _BLANK.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill(_CHUNK)

    def take(self, wanted: str) -> None:
        """Goes past the next character, which must be this one."""
        found = self.peek()
        if found != wanted:
            self._fail(f"{wanted!r} expected, not {repr(found) if found else 'the end of the file'}")
        self._at += 1

    def array(self) -> Iterator[tuple[int, Any]]:
        """(line where it starts, element or ``TOO_LONG``) of the array that starts here."""
        self.take("[")
        if self.peek() != "]":
            while True:
                self.peek()
                line = self.line
                yield line, self.value()
                if self.peek() != ",":
                    break
                self.take(",")
        self.take("]")

    def members(self) -> Iterator[str]:
        """The keys of the object that starts here; takes a key, the caller its value."""
        self.take("{")
        if self.peek() != "}":
            while True:
                if self.peek() != '"':
                    self._fail("a key in quotes expected")
                key = self.value()
                self.take(":")
                yield key if isinstance(key, str) else ""
                if self.peek() != ",":
                    break
                self.take(",")
        self.take("}")

    def value(self) -> Any:
        """The value that starts here, or ``TOO_LONG``."""
        self.peek()
        while True:
            try:
                value, end = _SCAN(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    self._fail(error.msg, error.pos)
                if len(self._text) - self._at > LINE_LIMIT:
                    self.skip()
                    return TOO_LONG
            except (ValueError, RecursionError) as error:
                self._fail(str(error) or "nested too deeply")
            else:
                # A number may go on in what is not read yet ("0", "0.", "1e-").
                whole = self._text[end - 1] in '"]}' or self._text[end : end + 1] not in ("", ".", "e", "E")
                if whole or self._ended or end < len(self._text) - _NEAR_END:
                    return self._checked(value, end)
            self._fill(max(_CHUNK, len(self._text) - self._at))  # doubled: each character is parsed twice

    def _checked(self, value: Any, end: int) -> Any:
        """The value, refused where ``parse_json`` would refuse it; moves on."""
        if end - self._at > LINE_LIMIT:
            self._at = end
            return TOO_LONG
        try:
            check_depth(self._text[self._at : end], value)
        except RecursionError:
            self._fail("nested too deeply")
        self._at = end
        return value

    def skip(self) -> None:
        """Goes past the value that starts here, holding a chunk of it at a time."""
        depth = 0
        first = self.peek()
        if first not in ("[", "{", '"'):
            self._seek(_SCALAR_END, to_the_end=True)
            return
        while True:
            self._seek(_OPENING_OR_CLOSING)
            mark = self._text[self._at]
            self._at += 1
            if mark == '"':
                self._skip_string()
            else:
                depth += 1 if mark in "[{" else -1
            if depth <= 0:
                return

    def _skip_string(self) -> None:
        while True:
            self._seek(_STRING_END)
            mark = self._text[self._at]
            self._at += 1
            if mark == '"':
                return
            while self._at >= len(self._text) and not self._ended:  # what a backslash escapes
                self._fill(_CHUNK)
            self._at += 1

    def _seek(self, pattern: re.Pattern[str], *, to_the_end: bool = False) -> None:
        """Moves to the next match."""
        while True:
            match = pattern.search(self._text, self._at)
            if match:
                self._at = match.start()
                return
            self._at = len(self._text)
            if self._ended:
                if to_the_end:
                    return
                self._fail("cut short")
            self._fill(_CHUNK)

    def end(self) -> None:
        """Refuses text after the value."""
        if self.peek():
            raise UserError(f"{self._path}:{self.line}: text after the end of the JSON; remove it")

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _NEAR_END

    def _fill(self, count: int) -> None:
        """Drops what was parsed and reads on."""
        line = self.line
        rest = self._text[self._at :]
        self._dropped += self._at
        content = self._stream.read(count)
        try:
            more = self._decode(content, not content)
        except UnicodeDecodeError as error:
            line += rest.count("\n") + content.count(b"\n", 0, error.start)
            bad = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
            raise UserError(f"{self._path}:{line}: {bad}; convert the file (iconv)") from error
        self._text, self._at, self._counted, self._ended = rest + more, 0, 0, not content

    def _line_at(self, position: int) -> int:
        return self._line + self._text.count("\n", self._counted, position)

    def _fail(self, what: str, position: int | None = None) -> NoReturn:
        line = self._line_at(self._at if position is None else position)
        raise UserError(f"{self._path}:{line}: malformed JSON: {what}; fix it")


@contextlib.contextmanager
def open_json(path: Path) -> Iterator[JsonStream]:
    """A stream over the JSON text of a file.

    Raises:
      UserError: as ``open_binary``; and, as it is walked through, malformed: names the line.
    """
    with open_binary(path) as stream:
        yield JsonStream(stream, path)


def elements(path: Path) -> Iterator[tuple[int, Any]]:
    """Streams (line where it starts, element or ``TOO_LONG``) of a file that is one JSON array.

    Raises:
      UserError: malformed; names the line.
    """
    with open_json(path) as text:
        yield from text.array()
        text.end()
