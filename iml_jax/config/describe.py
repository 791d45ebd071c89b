"""The part of ``iml COMMAND --help`` that lists gin parameters."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from shutil import get_terminal_size  # noqa: TID251  changes no file

from iml_jax.config.registry import REGISTRY, Field, Registry
from iml_jax.config.rendering import shown_default
from iml_jax.config.values import describe


def describe_configs(names: Sequence[str], registry: Registry = REGISTRY) -> str:
    """Every parameter of ``names``: type, default and its line of documentation."""
    width = max(60, min(110, get_terminal_size().columns))
    blocks = ["gin parameters (bind with --gin.NAME=VALUE or NAME = VALUE in a gin file):"]
    for name in names:
        kind = registry.type_of(name)
        summary = _plain(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0])
        lines = [f"  {name}: {summary.replace(f'; gin name {name}', '')}"]
        for field in registry.fields(name).values():
            lines += _field_lines(name, field, registry, width)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _field_lines(name: str, field: Field, registry: Registry, width: int) -> list[str]:
    default = "required" if field.required else f"= {shown_default(field.default, registry)}"
    head = f"    {name}.{field.name} ({describe(field.hint, field.choices)}) {default}"
    return [head, *textwrap.wrap(_plain(field.doc), width, initial_indent=" " * 8, subsequent_indent=" " * 8)]


def _plain(text: str) -> str:
    """One line, without the marks of reStructuredText."""
    return " ".join(text.replace("``", "").split())
