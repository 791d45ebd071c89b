"""FLAN's prompt patterns: ``PATTERNS`` of flan/templates.py, or of flan/v2/templates.py, as JSON or as it is.

A pattern is text with named fields in braces, ``{premise}``; ``{{`` and ``}}`` are braces. Nothing else that
``str.format`` knows (attributes, indices, conversions, positions) is allowed: the file is a third party's.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables
from iml_jax.storage.reading import parse_json, read_text

FILTERED = Path(__file__).with_name("filtered_templates.tsv")
_LIMIT = 1 << 22  # bytes of a template file; the largest public one has 450 kB
_PART = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<stray>[{}])")
_ALONE = re.compile(r"\s*\{(?P<field>\w+)\}\s*")
# What shows the options; it is no part of what a target asks for.
OPTION_FIELDS = frozenset(("options_", "options_str"))


class PatternError(ValueError):
    """A pattern that uses more than named fields."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern.

    Attributes:
      text: as the file has it.
      parts: (literal text, field that follows it or None) one after the other.
    """

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @property
    def fields(self) -> frozenset[str]:
        """The names of its fields."""
        return frozenset(field for _, field in self.parts if field is not None)

    def render(self, values: Mapping[str, str]) -> str | None:
        """The text with the values in place of the fields, as ``str.format`` makes it.

        A field without a value leaves out the line that it has to itself; elsewhere it makes the pattern
        inapplicable, and the result None.
        """
        if missing := self.fields - values.keys():
            reduced = _without(self.text, frozenset(missing))
            return reduced.render(values) if reduced else None
        return "".join(text + (values[field] if field is not None else "") for text, field in self.parts)


def parse(text: str) -> Pattern:
    """Parses a pattern.

    Raises:
      PatternError: a brace that neither is doubled nor holds a name.
    """
    parts: list[tuple[str, str | None]] = []
    literal, end = "", 0
    for match in _PART.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        if match["stray"]:
            shown = text[match.start() : match.start() + 20]
            raise PatternError(f"{shown!r}: braces hold the name of a field, or are doubled")
        if match["brace"]:
            literal += match["brace"][0]
        else:
            parts.append((literal, match["field"]))
            literal = ""
    parts.append((literal + text[end:], None))
    return Pattern(text, tuple(parts))


@functools.lru_cache(maxsize=256)
def _without(text: str, missing: frozenset[str]) -> Pattern | None:
    """The pattern without the lines that hold nothing but a missing field; None if one is left elsewhere."""
    lines = text.split("\n")
    kept = [line for line in lines if not ((match := _ALONE.fullmatch(line)) and match["field"] in missing)]
    pattern = parse("\n".join(kept))
    return None if pattern.fields & missing or not pattern.fields else pattern


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """One of a task's patterns: ``index`` in the file, and what it makes of a row."""

    index: int
    source: Pattern
    target: Pattern

    @property
    def name(self) -> str:
        """As ``Example.template`` has it."""
        return str(self.index)


@functools.cache
def filtered() -> dict[tuple[str, int], tuple[frozenset[str], str]]:
    """(key, index) -> (fields of the target, why the template is no prompt for its task)."""
    return {
        (row["task"], int(row["index"])): (frozenset(row["target"].split(",")), row["reason"])
        for row in tables.rows(FILTERED)
    }


def changes_task(key: str, template: Template) -> bool:
    """Whether the listed reason applies: FLAN v2 gave some templates another target under the same index."""
    listed = filtered().get((key, template.index))
    return listed is not None and template.target.fields - OPTION_FIELDS == listed[0]


def load(path: Path) -> dict[str, Any]:
    """Key -> its patterns, not yet parsed, of a ``.json`` (or ``.json.gz``) or ``.py`` file.

    Of a Python file the literal of the first assignment to ``PATTERNS`` is read; nothing of it runs.

    Raises:
      UserError: the file is malformed; names the place.
    """
    try:
        state = path.stat()
    except OSError:
        return _loaded(path, 0, 0)  # which says what is wrong
    return _loaded(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _loaded(path: Path, size: int, changed: int) -> dict[str, Any]:
    """``load`` of the file in this state; not to be changed by who gets it."""
    del size, changed
    text = read_text(path, _LIMIT)
    content = _literal(text, path) if path.name.endswith(".py") else parse_json(text, path, halves=True)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: no mapping of tasks to patterns; give FLAN's templates")
    return content


def _literal(text: str, path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which the file's own users do not see either
            tree = ast.parse(text)
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == "PATTERNS" for target in targets):
                return ast.literal_eval(node.value)  # type: ignore[attr-defined]  # an Assign has a value
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not Python ({error.msg}); fetch the file again") from error
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: PATTERNS is no literal; save it as JSON and bind that") from error
    raise UserError(f"{path}: assigns no PATTERNS; give flan/templates.py, or the same as JSON")


def templates_of(content: Mapping[str, Any], key: str, known: frozenset[str], path: Path) -> list[Template]:
    """The parsed templates of one key; none where the file does not have it.

    Args:
      content: what ``load`` gave.
      key: a task's key in the file.
      known: the fields that the task's rows have.
      path: the file, for messages.

    Raises:
      UserError: a pattern is malformed or names a field that the task does not have.
    """
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise UserError(f"{path}: {key!r} is a {type(entries).__name__}; it must be a list of pairs")
    return [_template(entry, index, f"{path}: {key}[{index}]", known) for index, entry in enumerate(entries)]


def _template(entry: Any, index: int, place: str, known: frozenset[str]) -> Template:
    pair = (
        isinstance(entry, list | tuple) and len(entry) == 2 and all(isinstance(text, str) for text in entry)
    )
    if not pair:
        raise UserError(f"{place}: no pair of an input and a target pattern; give FLAN's zero-shot patterns")
    try:
        template = Template(index, *map(parse, entry))
    except PatternError as error:
        raise UserError(f"{place}: {error}; fix the pattern") from error
    if unknown := sorted((template.source.fields | template.target.fields) - known):
        raise UserError(f"{place}: no field {unknown[0]!r}; the task has {', '.join(sorted(known))}")
    return template
