"""The paths that a source's fields bind: found by their annotations, made absolute, checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from iml_jax.bench.sources.base import NothingFoundError, Source
from iml_jax.config.paths import rule_of
from iml_jax.config.registry import fields_of
from iml_jax.storage import paths


def check_folder(source: Source) -> None:
    """Checks that the folder of a source's rows exists.

    Raises:
      NothingFoundError: there is nothing of that name.
    """
    folder = getattr(source, "data_dir", "")
    if folder and not Path(folder).exists():
        raise NothingFoundError(
            f"{type(source).__name__}.data_dir = {folder}: no such folder; check the path"
        )


def located(source: Source, data_dir: str) -> Source:
    """The source with its paths absolute; relative ones start at ``data_dir``, or the working directory."""
    if not dataclasses.is_dataclass(source):
        return source
    given = paths_of(source)
    return dataclasses.replace(
        source, **{field: str(paths.absolute(Path(data_dir, path))) for field, path in given.items()}
    )


def paths_of(source: Source) -> dict[str, str]:
    """The fields of a source that bind a path -> the path."""
    if not dataclasses.is_dataclass(source):
        return {}
    named = [field for field, info in fields_of(type(source)).items() if rule_of(info.hint)]
    return {field: getattr(source, field) for field in named if getattr(source, field)}
