"""Tasks of an evaluation suite that are not evaluated: their files are missing, or no example is left."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from iml_jax.bench import known_tasks, roles, source_paths
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources import expand
from iml_jax.bench.sources.base import Source
from iml_jax.data.manifest import Manifest


def notes(config: MixtureConfig, manifest: Manifest) -> Iterator[str]:
    """Lines for the user; none for a mixture that trains on something, since it asks for no certain tasks.

    Args:
      config: the suite.
      manifest: what was prepared of it.
    """
    if config.train:
        return
    for source in expand([source_paths.located(source, config.data_dir) for source in config.sources]):
        wanted = [name for name in expected(config, source) if config.asks(f"{source.name}:{name}")]
        here = {entry.task for entry in manifest.tasks if entry.benchmark == source.name}
        if gone := [name for name in wanted if name not in here]:
            yield (
                f"{source.name}: {len(gone)} of {len(wanted)} tasks of this suite are not in its folder: "
                f"{_some(gone)} (`iml tasks --data_dir` lists what belongs where)"
            )
    if empty := [entry.name for entry in manifest.tasks if not entry.evaluated]:
        yield f"nothing is left to ask of {len(empty)} tasks: {_some(empty)} (the table says why)"


def expected(config: MixtureConfig, source: Source) -> tuple[str, ...]:
    """The names of the tasks that a suite evaluates of a source with all of its files; none if unknown.

    Of OPT-IML's sets they are those of ``known_tasks``; an evaluation-only source knows its own.
    """
    if config.roles != roles.PUBLISHED:
        used = (known_tasks.DEV, known_tasks.TEST)
        wanted = (config.evaluation_set,) if config.evaluation_set else used
        rows = known_tasks.every(source.name)
        return tuple(row.task for row in rows if row.role in wanted and not row.same_as)
    return source.expected()


def _some(names: Iterable[str]) -> str:
    return textwrap.shorten(", ".join(names), 1500, placeholder=" ...")
