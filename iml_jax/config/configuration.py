"""Gin files and flags -> validated bindings -> dataclass instances -> the resolved text that a run saves."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.config import deprecated, files, paths, rendering
from iml_jax.config.registry import REGISTRY, Field, Registry
from iml_jax.config.statements import (
    REQUIRED_MACRO,
    MacroUse,
    Reference,
    Statement,
    Unparsed,
    read_flag,
    read_text,
)
from iml_jax.config.values import MismatchError, accepts_text, convert, describe, literal
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.suggestions import nearest
from iml_jax.storage import paths as storage_paths

Key = tuple[tuple[str, ...], str, str]  # scope, name, field


@dataclasses.dataclass(frozen=True)
class Binding:
    """A checked value and its place; ``required`` marks ``%gin.REQUIRED``, which must be overridden."""

    value: Any
    where: str
    required: bool = False


class Config:
    """The bindings of one command, checked. Built by ``load``."""

    def __init__(self, registry: Registry, bindings: Mapping[Key, Binding]) -> None:
        self._registry = registry
        self._bindings = dict(bindings)

    def build(self, name: str) -> Any:
        """The dataclass registered as ``name``, with its bindings applied and defaults for the rest.

        Raises:
          UserError: a required parameter is unbound, or the class refuses its values.
          KeyError: ``name`` is not registered (a mistake of the program).
        """
        return self._build(name, (), ())

    def bound(self, name: str) -> tuple[str, ...]:
        """The parameters of ``name`` that files or flags bind outside any scope."""
        return tuple(field for scope, owner, field in self._bindings if owner == name and not scope)

    def value(self, name: str, field: str) -> Any:
        """One parameter, though others that its class requires may be unbound; None where it has no value."""
        binding = self._bindings.get(((), name, field))
        if binding is None:
            info = self._registry.fields(name)[field]
            return None if info.required else info.default
        return None if binding.required else self._as_path(name, field, binding)

    def resolved(self, names: Iterable[str], used: Mapping[str, Any] | None = None) -> str:
        """Gin text of every parameter of ``names``, defaults and nested sources included.

        Reading it back gives equal dataclasses.

        Args:
          names: gin names.
          used: instances that stand for those that the bindings give, where a command completed them.

        Raises:
          UserError: as ``build``.
        """
        known = used or {}
        instances = {name: known[name] if name in known else self.build(name) for name in names}
        return rendering.render(instances, self._registry)

    def values_beside(
        self, other_text: str, names: Iterable[str], label: str = "config.gin"
    ) -> dict[str, tuple[str | None, str | None]]:
        """Every parameter of a saved resolved text and of this configuration, side by side.

        Args:
          other_text: what ``resolved`` returned once, perhaps of another version.
          names: the gin names that were resolved.
          label: how errors name ``other_text``.

        Returns:
          ``scope/Name.field`` -> (gin text saved, gin text now), None where one lacks it; in the order of the
          saved text.

        Raises:
          UserError: ``other_text`` is not gin, or as ``build``.
        """
        saved = self._saved(other_text, label)
        now = read_text(self.resolved(names), "", None)
        before = {rendering.key_text(s): literal(s.value) for s in saved if not s.block}
        after = {rendering.key_text(s): literal(s.value) for s in now}
        return {key: (before.get(key), after.get(key)) for key in dict.fromkeys((*before, *after))}

    def diff(self, other_text: str, label: str = "config.gin") -> list[str]:
        """What differs between a saved resolved text and this configuration.

        Args:
          other_text: what ``resolved`` returned once, perhaps of another version.
          label: how errors name ``other_text``.

        Returns:
          Lines ``Train.steps: saved 4000, now 8000``, in the order of the saved text.

        Raises:
          UserError: ``other_text`` is not gin, or as ``build``.
        """
        saved = self._saved(other_text, label)
        inner = {reference.name for statement in saved for reference in _references(statement.value)}
        names = dict.fromkeys(s.name for s in saved if s.name in self._registry and s.name not in inner)
        return [
            f"{key}: saved {before or 'without it'}, now {after or 'without it'}"
            for key, (before, after) in self.values_beside(other_text, names, label).items()
            if before != after
        ]

    def _saved(self, text: str, label: str) -> list[Statement]:
        """The statements of a saved text; old spellings are no difference, and nobody edits such a text."""
        return deprecated.renamed(read_text(text, label, None), self._registry, lambda line: None)

    def _build(self, name: str, scope: tuple[str, ...], chain: tuple[str, ...]) -> Any:
        if name in chain:
            raise UserError(f"{name}: its parameters refer to itself: {' -> '.join((*chain, name))}")
        fields = self._registry.fields(name)
        found: dict[str, Binding] = {}
        for depth in range(len(scope) + 1):  # an inner scope overrides an outer one, as in gin
            for field in fields:
                binding = self._bindings.get((scope[:depth], name, field))
                if binding is not None:
                    found[field] = binding
        missing = [
            field
            for field, info in fields.items()
            if (found[field].required if field in found else info.required)
        ]
        if missing:
            raise UserError(self._unbound(name, scope, missing, found))
        values = {
            field: self._instances(self._as_path(name, field, binding), scope, (*chain, name))
            for field, binding in found.items()
        }
        for field, info in fields.items():
            if field not in found and (inner := self._default_of(info)):
                values[field] = self._build(inner, scope, (*chain, name))
        try:
            return self._registry.type_of(name)(**values)
        except (UserError, ValueError) as error:
            raise UserError(_refusal(name, str(error), found)) from error

    def _as_path(self, name: str, field: str, binding: Binding) -> Any:
        """The value; of a parameter that holds a path, that path without ``~``, absolute."""
        value = binding.value
        if isinstance(value, (str, Path)):
            storage_paths.check_local(value, f"{binding.where}: {name}.{field} = {value}")
        rule = paths.rule_of(self._registry.fields(name)[field].hint)
        if rule is None or not isinstance(value, str):
            return value
        try:
            return paths.read(value, rule)
        except UserError as error:
            joined = " " if not value else ": "
            raise UserError(f"{binding.where}: {name}.{field}{joined}{error}") from None

    def _default_of(self, field: Field) -> str | None:
        """The gin name whose plain instance is the default: help shows ``@Name()``, so its bindings hold."""
        name = self._registry.name_of(type(field.default))
        if name is None:
            return None
        inner = self._registry.fields(name)
        plain = all(not i.required and getattr(field.default, key) == i.default for key, i in inner.items())
        return name if plain else None

    def _instances(self, value: Any, scope: tuple[str, ...], chain: tuple[str, ...]) -> Any:
        if isinstance(value, Reference):
            return self._build(value.name, scope if value.scope is None else value.scope, chain)
        if isinstance(value, dict):
            return {key: self._instances(item, scope, chain) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(self._instances(item, scope, chain) for item in value)
        return value

    def _unbound(
        self, name: str, scope: tuple[str, ...], missing: Sequence[str], found: Mapping[str, Binding]
    ) -> str:
        owner = "/".join((*scope, name))
        parts = []
        for field in missing:
            info = self._registry.fields(name)[field]
            place = f", asked for at {found[field].where}" if field in found else ""
            parts.append(f"{owner}.{field} ({describe(info.hint, info.choices)}{place}{_about(info)})")
        verb = "is required and has" if len(missing) == 1 else "are required and have"
        remedy = f"give --gin.{owner}.{missing[0]}=VALUE or bind it in a gin file"
        return f"{', '.join(parts)} {verb} no value; {remedy}"


def load(gin_files: Sequence[str] = (), flags: Sequence[str] = (), registry: Registry = REGISTRY) -> Config:
    """Reads gin files in order, then flags, which override them, and checks every name and type.

    Args:
      gin_files: file names, found as ``files.find`` says.
      flags: ``--gin.NAME=VALUE`` or ``NAME=VALUE`` each.
      registry: the names known.

    Raises:
      UserError: any mistake in them; one line with file and line, or the flag.
    """
    statements = [statement for name in gin_files for statement in files.read(name)]
    statements += [read_flag(flag if flag.startswith("--") else f"--gin.{flag}") for flag in flags]
    return from_statements(statements, registry)


def load_text(text: str, label: str = "config.gin", registry: Registry = REGISTRY) -> Config:
    """As ``load``, from text, for example a saved ``config.gin``; ``include`` is refused."""
    return from_statements(read_text(text, label, None), registry)


def from_statements(statements: Sequence[Statement], registry: Registry) -> Config:
    """Checks names, then macros, then types; later statements override earlier ones.

    Deprecated spellings become the present ones first, with a warning for each.
    """
    statements = deprecated.renamed(statements, registry)
    macros = {statement.name: statement for statement in statements if statement.is_macro}
    for statement in statements:
        _check_name(statement, registry)
    used = {use.name for statement in statements for use in _uses(statement.value)}
    for statement in statements:
        if statement.is_macro and statement.name not in used:
            raise UserError(_unused_macro(statement, used, registry))
    for macro in macros.values():
        _resolve(macro.value, macro, macros, (macro.name,))
    bindings: dict[Key, Binding] = {}
    for key, statement in {(s.scope, s.name, s.field): s for s in statements if s.field}.items():
        value = _resolve(statement.value, statement, macros, ())
        for reference in _references(value):
            _check_reference(reference, statement, registry)
        if any(isinstance(use, MacroUse) for use in _uses(value)):
            if not isinstance(value, MacroUse):
                raise UserError(f"{statement.where}: %{REQUIRED_MACRO} cannot stand inside another value")
            bindings[key] = Binding(None, statement.where, required=True)
        else:
            bindings[key] = Binding(_checked(value, statement, macros, registry), statement.where)
    return Config(registry, bindings)


def _check_name(statement: Statement, registry: Registry) -> None:
    if statement.is_macro:
        if statement.name in registry:
            raise UserError(
                f"{statement.where}: {statement.name} needs a parameter, {statement.name}.PARAMETER = VALUE; "
                f"it has {', '.join(registry.fields(statement.name))}"
            )
        return
    if statement.name not in registry:
        raise UserError(f"{statement.where}: {_unknown(statement.name, registry)}")
    if statement.block:
        return
    fields = registry.fields(statement.name)
    if statement.field not in fields:
        near = nearest(statement.field, fields, quote="")
        raise UserError(
            f"{statement.where}: {statement.name} has no parameter {statement.field!r}{near or ';'} "
            f"it has {', '.join(fields) or 'none'}"
        )


def _check_reference(reference: Reference, statement: Statement, registry: Registry) -> None:
    if reference.name not in registry:
        raise UserError(f"{statement.where}: {reference}: {_unknown(reference.name, registry)}")


def _unknown(name: str, registry: Registry) -> str:
    near = nearest(name, registry.names(), quote="")
    return f"nothing configurable is called {name!r}{near or ';'} known are {', '.join(registry.names())}"


def _unused_macro(statement: Statement, used: Iterable[str], registry: Registry) -> str:
    near = nearest(statement.name, used, quote="")
    if not near:
        owners = [
            f"{name}.{statement.name}" for name in registry.names() if _has_field(registry, name, statement)
        ]
        near = f"; did you mean {' or '.join(owners[:3])}?" if owners else ""
    return (
        f"{statement.where}: {statement.name} names no parameter and no %{statement.name} uses it"
        f"{near or '; a parameter is written Name.parameter'}"
    )


def _has_field(registry: Registry, name: str, statement: Statement) -> bool:
    try:
        return statement.name in registry.fields(name)
    except ImportError:  # only advice depends on it
        return False


def _uses(value: Any) -> list[MacroUse]:
    """Every macro used in a value."""
    return [leaf for leaf in _leaves(value) if isinstance(leaf, MacroUse)]


def _references(value: Any) -> list[Reference]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, Reference)]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for pair in value.items() for item in pair for leaf in _leaves(item)]
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _resolve(
    value: Any, statement: Statement, macros: Mapping[str, Statement], chain: tuple[str, ...]
) -> Any:
    """Puts the values of macros in their places; ``%gin.REQUIRED`` stays.

    Raises:
      UserError: a macro is undefined or defined by itself.
    """
    if isinstance(value, MacroUse):
        if value.name == REQUIRED_MACRO:
            return value
        if value.name in chain:
            circle = " -> ".join(f"%{name}" for name in (*chain[chain.index(value.name) :], value.name))
            raise UserError(f"{macros[value.name].where}: the macros go in a circle: {circle}")
        if value.name not in macros:
            near = nearest(value.name, [*macros, REQUIRED_MACRO], quote="")
            near = near or f"; write {value.name} = VALUE"
            raise UserError(f"{statement.where}: macro %{value.name} is not defined{near}")
        macro = macros[value.name]
        inner = _resolve(macro.value, macro, macros, (*chain, value.name))
        return _scoped(inner, tuple(value.name.split("/")))
    if isinstance(value, dict):
        return {
            _hashable(_resolve(key, statement, macros, chain), statement): _resolve(
                item, statement, macros, chain
            )
            for key, item in value.items()
        }
    if isinstance(value, (tuple, list)):
        return type(value)(_resolve(item, statement, macros, chain) for item in value)
    return value


def _hashable(key: Any, statement: Statement) -> Any:
    try:
        hash(key)
    except TypeError:
        raise UserError(f"{statement.where}: {literal(key)} cannot be a key") from None
    return key


def _scoped(value: Any, scope: tuple[str, ...]) -> Any:
    """gin builds an unscoped reference inside macro %NAME under the scope NAME."""
    if isinstance(value, Reference) and value.scope is None:
        return dataclasses.replace(value, scope=scope)
    if isinstance(value, dict):
        return {key: _scoped(item, scope) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_scoped(item, scope) for item in value)
    return value


def _checked(value: Any, statement: Statement, macros: Mapping[str, Statement], registry: Registry) -> Any:
    field = registry.fields(statement.name)[statement.field]
    if (
        statement.flag_text is not None
        and type(value) in (int, float, complex, bytes)
        and accepts_text(field.hint)
    ):
        try:
            return convert(value, field.hint, field.choices, registry.type_of)
        except MismatchError:
            value = Unparsed(statement.flag_text)  # --gin.Train.run_dir=2026 means the folder 2026
    try:
        return convert(value, field.hint, field.choices, registry.type_of)
    except MismatchError as error:
        origin = [
            f" (from macro {use.name}, {macros[use.name].where})"
            for use in _uses(statement.value)
            if use.name in macros
        ]
        raise UserError(
            f"{statement.where}: {statement.name}.{statement.field}: {error}{''.join(origin)}"
        ) from None


def _about(field: Field) -> str:
    text = field.doc.replace("``", "").rstrip(".")
    return f": {text}" if text else ""


def _refusal(name: str, message: str, found: Mapping[str, Binding]) -> str:
    """Where the class itself refuses values: the place of the binding that its message mentions, if any."""
    words = set(re.findall(r"\w+", message))
    places = [binding.where for field, binding in found.items() if field in words]
    places = places or [binding.where for binding in list(found.values())[-1:]]
    place = f"{places[0]}: " if places else ""
    return place + (message if message.startswith(name) else f"{name}: {message}")
