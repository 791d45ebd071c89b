"""Readers of the meta-datasets' public distributions, and the list of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from iml_jax.bench.sources.base import Source
from iml_jax.foundation.errors import UserError

# Every source: gin name -> module:class, imported when it is used.
SOURCES: Mapping[str, str] = {
    name: f"iml_jax.bench.sources.{module}:{name}"
    for name, module in {
        "SuperNaturalInstructions": "super_natural_instructions.source",
        "PromptSource": "promptsource.source",
        "P3": "promptsource.p3",
        "CrossFit": "crossfit.source",
        "Flan": "flan.source",
        "ExMix": "exmix.source",
        "T5": "t5.source",
        "Reasoning": "reasoning.source",
        "UnifiedSKG": "unifiedskg.source",
        "Mmlu": "suites.mmlu",
        "BigBenchHard": "suites.bbh",
        "BigBench": "suites.bigbench",
        "Raft": "suites.raft",
        "Opt14": "suites.opt14",
        "PretrainingText": "corpora.source",
        "Dialogue": "corpora.source",
        "Miniature": "miniature.source",
    }.items()
}
# Benchmark, which is its folder's name in a data folder -> what reads it there.
LAYOUT: Mapping[str, str] = {
    "super_natural_instructions": "SuperNaturalInstructions",
    "promptsource": "PromptSource",
    "crossfit": "CrossFit",
    "flan": "Flan",
    "exmix": "ExMix",
    "t5": "T5",
    "unifiedskg": "UnifiedSKG",
    "reasoning": "Reasoning",
    "pretrain": "PretrainingText",
    "dialogue": "Dialogue",
    "mmlu": "Mmlu",
    "bbh": "BigBenchHard",
    "bigbench": "BigBench",
    "raft": "Raft",
    "opt14": "Opt14",
}


def expand(sources: Iterable[Source]) -> tuple[Source, ...]:
    """The sources, with composite ones (``Miniature``) taken apart into their ``parts``.

    Call this first with the sources of a mixture, in one process: taking a miniature apart writes its files.
    Everything after it sees sources whose ``name`` is the benchmark of their tasks, and whose ``settings()``
    and task files decide their examples.

    Raises:
      UserError: a composite cannot write or find its files.
    """
    return tuple(part for source in sources for part in source.parts())


def default_sources(data_dir: str | Path) -> tuple[Source, ...]:
    """The sources of a folder that holds one folder for each benchmark, as ``docs/data.md`` lays it out.

    A benchmark without a folder there has no source; other folders and files are left alone.

    Raises:
      UserError: ``data_dir`` is no folder, or has the folder of no benchmark.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds the benchmarks' folders")
    found = tuple(source_of(name, folder / name) for name in LAYOUT if (folder / name).is_dir())
    if not found:
        raise UserError(f"{folder}: holds none of the folders {', '.join(LAYOUT)}; see docs/data.md")
    return found


def source_of(benchmark: str, folder: Path) -> Source:
    """The source over the folder of a benchmark of ``LAYOUT``.

    Rendered prompts (``p3``) stand for the rows of PromptSource's datasets where these are not there.
    """
    name = LAYOUT[benchmark]
    if name == "PromptSource" and (folder / "p3").is_dir() and not (folder / "data").is_dir():
        name = "P3"
    module, _, named = SOURCES[name].partition(":")
    made: type[Source] = getattr(importlib.import_module(module), named)
    return made.in_folder(folder)


def remedy(benchmark: str, task: str, data_dir: Path) -> str:
    """As ``Source.remedy``, of a task of a benchmark of ``LAYOUT`` in a data folder."""
    return source_of(benchmark, data_dir / benchmark).remedy(task)
