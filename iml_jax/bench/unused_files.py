"""Files in sources' folders that belong to no task, and why; `iml prepare` and `iml tasks` list them."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from iml_jax.bench import left_out, source_paths
from iml_jax.bench.left_out import LeftOut, Thing
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources.base import BrokenTask, NothingFoundError, Source, TaskInfo
from iml_jax.bench.sources.formats.copies import PACKED
from iml_jax.bench.sources.formats.row_counts import RowCounter
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import one_line
from iml_jax.storage import paths
from iml_jax.storage.folders import entries, walk

NO_TASK = "no task is made of it"
NO_SOURCE = "no source reads it"
_LISTED = 20  # files of one source and reason that are named


def of_source(source: Source, tasks: Iterable[TaskInfo | BrokenTask]) -> dict[Path, str]:
    """The files below a source's ``data_dir`` that it does not read, or that are missing -> why, sorted.

    There are none where a task of the source is broken: the reason given for the task says what is wrong.
    Where it finds nothing at all, they are all there are.

    Args:
      source: one that reads a folder; another has none.
      tasks: what it lists; the files of a broken task are named by its reason.
    """
    try:
        own = source.unread()
    except NothingFoundError:
        own = None
    except UserError:
        return {}
    tasks = list(tasks)
    read = {path for task in tasks if isinstance(task, TaskInfo) for path in task.files}
    folder = getattr(source, "data_dir", "")
    if own is None and folder:
        broken = " ".join(task.reason for task in tasks if isinstance(task, BrokenTask))
        every = (path for path in _files(Path(folder)) if path not in read and f"{path}" not in broken)
        own = dict.fromkeys(every, NO_TASK)
    left = {**(own or {}), **_missing(source)}
    left |= {path: PACKED for path in left if path.suffix == ".gz" and path.with_suffix("") in read}
    return dict(sorted(left.items()))


def _missing(source: Source) -> dict[Path, str]:
    try:
        return source.missing() | source.set_aside()
    except UserError:  # reported where its tasks are listed
        return {}


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder but hidden ones, sorted; linked folders once."""
    for place, _, names in walk(folder, follow_links=True):
        yield from (place / name for name in names)


def lines(unread: Mapping[str, Mapping[Path, str]]) -> Iterator[str]:
    """A line (``# not read: FILE: why``) for each file, at most 20 of one source and reason."""
    for benchmark, files in unread.items():
        by_reason: dict[str, list[Path]] = collections.defaultdict(list)
        for path, reason in files.items():
            by_reason[reason].append(path)
        for reason, alike in by_reason.items():
            yield from (one_line(f"# not read: {path}: {reason}") for path in alike[:_LISTED])
            if len(alike) > _LISTED:
                more = len(alike) - _LISTED
                yield one_line(f"# not read: {more} more files of {benchmark}: {reason}")


def unused(tasks: Iterable[tuple[Source, TaskInfo, str]]) -> tuple[LeftOut, ...]:
    """Tasks that a mixture does not use, counted by reason, with the rows of their files.

    Args:
      tasks: each with its source and the reason, as ``mixtures.survey`` has them.
    """
    counter = RowCounter()
    things = []
    for source, info, reason in tasks:
        found = [counter.count(path, header=source.header) for path in dict.fromkeys(info.files)]
        rows = sum(count or 0 for count in found)
        things.append(Thing(info.benchmark, left_out.TASK, reason, info.task, rows, None not in found))
    return left_out.counted(things)


def counted(config: MixtureConfig, listed: Iterable[tuple[Source, TaskInfo]]) -> tuple[LeftOut, ...]:
    """What the sources of listed tasks do not read, or what is missing, counted by reason, with its rows.

    Args:
      config: of the mixture; what else lies in its ``data_dir`` counts too.
      listed: every task with its source, as ``mixtures.survey`` has them.
    """
    own: dict[int, tuple[Source, list[TaskInfo]]] = {}
    for source, info in listed:
        own.setdefault(id(source), (source, []))[1].append(info)
    counter = RowCounter()

    def thing(benchmark: str, path: Path, reason: str, header: bool | None) -> Thing:
        return Thing(benchmark, left_out.FILE, reason, str(path), *counter.count_all(path, header=header))

    found = [
        thing(source.name, path, reason, source.header)
        for source, infos in own.values()
        for path, reason in of_source(source, infos).items()
    ]
    if config.data_dir:
        folder = paths.absolute(Path(config.data_dir))
        sources = [source_paths.located(source, config.data_dir) for source in config.sources]
        found += (thing("data_dir", path, why, None) for path, why in beside(folder, sources).items())
    return left_out.counted(found)


def beside(folder: Path, sources: Iterable[Source]) -> dict[Path, str]:
    """What lies in a data folder and no source reads: folders of unknown names, second forms of a benchmark.

    Args:
      folder: holds the folders of the benchmarks.
      sources: what reads them, with absolute paths.
    """
    read = {Path(path) for source in sources for path in source_paths.paths_of(source).values()}
    found: dict[Path, str] = {}
    left = [folder]
    while left:
        for path in entries(left.pop()):
            if any(path == other or other in path.parents for other in read):
                continue
            if any(path in other.parents for other in read):
                left.append(path)
            else:
                found[path] = NO_SOURCE
    return dict(sorted(found.items()))


def note(mixture: MixtureConfig) -> str:
    """One line that counts what a mixture's sources say they do not read or miss; empty if nothing.

    Sources without a word of their own are left out: they would have to be listed once more.
    """
    unread: dict[Path, str] = {}
    for source in (source_paths.located(source, mixture.data_dir) for source in mixture.sources):
        try:
            unread |= source.unread() or {}
            unread |= source.missing()
        except UserError:
            continue  # its tasks were excluded; what is wrong with it matters to none that are prepared
    if not unread:
        return ""
    path, reason = next(iter(unread.items()))
    count = "1 file" if len(unread) == 1 else f"{len(unread)} files"
    return f"{count} in the sources' folders not read, e.g. {path} ({reason}); `iml tasks` lists them"
