"""What a template may do before it is stopped: the budget of a rendering, and functions that keep to it."""

from __future__ import annotations

import collections
import math
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jinja2

VALUE_LIMIT = 1 << 22  # characters and items of any value
ITEM_LIMIT = 1 << 18  # items of any value, nested ones included
OUTPUT_LIMIT = 1 << 21  # characters of a rendered text
# Loop steps, calls and operations, plus one for every 64 characters or 8 items that they touch.
WORK_LIMIT = 1_000_000
RANGE_LIMIT = 100_000
NUMBER_LIMIT = 4096  # bits
DEPTH_LIMIT = 100  # lists, tuples and mappings within each other


class TooMuchWorkError(Exception):
    """A template went over one of the limits; the message says which."""


class NullPrintedError(jinja2.TemplateRuntimeError):
    """A template prints a null: PromptSource's code would write the word "None" into the prompt."""


class _Budget(threading.local):
    """What the rendering under way may still do, where its random draws come from, and values it has cut."""

    left = WORK_LIMIT
    cuts = 0
    draws = random.Random(0)

    def start(self, seed: int) -> None:
        self.left = WORK_LIMIT
        self.cuts = 0
        self.draws = random.Random(seed)

    def charge(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise TooMuchWorkError(f"more than {WORK_LIMIT} steps")


budget = _Budget()


def bounded(value: Any) -> Any:
    """Returns ``value``; charges its size.

    Raises:
      TooMuchWorkError: it is over ``VALUE_LIMIT`` or ``ITEM_LIMIT``, shared parts counted each time, or
        nested deeper than ``DEPTH_LIMIT``.
    """
    if type(value) is str and len(value) <= VALUE_LIMIT:
        budget.charge(1 + len(value) // 64)
        return value
    total, nodes_seen, depth, level = 0, 0, 0, [value]
    while level:
        below: list[Any] = []
        depth += 1
        if depth > DEPTH_LIMIT:
            raise TooMuchWorkError(f"a value nested more than {DEPTH_LIMIT} deep")
        for item in level:
            nodes_seen += 1
            if isinstance(item, int) and item.bit_length() > NUMBER_LIMIT:
                raise TooMuchWorkError(f"a number of more than {NUMBER_LIMIT} bits")
            total += len(item) if isinstance(item, str | bytes) else 1
            inside = 0
            if isinstance(item, list | tuple | set):
                inside = len(item)
            elif isinstance(item, dict):
                inside = 2 * len(item)
            if total > VALUE_LIMIT or nodes_seen + len(below) + inside > ITEM_LIMIT:
                raise TooMuchWorkError(f"a value of more than {VALUE_LIMIT} characters or {ITEM_LIMIT} items")
            if isinstance(item, dict):
                below.extend(item.keys())
                below.extend(item.values())
            elif inside:
                below.extend(item)
        level = below
    # Eight items take about as much memory as 64 characters, or more.
    budget.charge(1 + total // 64 + nodes_seen // 8)
    return value


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")


def text_of(value: Any) -> str:
    """What a value prints as.

    Raises:
      NullPrintedError: it is None, or not a number, as Parquet files have nulls.
      jinja2.TemplateRuntimeError: an address in memory (a generator's, a function's), never twice the same.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise NullPrintedError("prints a null value")
    text = str(bounded(value))
    if not isinstance(value, str | int | float) and _ADDRESS.search(text):
        raise jinja2.TemplateRuntimeError(f"prints a {type(value).__name__}")
    return text


@jinja2.pass_context  # so that constants, too, are worked out while rendering and not while compiling
def finalized(context: object, value: Any) -> str:
    """Before a value is printed."""
    return text_of(value)


def steps(items: Iterable[Any]) -> Iterator[Any]:
    """The items, each charged when it is taken."""
    for item in items:
        budget.charge(1)
        yield item


def short_range(*arguments: int) -> range:
    """``range``, of at most ``RANGE_LIMIT`` items."""
    made = range(*arguments)
    if made and (abs(made[-1] - made[0]) // abs(made.step)) >= RANGE_LIMIT:
        raise TooMuchWorkError(f"a range of more than {RANGE_LIMIT} items")
    return made


def choice(items: Any) -> Any:
    """A random item; the draws of a rendering follow from its seed."""
    items = list(steps(items))
    if not items:
        raise jinja2.UndefinedError("choice from an empty list")
    return items[budget.draws.randrange(len(items))]


def most_frequent(items: Any) -> list[Any] | None:
    """The items that come up most often, in the order of their first appearance (PromptSource's filter)."""
    if not items:
        return None
    counts = collections.Counter(steps(items)).most_common()
    return [item for item, count in counts if count == counts[0][1]]


def highlight(text: Any) -> str:
    """As PromptSource marks text for its web page."""
    return f"<span style='color: #F08080'>{text}</span>"


def cut(value: Any, limit: int) -> str:
    """At most ``limit`` characters (five more rather than a cut), cut at a space: Jinja's ``truncate``."""
    text = text_of(value)
    if len(text) <= limit + 5:
        return text
    budget.cuts += 1
    return text[: max(limit - 3, 0)].rsplit(" ", 1)[0] + "..."


_WIDTH = re.compile(r"\d{4,}|\*")


def check_product(left: Any, right: Any) -> None:
    """Before ``left * right``."""
    for items, times in ((left, right), (right, left)):
        if isinstance(items, str | list | tuple) and isinstance(times, int):
            size = len(items) if isinstance(items, str) else _size(items)
            if size * max(times, 0) > VALUE_LIMIT:
                raise TooMuchWorkError(f"a value of more than {VALUE_LIMIT} characters")
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def check_power(left: Any, right: Any) -> None:
    """Before ``left ** right``."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))


def _check_bits(bits: int) -> None:
    if bits > NUMBER_LIMIT:
        raise TooMuchWorkError(f"a number of more than {NUMBER_LIMIT} bits")


def _size(value: Any) -> int:
    """Characters and items of a value already bounded."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return 1 + sum(_size(item) for item in value)
    return 1


def check_replace(text: str, old: Any, new: Any) -> None:
    """Before ``old`` becomes ``new`` throughout ``text``."""
    found = text.count(str(old))
    if len(text) + found * len(str(new)) > VALUE_LIMIT:
        raise TooMuchWorkError(f"a value of more than {VALUE_LIMIT} characters")


def joinable(separator: Any, items: Any) -> Any:
    """``items`` with a length, before they are joined."""
    if not hasattr(items, "__len__"):
        items = list(steps(items))
    if len(str(separator)) * len(items) > VALUE_LIMIT:
        raise TooMuchWorkError(f"a value of more than {VALUE_LIMIT} characters")
    return items


def concat(values: list[Any]) -> str:
    """The texts of the values as one."""
    texts, length = [], 0
    for value in values:
        text = text_of(value)
        length += len(text)
        if length > VALUE_LIMIT:
            raise TooMuchWorkError(f"a value of more than {VALUE_LIMIT} characters")
        texts.append(text)
    return str(bounded("".join(texts)))


def check_format(text: str, values: Any) -> None:
    """Before ``text % values``."""
    if _WIDTH.search(text):  # wherever it stands: a field's name in brackets may hide its width
        raise TooMuchWorkError("a field width of more than three digits")
    if text.count("%") * max(len(text), len(str(values))) > VALUE_LIMIT:
        raise TooMuchWorkError(f"a value of more than {VALUE_LIMIT} characters")


# Filters that work item by item while their result is used.
_LAZY = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})


def charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with its arguments and result bounded, and what it would multiply checked first."""
    passes = getattr(function, "jinja_pass_arg", None)

    def guarded(*arguments: Any, **keywords: Any) -> Any:
        given = arguments[1:] if passes else arguments
        for value in (*given, *keywords.values()):
            bounded(value)
        if name in _LAZY and given and not isinstance(given[0], jinja2.Undefined):
            arguments = (*arguments[: len(arguments) - len(given)], steps(given[0]), *given[1:])
        elif name == "sum" and isinstance(
            keywords.get("start", given[2] if len(given) > 2 else 0), list | tuple
        ):
            raise TooMuchWorkError("a sum of lists")
        elif name == "replace" and len(given) >= 3:
            check_replace(str(given[0]), given[1], given[2])
        elif name == "join":
            items = joinable(given[1] if len(given) > 1 else keywords.get("d", ""), given[0])
            arguments = (*arguments[: len(arguments) - len(given)], items, *given[1:])
        elif name == "string" and given:
            text_of(given[0])
        elif name == "format":
            check_format(str(given[0]), (given[1:], keywords))
        elif name == "round" and abs(_number(given[1] if len(given) > 1 else keywords.get("precision"))) > 30:
            raise TooMuchWorkError("a precision of more than 30 digits")
        return bounded(function(*arguments, **keywords))

    if passes:
        guarded.jinja_pass_arg = passes  # type: ignore[attr-defined]
    return guarded


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and math.isfinite(value) else 0
