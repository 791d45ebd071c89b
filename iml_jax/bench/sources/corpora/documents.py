"""Long texts cut into documents of a bounded size, at paragraphs where they have any."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*\s+")


def documents(lines: Iterable[tuple[int, str]], size: int) -> Iterator[tuple[int, str]]:
    """Streams (number of its first line, text) of documents of at most ``size`` characters.

    As many whole paragraphs as fit make a document. A paragraph that alone is longer is cut at its lines, a
    longer line at the end of a sentence, else at white space, else where it is full. Only white space at a
    cut is lost, and empty lines at both ends of the text; no more than a document and a line is held.

    Args:
      lines: (number, line without its end); an empty line ends a paragraph.
      size: characters, at least 1.
    """
    kept: list[tuple[int, str]] = []
    length = whole = 0  # characters and line ends in ``kept``; how many of its lines are whole paragraphs
    for number, line in lines:
        for piece in _pieces(line, size):
            blank = not piece.strip()
            while kept and not blank and length + len(piece) > size:
                cut = whole or len(kept)
                yield from _document(kept[:cut])
                kept, whole = kept[cut:], 0
                length = sum(len(text) + 1 for _, text in kept)
            if kept or not blank:
                kept.append((number, piece))
                length += len(piece) + 1
            if blank:
                whole = len(kept)
    yield from _document(kept)


def _document(kept: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    text = "\n".join(line for _, line in kept).rstrip()
    if text:
        yield kept[0][0], text


def _pieces(line: str, size: int) -> Iterator[str]:
    """A line in parts of at most ``size`` characters; most are one part."""
    at = 0
    while len(line) - at > size:
        end = at + size + 1  # a space there may be lost
        cut = max((match.end() for match in _SENTENCE_END.finditer(line, at, end)), default=0)
        cut = cut or line.rfind(" ", at + 1, end) + 1 or at + size
        yield line[at:cut].rstrip()
        at = cut
        while at < len(line) and line[at].isspace():
            at += 1
    yield line[at:]
