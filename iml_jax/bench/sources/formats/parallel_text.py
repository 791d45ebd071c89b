"""Parallel text as translation sets publish it: files aligned line by line, or WMT's SGML.

Three ways to name the files: ``STEM.LANGUAGE`` (``val.en``, ``val.de``), ``STEM-src.en`` with ``STEM-ref.ru``
(also with a dot, with nothing before it, and with ``.sgm`` after it), and FLORES-200's ``eng_Latn.dev``.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from iml_jax.bench.sources.formats.bounds import drop
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables
from iml_jax.storage.reading import read_bounded_lines, read_text

ENGLISH = ("en", "eng_Latn")
SYSTEM_OUTPUT = "a system's translation"
_LANGUAGES = Path(__file__).with_name("languages.tsv")
_FLORES = re.compile(r"(?P<language>[a-z]{3}_[A-Z][a-z]{3})\.(?P<stem>[a-z]+)")
_ROLES = re.compile(r"(?P<stem>(.*[.-])?)(?P<role>[A-Za-z0-9]+)\.(?P<language>[a-z]{2})(?P<sgml>\.sgml?)?")
_LINES = re.compile(r"(?P<stem>.+)\.(?P<language>[a-z]{2})")
_SOURCE, _TARGET = ("src", "source"), ("ref", "reference")
_SEGMENT_ID = re.compile(r"""\sid\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_SEGMENT_END = re.compile("</seg>", re.IGNORECASE)
_SGML_LIMIT = 1 << 24  # bytes; WMT's largest test sets have some 2 MB
_MARKS = (("&quot;", '"'), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


@dataclasses.dataclass(frozen=True, slots=True)
class Aligned:
    """Two files that say the same in two languages; the second is the translation to learn."""

    split: str
    languages: tuple[str, str]
    paths: tuple[Path, Path]


@functools.cache
def _names() -> dict[str, str]:
    return {row["code"]: row["name"] for row in tables.rows(_LANGUAGES)}


def language_name(code: str) -> str | None:
    """The English name of a language, as CLDR has it, or None: ``de``, ``deu`` and ``deu_Latn`` are German.

    A FLORES-200 code has its script in the name where the set holds the language in several.
    """
    return _names().get(code) or _names().get(code.partition("_")[0])


def split_of(stem: str) -> str:
    """The split that a file's name states; training where it states none (``europarl-v7.de-en``)."""
    lowered = stem.lower()
    if "train" in lowered:
        return "train"
    if "test" in lowered:
        return "test"
    return "validation" if re.search(r"dev|(?<![a-z])val", lowered) else "train"


def aligned(folder: Path, found: Mapping[str, Path]) -> tuple[list[Aligned], dict[Path, str]]:
    """The pairs among the files of a folder, English first, and files beside them that are no pair.

    Args:
      folder: the folder, for messages.
      found: name without ``.gz`` -> path.

    Returns:
      The pairs, sorted; and path -> reason for what stands beside them (the output of systems).
    """
    pairs: list[Aligned] = []
    groups: dict[str, dict[str, Path]] = collections.defaultdict(dict)
    for bare, path in found.items():
        for pattern in (_FLORES, _LINES):
            match = pattern.fullmatch(bare)
            if match and language_name(match["language"]):
                groups[match["stem"]][match["language"]] = path
                break
    judged, systems = _judged(found)
    taken = {path for pair in judged for path in pair.paths} | set(systems)
    pairs.extend(judged)
    for stem, files in groups.items():
        free = {language: path for language, path in files.items() if path not in taken}
        source = next((english for english in ENGLISH if english in free), min(free, default=""))
        pairs.extend(
            Aligned(split_of(stem), (source, target), (free[source], free[target]))
            for target in sorted(free.keys() - {source})
        )
    return sorted(pairs, key=lambda pair: pair.paths), systems


def _judged(found: Mapping[str, Path]) -> tuple[list[Aligned], dict[Path, str]]:
    """Pairs of a source with its reference translation, and the systems' translations of these sources."""
    groups: dict[tuple[str, str], dict[str, tuple[str, Path]]] = collections.defaultdict(dict)
    for bare, path in found.items():
        if (match := _ROLES.fullmatch(bare)) and language_name(match["language"]):
            groups[match["stem"], match["sgml"] or ""][match["role"]] = (match["language"], path)
    pairs, systems = [], {}
    for (stem, _), files in groups.items():
        source = next((files[role] for role in _SOURCE if role in files), None)
        target = next((files[role] for role in _TARGET if role in files), None)
        if source is None or target is None or source[0] == target[0]:
            continue
        split = split_of(stem) if "train" in stem or "dev" in stem else "test"
        pairs.append(Aligned(split, (source[0], target[0]), (source[1], target[1])))
        for role, (language, path) in files.items():
            if role not in (*_SOURCE, *_TARGET) and language == target[0]:
                systems[path] = SYSTEM_OUTPUT
    return pairs, systems


def parallel_rows(first: Path, second: Path, source: str, target: str) -> Iterator[tuple[str, Row]]:
    """Streams (line or segment, {source code: text, target code: text}) of two aligned files.

    Raises:
      UserError: one of them has more lines or segments than the other, or malformed SGML.
    """
    if re.search(r"\.sgml?(\.gz)?$", first.name):
        yield from _sgml_rows(first, second, source, target)
        return
    ended = "ends before {}; fetch the matching files, aligned line by line"
    for left, right in itertools.zip_longest(read_bounded_lines(first), read_bounded_lines(second)):
        if left is None:
            raise UserError(f"{first}:{right[0]}: {ended.format(second)}")
        if right is None:
            raise UserError(f"{second}:{left[0]}: {ended.format(first)}")
        if left[1] is None or right[1] is None:
            drop(first, left[0])
        else:
            yield str(left[0]), {source: left[1].strip(), target: right[1].strip()}


def _sgml_rows(first: Path, second: Path, source: str, target: str) -> Iterator[tuple[str, Row]]:
    translations = dict(_segments(second))
    known = set()
    for name, text in _segments(first):
        known.add(name)
        if name not in translations:
            raise UserError(f"{second}: no segment {name}, which {first} has; fetch the matching files")
        yield name, {source: text, target: translations[name]}
    if more := sorted(translations.keys() - known):
        raise UserError(f"{first}: no segment {more[0]}, which {second} has; fetch the matching files")


def _segments(path: Path) -> Iterator[tuple[str, str]]:
    """(DOCUMENT:SEGMENT, text) of ``<doc docid="..">.. <seg id="..">text</seg>``; only tags are looked at."""
    document, line = "", 1
    seen = set()
    for part in re.split(r"(?i)(?=<doc\s|<seg[\s>])", read_text(path, _SGML_LIMIT)):
        head, closed, rest = part.partition(">")
        lowered = head[:4].lower()
        if lowered == "<doc":
            match = re.search(r"""docid\s*=\s*["']?([^"'\s>]+)""", head, re.IGNORECASE)
            document = match[1] if match else ""
        elif lowered == "<seg":
            text, *ended = _SEGMENT_END.split(rest, maxsplit=1)
            match = _SEGMENT_ID.search(head)
            if not closed or not ended or not match:
                raise UserError(f"{path}:{line}: a <seg> without id or </seg>; fix it")
            name = f"{document}:{match[1]}"
            if name in seen:
                raise UserError(f"{path}:{line}: segment {name} is there twice; remove one")
            seen.add(name)
            for mark, character in _MARKS:
                text = text.replace(mark, character)
            yield name, " ".join(text.split())
        line += part.count("\n")
