"""Gin names and the dataclasses behind them, with their fields."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Field:
    """One parameter of a configurable.

    Attributes:
      name: as gin spells it after the dot.
      hint: the resolved annotation.
      required: it has no default.
      default: the default; ``None`` where ``required``.
      choices: the values allowed (``metadata={"choices": ...}``); empty means any of the type.
      doc: what it means (``metadata={"help": ...}``); may be empty.
    """

    name: str
    hint: Any
    required: bool
    default: Any
    choices: tuple[Any, ...]
    doc: str


class Registry:
    """Gin names and the dataclasses they stand for, imported on first use."""

    def __init__(self, entries: Mapping[str, str | type] | None = None) -> None:
        """``entries`` maps a gin name to ``module:Class`` or to the class itself."""
        self._entries = dict(entries or {})
        self._deprecated: dict[str, str] = {}

    def register(self, entries: Mapping[str, str | type]) -> None:
        """Adds names.

        Raises:
          ValueError: a name stands for another class already.
        """
        for name, entry in entries.items():
            if self._entries.setdefault(name, entry) != entry:
                raise ValueError(f"{name} is registered already, as {self._entries[name]!r}")

    def deprecate(self, aliases: Mapping[str, str]) -> None:
        """Has old spellings read as new ones, with a warning (``config.deprecated``).

        Args:
          aliases: old -> new, each a class (``Name``) or a parameter (``Name.parameter``). A parameter may
            move to another class; where its class has an old spelling too, the key has the class's new one.

        Raises:
          ValueError: an old spelling is a name in use, or was deprecated in favour of another; or a class
            would become a parameter.
        """
        for old, new in aliases.items():
            if old in self._entries or self._deprecated.get(old, new) != new:
                raise ValueError(f"{old} is in use and cannot be an old spelling of {new}")
            if old.count(".") != new.count("."):
                raise ValueError(f"{old} and {new} must both be classes or both be parameters")
            self._deprecated[old] = new

    def present_name(self, name: str, field: str = "") -> tuple[str, str]:
        """The spelling in use of a class or parameter; what was never deprecated is given back as it is."""
        name = self._deprecated.get(name, name)
        if not field:
            return name, field
        name, _, field = self._deprecated.get(f"{name}.{field}", f"{name}.{field}").rpartition(".")
        return name, field

    def names(self) -> tuple[str, ...]:
        """All gin names, in the order of registration."""
        return tuple(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def type_of(self, name: str) -> type:
        """The dataclass behind ``name``.

        Raises:
          KeyError: no such name.
          TypeError: what is registered is not a dataclass (a mistake of the program).
        """
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = getattr(importlib.import_module(module), attribute)
            self._entries[name] = entry
        if not (isinstance(entry, type) and dataclasses.is_dataclass(entry)):
            raise TypeError(f"{name} is registered as {entry!r}, which is not a dataclass")
        return entry

    def name_of(self, kind: type) -> str | None:
        """The gin name of a class, or None; looks only at classes that are already imported."""
        for name, entry in self._entries.items():
            known = (
                entry == f"{kind.__module__}:{kind.__qualname__}" if isinstance(entry, str) else entry is kind
            )
            if known:
                return name
        return None

    def fields(self, name: str) -> dict[str, Field]:
        """The parameters of ``name``, in the order of declaration."""
        return fields_of(self.type_of(name))


# The application's names, which the layer above fills (``commands/registry.py``).
REGISTRY = Registry()


def fields_of(kind: type) -> dict[str, Field]:
    """The constructor parameters of a dataclass, with resolved annotations and their help."""
    hints = typing.get_type_hints(kind, include_extras=True)
    result = {}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        required = False
        default = None
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            required = True
        result[field.name] = Field(
            name=field.name,
            hint=hints[field.name],
            required=required,
            default=default,
            choices=tuple(field.metadata.get("choices", ())),
            doc=field.metadata.get("help", ""),
        )
    return result
