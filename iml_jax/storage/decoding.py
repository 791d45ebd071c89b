"""Dataclasses from JSON that somebody else may have written: every type is checked, the place is named."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any


def decode(annotation: Any, value: Any, where: str) -> Any:
    """Builds what ``annotation`` says from a value that JSON gave.

    Understood are dataclasses (fields with a default may be missing, unknown ones are refused), lists for
    ``tuple[X, ...]`` and ``tuple[X, Y]``, objects for ``dict[str, X]``, ``X | None``, ``Any`` and the types
    of JSON; an integer is a float too, a bool is not a number, and no number is NaN or infinite.

    Args:
      annotation: the type.
      value: parsed JSON.
      where: its name for messages, such as ``manifest.tasks[3]``.

    Raises:
      ValueError: something is of another type, missing or unknown; says where.
    """
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return value
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation, value, where)
    if origin is tuple:
        return _tuple(typing.get_args(annotation), value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be an object")
        item = typing.get_args(annotation)[1]
        return {str(key): decode(item, element, f"{where}[{key!r:.60}]") for key, element in value.items()}
    if origin is types.UnionType:
        (inner,) = (one for one in typing.get_args(annotation) if one is not types.NoneType)
        return None if value is None else decode(inner, value, where)
    return _scalar(annotation, value, where)


def _dataclass(annotation: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object")
    hints, optional = _fields(annotation)
    if value.keys() != hints.keys():
        missing, unknown = sorted(set(hints) - set(value) - optional), sorted(set(value) - set(hints))
        if missing or unknown:
            raise ValueError(f"{where} has missing fields {missing} and unknown fields {unknown}")
    return annotation(
        **{
            name: decode(hint, value[name], f"{where}.{name}")
            for name, hint in hints.items()
            if name in value
        }
    )


def _tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list")
    if items[1:] == (Ellipsis,):
        return tuple(decode(items[0], element, f"{where}[{index}]") for index, element in enumerate(value))
    if len(value) != len(items):
        raise ValueError(f"{where} must be a list of {len(items)}")
    each = enumerate(zip(items, value, strict=True))
    return tuple(decode(item, element, f"{where}[{index}]") for index, (item, element) in each)


def _scalar(annotation: Any, value: Any, where: str) -> Any:
    accepted = (int, float) if annotation is float else annotation
    if not isinstance(value, accepted) or (isinstance(value, bool) and annotation is not bool):
        raise ValueError(f"{where} must be {annotation.__name__}, not {value!r:.60}")
    if annotation is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{where} is not finite")
    return number


@functools.cache
def _fields(annotation: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields, which take a millisecond to find, and which may be missing."""
    optional = (
        field.name
        for field in dataclasses.fields(annotation)
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )
    return typing.get_type_hints(annotation), frozenset(optional)
