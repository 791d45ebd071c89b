"""Flat XML, element by element: the attributes and texts of one kind of element, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from iml_jax.bench.sources.formats.bounds import drop, is_long
from iml_jax.bench.sources.formats.records import Record
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import LINE_LIMIT, open_binary

_CHUNK = 1 << 16
_DEPTH = 1000  # open elements; expat keeps some 100 bytes of each, the public files have below 10


def xml_records(path: Path, element: str, *, doctype: bool = False) -> Iterator[Record]:
    """Streams the elements of one name: attributes, their own text under ``""``, and that of each child.

    The text of a child's children is left out; so is everything outside the elements. An element that is too
    long is dropped. Nothing is expanded or fetched: a file that defines a document type or an entity is
    refused, and only XML's five own entities may be used.

    Args:
      path: the file, plain or ``.gz``.
      element: the name of the elements; one inside another is refused.
      doctype: the file may name a document type that is defined elsewhere; it is not looked at.

    Raises:
      UserError: malformed XML, a definition inside it, or no such element; names the line.
    """
    reader = _Reader(path, element, doctype)
    with open_binary(path) as stream:
        while True:
            chunk = stream.read(_CHUNK)
            reader.feed(chunk, final=not chunk)
            yield from reader.taken()
            if not chunk:
                break
    if not reader.found:
        raise UserError(f"{path}: no element <{element}>; is it such a file?")


class _Reader:
    """expat's callbacks, and the elements that are complete."""

    def __init__(self, path: Path, element: str, doctype: bool) -> None:
        self._path, self._element, self._may_name_type = path, element, doctype
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._definition
        parser.SkippedEntityHandler = self._unknown_entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        self._inside: list[str] = []  # names from the element down to where we are
        self._attributes: dict[str, str] = {}
        self._texts: dict[str, list[str]] = {}
        self._line = self._length = self._number = self._fed = self._depth = 0
        self._done: list[Record] = []

    def feed(self, chunk: bytes, *, final: bool) -> None:
        self._fed += len(chunk)
        try:
            self._parser.Parse(chunk, final)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise UserError(f"{self._path}:{error.lineno}: malformed XML ({reason}); fix it") from error
        except (LookupError, ValueError) as error:  # an encoding that Python does not know
            raise UserError(f"{self._path}:1: unreadable encoding ({error}); convert it to UTF-8") from error
        if self._fed - self._parser.CurrentByteIndex > LINE_LIMIT:  # expat keeps an unfinished tag in memory
            self._refuse(f"a tag longer than {LINE_LIMIT} bytes; fix it")

    @property
    def found(self) -> int:
        """Elements that were complete so far."""
        return self._number

    def taken(self) -> list[Record]:
        done, self._done = self._done, []
        return done

    def _refuse(self, what: str) -> None:
        raise UserError(f"{self._path}:{self._parser.CurrentLineNumber}: {what}")

    def _doctype(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        del name, system, public
        if internal or not self._may_name_type:
            self._definition()

    def _definition(self, *_: Any) -> None:
        self._refuse("a document type or entity definition; remove it")

    def _unknown_entity(self, name: str, parameter: bool) -> None:
        del parameter
        self._refuse(f"unknown entity &{name[:40]};; write the character itself")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH:
            self._refuse(f"elements nested deeper than {_DEPTH}; close them")
        if self._inside:
            if tag == self._element:
                self._refuse(f"a <{tag}> inside a <{tag}>; close the first")
            self._inside.append(tag)
            if len(self._inside) == 2 and self._length <= LINE_LIMIT:
                self._length += len(tag) + 32
                self._texts.setdefault(tag, [])
        elif tag == self._element:
            self._inside = [tag]
            self._attributes, self._texts = attributes, {"": []}
            self._line, self._length = self._parser.CurrentLineNumber, 0

    def _characters(self, text: str) -> None:
        if not 1 <= len(self._inside) <= 2:
            return
        self._length += len(text)
        if self._length > LINE_LIMIT:
            self._texts = {}
            return
        self._texts["" if len(self._inside) == 1 else self._inside[1]].append(text)

    def _end(self, tag: str) -> None:
        del tag
        self._depth -= 1
        if not self._inside:
            return
        self._inside.pop()
        if not self._inside:
            self._number += 1
            values = dict(self._attributes) | {name: "".join(parts) for name, parts in self._texts.items()}
            if self._length > LINE_LIMIT or is_long(values):
                drop(self._path, self._line)
                return
            self._done.append(Record(f"{self._path}:{self._line}", self._number, values))
