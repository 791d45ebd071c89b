"""Readers of the meta-datasets' public distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from iml_jax.bench.sources.base import Source
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import is_there


def expand(sources: Iterable[Source]) -> tuple[Source, ...]:
    """The sources with composite ones (those that have ``parts()``, e.g. ``Miniature``) taken apart.

    Call this first with the sources of a mixture, in one process: taking a miniature apart writes its files.
    Everything after it sees sources whose ``name`` is the benchmark of their tasks, and whose ``settings()``
    and task files decide their examples.

    Raises:
      UserError: a composite cannot write or find its files.
    """
    expanded: list[Source] = []
    for source in sources:
        parts = getattr(source, "parts", None)
        expanded.extend(parts() if parts else (source,))
    return tuple(expanded)


def default_sources(data_dir: str | Path) -> tuple[Source, ...]:
    """The sources of a folder that holds one folder for each benchmark, as ``docs/data.md`` lays it out.

    A benchmark without a folder there has no source; other folders and files are left alone.

    Raises:
      UserError: ``data_dir`` is no folder, or has the folder of no benchmark.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds the benchmarks' folders")
    found = tuple(build(folder / name) for name, build in LAYOUT.items() if (folder / name).is_dir())
    if not found:
        raise UserError(f"{folder}: holds none of the folders {', '.join(LAYOUT)}; see docs/data.md")
    return found


def _natural_instructions(folder: Path) -> Source:
    from iml_jax.bench.sources.super_natural_instructions.source import SuperNaturalInstructions

    splits = folder / "splits" / "default"
    return SuperNaturalInstructions(
        data_dir=str(folder / "tasks"), split_dir=str(splits) if splits.is_dir() else ""
    )


def _promptsource(folder: Path) -> Source:
    from iml_jax.bench.sources.promptsource.p3 import P3
    from iml_jax.bench.sources.promptsource.source import PromptSource

    roles = folder / "datasets.csv"
    table = str(roles) if is_there(roles) else ""
    data, templates, rendered = folder / "data", folder / "templates", folder / "p3"
    if rendered.is_dir() and not data.is_dir():
        told = str(templates) if templates.is_dir() else ""
        return P3(data_dir=str(rendered), template_dir=told, role_table=table)
    return PromptSource(data_dir=str(data), template_dir=str(templates), role_table=table)


def _crossfit(folder: Path) -> Source:
    from iml_jax.bench.sources.crossfit.source import CrossFit

    return CrossFit(data_dir=str(folder))


def _flan(folder: Path) -> Source:
    from iml_jax.bench.sources.flan.source import Flan

    return Flan(data_dir=str(folder))


def _exmix(folder: Path) -> Source:
    from iml_jax.bench.sources.exmix.source import ExMix

    return ExMix(data_dir=str(folder))


def _t5(folder: Path) -> Source:
    from iml_jax.bench.sources.t5.source import T5

    return T5(data_dir=str(folder))


def _unifiedskg(folder: Path) -> Source:
    from iml_jax.bench.sources.unifiedskg.source import UnifiedSKG

    return UnifiedSKG(data_dir=str(folder))


def _reasoning(folder: Path) -> Source:
    from iml_jax.bench.sources.reasoning.source import Reasoning

    return Reasoning(data_dir=str(folder))


def _pretrain(folder: Path) -> Source:
    from iml_jax.bench.sources.corpora.source import PretrainingText

    return PretrainingText(data_dir=str(folder))


def _dialogue(folder: Path) -> Source:
    from iml_jax.bench.sources.corpora.source import Dialogue

    return Dialogue(data_dir=str(folder))


def _mmlu(folder: Path) -> Source:
    from iml_jax.bench.sources.suites.mmlu import Mmlu

    return Mmlu(data_dir=str(folder))


def _bbh(folder: Path) -> Source:
    from iml_jax.bench.sources.suites.bbh import BigBenchHard

    return BigBenchHard(data_dir=str(folder))


def _bigbench(folder: Path) -> Source:
    from iml_jax.bench.sources.suites.bigbench import BigBench

    return BigBench(data_dir=str(folder))


def _raft(folder: Path) -> Source:
    from iml_jax.bench.sources.suites.raft import Raft

    return Raft(data_dir=str(folder))


def _opt14(folder: Path) -> Source:
    from iml_jax.bench.sources.suites.opt14 import Opt14

    return Opt14(data_dir=str(folder))


# Benchmark, which is its folder's name -> what makes its source of the folder.
LAYOUT: Mapping[str, Callable[[Path], Source]] = {
    "super_natural_instructions": _natural_instructions,
    "promptsource": _promptsource,
    "crossfit": _crossfit,
    "flan": _flan,
    "exmix": _exmix,
    "t5": _t5,
    "unifiedskg": _unifiedskg,
    "reasoning": _reasoning,
    "pretrain": _pretrain,
    "dialogue": _dialogue,
    "mmlu": _mmlu,
    "bbh": _bbh,
    "bigbench": _bigbench,
    "raft": _raft,
    "opt14": _opt14,
}
