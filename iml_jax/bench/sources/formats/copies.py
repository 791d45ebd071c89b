"""The same rows in a folder more than once: which copy is read, and the reason reported for the others.

The rule (docs/data.md, "Copies"): of forms that a source ranks the first; then the file with the highest
version in its name; then the shortest name, and of names of one length the first; of a file that is there
plain and as ``.gz`` the plain one. Of one split in several table formats the first of ``TABLES``, in one file
before shards. What is in the files is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import walk

# Formats of tables, first those that keep the types of values: Parquet knows the names of classes as well.
TABLES = ("parquet", "jsonl", "json", "csv", "tsv")
PACKED = "the same file without .gz is read"
_VERSION = re.compile(r"(?<![\d.])v?(\d+(?:\.\d+)+)")
_SHARD = re.compile(r"-(?P<index>\d{5})-of-(?P<shards>\d{5})(-[0-9a-f]{8,})?(?=\.|$)")
_Key = TypeVar("_Key", bound=Hashable)
Copies = dict[Path, str]  # file that is not read -> why


def by_name(path: Path) -> tuple[Any, ...]:
    """The order of copies by their names, the one to read first."""
    bare = _bare(path.name)
    version = _VERSION.search(bare.rpartition(".")[0])
    numbers = tuple(-int(part) for part in version[1].split(".")) if version else ()
    return not numbers, numbers, len(bare), bare, path.name != bare, path


def by_form(path: Path) -> tuple[Any, ...]:
    """As ``by_name``, tables in the order of ``TABLES``."""
    return table_rank(path), *by_name(path)


def table_rank(path: Path) -> int:
    """Where a file's format stands among ``TABLES``; behind them if it is none."""
    kind = _bare(path.name).rpartition(".")[2]
    return TABLES.index(kind) if kind in TABLES else len(TABLES)


def once(
    found: Iterable[tuple[_Key, Path]], what: str, order: Callable[[Path], Any] = by_name
) -> tuple[dict[_Key, Path], Copies]:
    """One file for each key, in the order of the keys, and the other files with the reason.

    Args:
      found: what each file holds, and the file.
      what: what a key stands for, for the reason: "task", "split".
      order: sorts the files of a key, the one to read first.
    """
    groups: dict[_Key, list[Path]] = {}
    for key, path in found:
        groups.setdefault(key, []).append(path)
    read, copies = {}, Copies()
    for key, paths in groups.items():
        read[key], *others = sorted(paths, key=order)
        copies |= {other: why(other, read[key], what) for other in others}
    return read, copies


def files_below(root: Path) -> tuple[list[tuple[Path, str]], Copies]:
    """(path, path relative to the root with "/") of every file, in the order of names; and packed copies."""
    every = (place / name for place, _, names in walk(root) for name in names)
    named, twins = once(((path.with_name(_bare(path.name)), path) for path in every), "file")
    return [(path, path.relative_to(root).as_posix()) for path in named.values()], twins


def why(copy: Path, read: Path, what: str) -> str:
    """Why a copy is not read.

    Args:
      copy: the file.
      read: the file or folder that is read.
      what: what both hold: "task", "split".
    """
    return PACKED if _bare(copy.name) == read.name and copy.parent == read.parent else same(read, what)


def same(read: Path, what: str) -> str:
    """The reason for all that is a copy of another file or folder than the one beside it without ``.gz``."""
    return f"the same {what} as {read}, which is read"


def below(folder: Path, read: Path, what: str) -> Copies:
    """Every file of a folder that is a copy of another, with the reason."""
    return {place / name: same(read, what) for place, _, names in walk(folder) for name in names}


def whole_split(paths: Sequence[Path]) -> tuple[tuple[Path, ...], Copies]:
    """The files of one split, and its other copies: one file, or all shards of one set.

    Raises:
      UserError: a set of shards lacks some, or has one of several shards in two uploads (whose hashes
        differ), so that it is unknown which shards belong together.
    """
    sets: dict[tuple[Any, ...], dict[str, list[Path]]] = {}
    for path in paths:
        shard = _SHARD.search(path.name)
        stem = _SHARD.sub("", _bare(path.name))
        group = (table_rank(path), int(shard["shards"]) if shard else 0, *by_name(Path(stem)))
        sets.setdefault(group, {}).setdefault(shard["index"] if shard else "", []).append(path)
    copies = Copies()
    made = [_one_upload(sets[group], group[1], copies) for group in sorted(sets)]
    for other in made[1:]:
        copies |= {path: why(path, made[0][0], "split") for path in other}
    return made[0], copies


def _one_upload(found: dict[str, list[Path]], shards: int, copies: Copies) -> tuple[Path, ...]:
    """The files of one set, in the order of its shards, each once."""
    files = []
    for index in sorted(found):
        first, *others = sorted(found[index], key=by_name)
        if shards > 1 and (twin := next((o for o in others if _bare(o.name) != _bare(first.name)), None)):
            raise UserError(f"{twin}: the same shard as {first}; remove the shards of one of the two uploads")
        copies |= {other: why(other, first, "split") for other in others}
        files.append(first)
    if shards and len(files) != shards:
        raise UserError(
            f"{files[0]}: {len(files)} of {shards} shards are there; fetch the others, or remove these"
        )
    return tuple(files)


def _bare(name: str) -> str:
    return name.removesuffix(".gz")
