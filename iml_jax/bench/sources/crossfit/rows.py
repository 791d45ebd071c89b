"""Lines of CrossFit's files, and where their answer options are."""

from __future__ import annotations

import hashlib
import itertools
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from iml_jax.bench.sources.base import Item
from iml_jax.bench.sources.formats.bounds import LONG_ROW, NOT_UNICODE, is_long
from iml_jax.bench.sources.formats.rows import located_rows
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable
from iml_jax.storage.reading import open_binary, read_bounded_lines

FILE = re.compile(
    r"(?P<task>[^:]+)_(?P<shots>\d{1,9})_(?P<seed>\d{1,9})_(?P<split>train|dev|test)\.(?P<form>tsv|jsonl)(\.gz)?"
)
MAX_LABELS = 64
# "(A) one (B) two", in ARC now and then "(1) one (2) two". QuAIL's scripts put no spaces around the markers.
_ALPHABETS = (string.ascii_uppercase, "123456789")
_MARKERS = (r"(?<!\S)\({}\)(?!\S)", r"\({}\)")
_BLOCK = 1 << 20


def is_jsonl(path: Path) -> bool:
    """Whether a file is of MetaICL's form."""
    return path.name.removesuffix(".gz").endswith(".jsonl")


def read(path: Path, *, single: bool) -> Iterator[tuple[int, Item | str]]:
    """Streams (line number, row, or why the line is none).

    TSV: ``input <tab> output``, without a header or quotes; more outputs follow after more tabs (what
    CrossFit's ``dataloader`` reads). JSONL: MetaICL's objects of ``input``, ``output`` and ``options``.

    Args:
      path: a file whose name ``FILE`` matches.
      single: a row can have one output only, so that a second tab must come from the input.

    Raises:
      UserError: as ``read_bounded_lines`` and ``located_rows``; or no line of the file has a tab, or a JSON
        object is not of that form.
    """
    lines = _jsonl(path) if is_jsonl(path) else _tsv(path)
    for number, row in lines:
        yield number, row if isinstance(row, str) else _checked(row, single)


def _tsv(path: Path) -> Iterator[tuple[int, Item | str]]:
    number, tabs = 0, False
    for number, line in read_bounded_lines(path):
        if line is None:
            yield number, LONG_ROW
            tabs = True  # who knows
            continue
        source, tab, outputs = line.partition("\t")
        tabs = tabs or bool(tab)
        if not line.strip():
            yield number, "empty line"
        elif not tab:
            yield number, "line without a tab"
        else:
            yield number, Item(source.strip(), _distinct(outputs.split("\t")))
    if number and not tabs:
        raise UserError(f"{path}:1: no line has a tab; expected input, a tab and output in each")


def _jsonl(path: Path) -> Iterator[tuple[int, Item | str]]:
    for number, row in located_rows(path):
        if is_long(row):
            yield number, LONG_ROW
            continue
        source = row.get("input")
        if not isinstance(source, str):
            raise UserError(f"{path}:{number}: 'input' must be a string; fix or remove the row")
        outputs = _texts(row.get("output", 0), "output", path, number)  # without one it is malformed
        options = _texts(row.get("options"), "options", path, number)
        yield number, Item(source.strip(), outputs, options)


def _texts(value: object, key: str, path: Path, number: int) -> tuple[str, ...]:
    """A string or a list of strings; None means an empty list."""
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{path}:{number}: '{key}' must be a string or a list of strings; fix or remove the row"
        )
    return _distinct(texts)


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))


def _checked(row: Item, single: bool) -> Item | str:
    if not row.source:
        return "empty input"
    if not row.references:
        return "empty output"
    if single and len(row.references) > 1:
        return "several outputs where there is one"
    if not encodable(row.source, *row.references, *row.options):  # its output is no label of the other rows
        return NOT_UNICODE
    return row


def labels(paths: Sequence[Path]) -> tuple[str, ...]:
    """The outputs and options of all rows of a classification task, sorted; nothing unless 2 to 64.

    Raises:
      UserError: as ``read``.
    """
    found: set[str] = set()
    for path in _different(paths):
        for _, row in read(path, single=True):
            if isinstance(row, Item):
                found.update(row.references, row.options)
        if len(found) > MAX_LABELS:
            return ()
    return tuple(sorted(found)) if len(found) > 1 else ()


def _different(paths: Sequence[Path]) -> Iterator[Path]:
    """One of the files that hold the same bytes: the test files of all seeds do."""
    seen: set[bytes] = set()
    for path in paths:
        digest = hashlib.sha256()
        with open_binary(path) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        if digest.digest() not in seen:
            seen.add(digest.digest())
            yield path


def lists_options(paths: Sequence[Path]) -> bool:
    """Whether every file is JSONL whose first usable row has options.

    Raises:
      UserError: as ``read``.
    """
    for path in paths:
        if not is_jsonl(path):
            return False
        usable = (row for _, row in read(path, single=False) if isinstance(row, Item))
        if not any(row.options for row in itertools.islice(usable, 1)):
            return False
    return bool(paths)


def options_in(source: str) -> tuple[str, ...]:
    """The choices ``(A) .. (B) ..`` of an input, in order; nothing where it lists fewer than two.

    A context may follow them after ``[SEP]``. Between QuaRel's choices stands "or", which is none of them.
    """
    for alphabet in _ALPHABETS:
        for marker in _MARKERS:
            if len(found := _marked(source, alphabet, marker)) > 1:
                return found
    return ()


def _marked(source: str, alphabet: str, marker: str) -> tuple[str, ...]:
    """The texts after the markers of successive letters, from the first letter's first place to ``[SEP]``."""
    first = re.search(marker.format(alphabet[0]), source)
    if first is None:
        return ()
    text = source[first.start() :].partition("[SEP]")[0]
    matches: list[re.Match[str]] = []
    for letter in alphabet:
        match = re.compile(marker.format(letter)).search(text, matches[-1].end() if matches else 0)
        if match is None:
            break
        matches.append(match)
    starts = [*(match.start() for match in matches[1:]), len(text)]
    found = [text[match.end() : start].strip() for match, start in zip(matches, starts, strict=True)]
    found[:-1] = [option.removesuffix(" or").strip() for option in found[:-1]]
    return tuple(dict.fromkeys(option for option in found if option))


def with_answers(row: Item, labels: Sequence[str], *, choices: bool) -> Item | str:
    """The row with its options, its references spelt as they are there; or why it has none.

    Args:
      row: as read.
      labels: the options of a row that has none of its own.
      choices: the input lists the options; MetaICL took them out of it, they are put back.
    """
    options = row.options or (options_in(row.source) if choices else tuple(labels))
    if len(options) < 2:
        return "no options in the input" if choices else "no options listed"
    spelt = {" ".join(option.split()): option for option in options}
    references = [spelt.get(" ".join(reference.split())) for reference in row.references]
    if not all(references):
        return "output that is none of the options"
    source = row.source
    if choices and row.options and len(options) <= len(string.ascii_uppercase) and not options_in(source):
        pairs = zip(string.ascii_uppercase, options, strict=False)
        source += "".join(f" ({letter}) {option}" for letter, option in pairs)
    return Item(source, tuple(dict.fromkeys(filter(None, references))), options)
