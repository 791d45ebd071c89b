"""Reads gin text and ``--gin.NAME=VALUE`` flags into statements, with the place of each.

The grammar is gin's own (``gin.config_parser``), so files look and mean what T5X users expect. What is
done with a statement is not gin's: its registry is one per process, its errors are tracebacks and its
``import`` runs code, none of which suits a file that a user hands over.
"""

from __future__ import annotations

import dataclasses
import io
import re
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gin.config_parser import (
    BlockDeclaration,
    ConfigParser,
    ImportStatement,
    IncludeStatement,
    ParserDelegate,
    parse_binding_key,
)

from iml_jax.foundation.errors import UserError
from iml_jax.storage import reading

REQUIRED_MACRO = "gin.REQUIRED"
FLAG = "--gin."
MAX_DEPTH = 32  # of brackets; keeps every walk over a value far from Python's recursion limit
_KEY = re.compile(r"(?:[A-Za-z_]\w*/)*[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@dataclasses.dataclass(frozen=True)
class Reference:
    """``@scope/Name()``: an instance of ``name`` built under ``scope`` (None: the scope in force)."""

    scope: tuple[str, ...] | None
    name: str
    called: bool = True

    def __str__(self) -> str:
        return "@" + "/".join((*(self.scope or ()), self.name)) + ("()" if self.called else "")


@dataclasses.dataclass(frozen=True)
class MacroUse:
    """``%NAME``."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclasses.dataclass(frozen=True)
class Unparsed:
    """The text of a flag's value that is no gin literal: a bare string, where one is allowed."""

    text: str


@dataclasses.dataclass(frozen=True)
class Statement:
    """One binding, macro or block head.

    Attributes:
      scope: the scope before the name, outermost first.
      name: the configurable, or the macro's own full name where ``field`` is empty.
      field: the parameter; empty for a macro.
      value: a literal that may hold ``Reference`` and ``MacroUse``; for a flag's value also ``Unparsed``.
      where: ``file:line``, or the flag as given.
      flag_text: the value as typed, for a flag; None in files.
      block: this is the head of an indented block, which binds nothing.
    """

    scope: tuple[str, ...]
    name: str
    field: str
    value: Any
    where: str
    flag_text: str | None = None
    block: bool = False

    @property
    def is_macro(self) -> bool:
        """Whether this defines a macro rather than binding a parameter."""
        return not self.field and not self.block


class _Delegate(ParserDelegate):
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        *scope, name = scoped_configurable_name.split("/")
        return Reference(tuple(scope) or None, name, evaluate)

    def macro(self, macro_name: str) -> MacroUse:
        return MacroUse(macro_name)


def read_text(
    text: str, label: str, include: Callable[[str, str], list[Statement]] | None
) -> list[Statement]:
    """Parses gin text.

    Args:
      text: the whole text.
      label: how errors name it, usually its path.
      include: called with (file name, place) for every ``include``; None refuses them.

    Raises:
      UserError: a syntax error, an ``import`` or a refused include; names the line.
    """
    statements: list[Statement] = []
    parser = None
    start = 1
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # ast warns of "\d" in strings; gin files may hold it
                if parser is None:
                    parser = ConfigParser(io.StringIO(text), _Delegate())
                start = parser.current_token.start[0]
                parsed = parser.parse_statement()
        except Exception as error:  # whatever gin's parser trips over is a fault of the text it was given
            token = parser.current_token.start[0] if parser else 1
            raise _syntax_error(error, text, label, start, token) from None
        if parsed is None:
            return statements
        where = f"{label}:{parsed.location.line_num}"
        _check_depth(getattr(parsed, "value", None), where)
        if isinstance(parsed, ImportStatement):
            raise UserError(
                f"{where}: {parsed.format()!r} is refused, because a gin file may not run code; "
                "every configurable is known without it"
            )
        if isinstance(parsed, IncludeStatement):
            if include is None:
                raise UserError(f"{where}: include is not allowed here")
            statements += include(parsed.filename, where)
            continue
        scope = tuple(parsed.scope.split("/")) if parsed.scope else ()
        if isinstance(parsed, BlockDeclaration):
            statements.append(Statement(scope, parsed.selector, "", None, where, block=True))
        elif parsed.arg_name:
            statements.append(Statement(scope, parsed.selector, parsed.arg_name, parsed.value, where))
        else:
            statements.append(Statement((), "/".join((*scope, parsed.selector)), "", parsed.value, where))


def read_flag(flag: str) -> Statement:
    """Parses one ``--gin.NAME=VALUE``; a VALUE that is no gin literal is kept as ``Unparsed``.

    Raises:
      UserError: there is no ``=``, NAME is not a gin name, or VALUE starts like a bracket, a quoted text,
        a reference or a macro and is none.
    """
    key, equals, text = flag.removeprefix(FLAG).partition("=")
    shown = " ".join(flag.split())
    shown = shown if len(shown) <= 100 else shown[:97] + "..."
    if not equals:
        raise UserError(f"{shown}: no value; write {shown}=VALUE")
    if not _KEY.fullmatch(key):
        raise UserError(f"{shown}: {key!r} is not a gin name; write {FLAG}Name.parameter=VALUE")
    scope_text, selector, field = parse_binding_key(key)
    scope = tuple(scope_text.split("/")) if scope_text else ()
    if not field:
        scope, selector = (), "/".join((*scope, selector))
    value: Any = Unparsed(text)
    try:
        parsed = read_text(f"value = {text}", "", None)
    except UserError as error:
        if text.lstrip()[:1] in tuple("@%([{\"'"):  # meant as gin and misspelt, not as a bare string
            reason = str(error).partition("syntax error: ")[2].removesuffix(f": value = {text.strip()}")
            raise UserError(f"{shown}: the value cannot be read: {reason or error}") from error
    else:
        if len(parsed) == 1 and parsed[0].is_macro:  # else a newline in it made two statements
            value = parsed[0].value
    return Statement(scope, selector, field, value, shown, flag_text=text)


def _check_depth(value: Any, where: str) -> None:
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            item
            for container in layer
            if isinstance(container, (tuple, list, dict))
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not layer:
            return
    raise UserError(f"{where}: the value is nested more than {MAX_DEPTH} deep")


def _syntax_error(error: Exception, text: str, label: str, start: int, token: int) -> UserError:
    """One line for whatever gin's parser raised while it read the statement at line ``start``."""
    lines = text.split("\n")
    message = " ".join(str(getattr(error, "msg", None) or error).split())
    line = getattr(error, "lineno", None) or token
    bad = re.search(r"Failed to parse token '(.*)'$", message)
    if isinstance(error, tokenize.TokenError):
        while start < len(lines) and (
            not lines[start - 1].strip() or lines[start - 1].lstrip().startswith("#")
        ):
            start += 1
        line, message = start, "a bracket or quote opened here is never closed"
    elif bad:
        word = bad[1] if len(bad[1]) <= 40 else bad[1][:37] + "..."
        message = f"cannot read the value {word}; a text needs quotes, a macro a leading %"
        if word.lower() in ("true", "false", "none"):
            message = f"cannot read the value {word}; write {word.capitalize()}"
    elif isinstance(error, RecursionError):
        message = "the value is nested too deeply"
    elif not isinstance(error, SyntaxError):
        message = f"cannot be read ({message or type(error).__name__})"
    line = min(line, len(lines))
    content = " ".join(lines[line - 1].split())
    if len(content) > 80:
        content = content[:77] + "..."
    return UserError(
        f"{label}:{line}: syntax error: {message.rstrip('.')}" + (f": {content}" if content else "")
    )


def read_file(path: Path, include: Callable[[str, str], list[Statement]]) -> list[Statement]:
    """Parses one gin file, UTF-8; see ``read_text``.

    Raises:
      UserError: it cannot be read, is not UTF-8 or is not gin.
    """
    text = reading.read_text(path, reading.LINE_LIMIT)
    return read_text(text.replace("\r\n", "\n"), str(path), include)
