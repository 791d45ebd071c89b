"""Old spellings of gin names: read as the new ones for one release, with one line on stderr for each."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from typing import Any

from iml_jax.config.registry import Registry
from iml_jax.config.statements import Reference, Statement
from iml_jax.foundation.printing import one_line


def warn(text: str) -> None:
    """Prints a line on stderr."""
    print(f"warning: {one_line(text)}", file=sys.stderr, flush=True)


def renamed(
    statements: Iterable[Statement], registry: Registry, log: Callable[[str], None] = warn
) -> list[Statement]:
    """The statements with the new spelling of every name that ``Registry.deprecate`` has the old one of.

    Args:
      statements: in the order in which they override one another, which stays.
      registry: knows the names.
      log: gets a line for each place that has an old spelling: the place, the old name, the new one.
    """
    found = []
    for statement in statements:
        new = statement
        if not statement.is_macro:
            name, field = registry.present_name(statement.name, statement.field)
            new = dataclasses.replace(statement, name=name, field=field)
            if new != statement:
                log(_line(statement.where, _text(statement), _text(new)))
        found.append(dataclasses.replace(new, value=_value(new.value, new.where, registry, log)))
    return found


def _value(value: Any, where: str, registry: Registry, log: Callable[[str], None]) -> Any:
    """The value with the new names in its references."""
    if isinstance(value, Reference):
        new = dataclasses.replace(value, name=registry.present_name(value.name)[0])
        if new != value:
            log(_line(where, str(value), str(new)))
        return new
    if isinstance(value, dict):
        items = [(_value(key, where, registry, log), item) for key, item in value.items()]
        return {key: _value(item, where, registry, log) for key, item in items}
    if isinstance(value, (tuple, list)):
        return type(value)(_value(item, where, registry, log) for item in value)
    return value


def _text(statement: Statement) -> str:
    return f"{statement.name}.{statement.field}" if statement.field else statement.name


def _line(where: str, old: str, new: str) -> str:
    return f"{where}: {old} is deprecated and will be refused by the next release; write {new}"
