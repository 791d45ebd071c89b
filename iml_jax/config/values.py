"""Checks gin values against the annotations of dataclass fields, and writes them as gin literals."""

from __future__ import annotations

import collections.abc
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from iml_jax.config.paths import rule_of as path_rule
from iml_jax.config.statements import MacroUse, Reference, Unparsed
from iml_jax.foundation.printing import encodable
from iml_jax.foundation.suggestions import nearest

_SEQUENCES = (tuple, list, collections.abc.Sequence, collections.abc.Iterable, frozenset, set)
_MAPPINGS = (dict, collections.abc.Mapping)


class MismatchError(Exception):
    """A value is not of the annotated type; the message says what was expected and what came."""


def describe(hint: Any, choices: tuple[Any, ...] = ()) -> str:  # noqa: PLR0911
    """A type as a user reads it: ``int``, ``tuple[str, ...]``, ``"dots" | "full"``, ``int | None``."""
    if choices:
        return " | ".join(map(literal, choices))
    if hint in (None, types.NoneType):
        return "None"
    if hint is Any:
        return "any value"
    if hint is Ellipsis:
        return "..."
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(map(literal, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(describe, arguments))
    if origin is typing.Annotated:
        return "str (a path)" if path_rule(hint) else describe(arguments[0])
    name = getattr(origin or hint, "__name__", str(hint))
    if arguments:
        return f"{name}[{', '.join(map(describe, arguments))}]"
    return "str (a path)" if isinstance(hint, type) and issubclass(hint, PurePath) else name


def accepts_text(hint: Any) -> bool:
    """Whether a bare string may stand for a value of this type."""
    if typing.get_origin(hint) is typing.Annotated:
        return accepts_text(typing.get_args(hint)[0])
    if hint is str or (isinstance(hint, type) and issubclass(hint, PurePath)):
        return True
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(accepts_text, typing.get_args(hint)))
    return typing.get_origin(hint) is typing.Literal and any(
        isinstance(a, str) for a in typing.get_args(hint)
    )


def convert(value: Any, hint: Any, choices: tuple[Any, ...], type_of: Callable[[str], type]) -> Any:  # noqa: PLR0911
    """Returns ``value`` as the type ``hint`` asks for.

    An int becomes a float and a string a Path where that is asked; a list becomes a tuple and the
    reverse. A bool is never an int. References stay references, checked by the class behind them.

    Args:
      value: a gin literal; macros are resolved already.
      hint: the resolved annotation.
      choices: the values allowed for each scalar in it; empty allows all.
      type_of: maps the name in a reference to its class.

    Raises:
      MismatchError: the value is of another type or not among the choices.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return convert(value, arguments[0], choices, type_of)
    if isinstance(value, Reference):
        return _reference(value, hint, type_of)
    if isinstance(value, Unparsed):
        value = value.text
    if hint is Any or hint is object:
        return _free(value, type_of)
    if origin in (typing.Union, types.UnionType):
        return _union(value, hint, choices, type_of)
    if origin is typing.Literal:
        return _choice(value, arguments, hint)
    base = origin or hint
    if base in _SEQUENCES:
        return _sequence(value, hint, choices, type_of)
    if base in _MAPPINGS:
        if not isinstance(value, dict):
            raise _mismatch(value, hint, choices)
        key_hint, value_hint = arguments or (Any, Any)
        return {
            _inside(k, "key", key_hint, (), type_of): _inside(
                v, f"[{literal(k)}]", value_hint, choices, type_of
            )
            for k, v in value.items()
        }
    result = _scalar(value, hint, choices)
    return _choice(result, choices, hint) if choices else result


def _scalar(value: Any, hint: Any, choices: tuple[Any, ...]) -> Any:
    if hint in (None, types.NoneType):
        if value is None:
            return None
    elif hint is float:
        if type(value) in (int, float):
            try:
                return float(value)
            except OverflowError:
                raise MismatchError(f"{literal(value)} is too large for a float") from None
    elif isinstance(hint, type) and issubclass(hint, PurePath):
        if isinstance(value, str):
            _check_text(value)
            return Path(value) if hint in (Path, PurePath) else hint(value)
    elif type(value) is hint:
        if hint is str:
            _check_text(value)
        if hint is int and not -(1 << 63) <= value < 1 << 64:
            raise MismatchError(f"{_shown(value)} does not fit into 64 bits")
        return value
    raise _mismatch(value, hint, choices)


def _check_text(value: str) -> None:
    if not encodable(value):  # written as an escape: the command line itself is checked before
        raise MismatchError(f"{value!a} holds half of a surrogate pair, which is no text")


def _reference(value: Reference, hint: Any, type_of: Callable[[str], type]) -> Reference:
    if not value.called:
        raise MismatchError(f"{value} is a bare reference; write {value}()")
    kind = type_of(value.name)
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if any(arm in (Any, object) or (isinstance(arm, type) and issubclass(kind, arm)) for arm in arms):
        return value
    advice = ""
    if typing.get_origin(hint) in _SEQUENCES:
        advice = f"; a tuple of one needs a comma: ({value},)"
    raise MismatchError(f"expected {describe(hint)}, got {value}{advice}")


def _union(value: Any, hint: Any, choices: tuple[Any, ...], type_of: Callable[[str], type]) -> Any:
    arms = sorted(typing.get_args(hint), key=lambda arm: arm is not type(value))
    for arm in arms:
        try:
            return convert(value, arm, () if arm is types.NoneType else choices, type_of)
        except MismatchError:
            continue
    raise _mismatch(value, hint, choices)


def _choice(value: Any, allowed: tuple[Any, ...], hint: Any) -> Any:
    if any(value == choice and type(value) is type(choice) for choice in allowed):
        return value
    raise _mismatch(value, hint, allowed)


def _sequence(value: Any, hint: Any, choices: tuple[Any, ...], type_of: Callable[[str], type]) -> Any:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if not isinstance(value, (tuple, list)):
        mismatch = _mismatch(value, hint, choices)
        advice = "" if isinstance(value, dict) else f"; a tuple of one needs a comma: ({_shown(value)},)"
        raise MismatchError(f"{mismatch}{advice}")
    fixed = origin is tuple and arguments and not (len(arguments) == 2 and arguments[1] is Ellipsis)
    if fixed and arguments != ((),) and len(value) != len(arguments):
        raise MismatchError(f"expected {describe(hint)}, {len(arguments)} values, got {len(value)}")
    hints = arguments if fixed else (arguments[0] if arguments else Any,) * len(value)
    items = [
        _inside(item, f"[{index}]", item_hint, choices, type_of)
        for index, (item, item_hint) in enumerate(zip(value, hints, strict=True))
    ]
    return origin(items) if origin in (list, set, frozenset) else tuple(items)


def _inside(
    value: Any, place: str, hint: Any, choices: tuple[Any, ...], type_of: Callable[[str], type]
) -> Any:
    try:
        return convert(value, hint, choices, type_of)
    except MismatchError as error:
        raise MismatchError(f"{place}: {error}") from None


def _free(value: Any, type_of: Callable[[str], type]) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(convert(item, Any, (), type_of) for item in value)
    if isinstance(value, dict):
        return {convert(k, Any, (), type_of): convert(v, Any, (), type_of) for k, v in value.items()}
    return value


def _mismatch(value: Any, hint: Any, choices: tuple[Any, ...]) -> MismatchError:
    near = ""
    if choices and isinstance(value, str):
        near = nearest(value, [choice for choice in choices if isinstance(choice, str)])
    elif hint is bool and isinstance(value, str):
        near = "; write True or False"
    kind = "" if choices or value is None else f" ({type(value).__name__})"
    return MismatchError(f"expected {describe(hint, choices)}, got {_shown(value)}{kind}{near}")


def _shown(value: Any) -> str:
    text = literal(value)
    return text if len(text) <= 60 else text[:57] + "..."


def literal(value: Any) -> str:  # noqa: PLR0911
    """A value as gin text that reads back as the same value; one line.

    Raises:
      TypeError: no gin literal stands for it (NaN, or an object of another kind).
    """
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(literal, value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, (set, frozenset)):
        return literal(tuple(sorted(value)))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, PurePath):
        return repr(str(value))
    if isinstance(value, Unparsed):
        return repr(value.text)
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # gin has no word for infinity; this overflows to it
    if (
        value is None
        or type(value) in (bool, int, str, bytes, complex)
        or (type(value) is float and not math.isnan(value))
    ):
        return repr(value)
    if isinstance(value, (Reference, MacroUse)):
        return str(value)
    raise TypeError(f"no gin literal stands for {value!r}")
