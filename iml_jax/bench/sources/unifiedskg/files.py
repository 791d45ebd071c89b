"""Finding and reading UnifiedSKG's files: task folders, preprocessed items, arrays too large to hold."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.base import NothingFoundError
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.bounds import drop, is_long
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.records import json_rows
from iml_jax.bench.sources.unifiedskg.tasks import SPLIT, SkgTask, by_name, tasks
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries, walk
from iml_jax.storage.reading import open_binary

_CHUNK = 1 << 20
_WORDS = {"train": "train", "test": "test", "unseen": "test"}  # every other word names a development set
_SPLIT_WORD = re.compile(rf"(?:^|[-_.])({SPLIT}|unseen)(?:set)?(?=[-_.])")
_ITEM_FILE = re.compile(rf"(?:(?P<task>.+)_)?{SPLIT}\.jsonl?")
_BLANK = " \t\n\r"


@dataclasses.dataclass(frozen=True, slots=True)
class TaskFiles:
    """The files of one task.

    Attributes:
      splits: split -> its file, in the order of ``data.terms.SPLITS``.
      side: the files that their rows may refer to, sorted.
    """

    splits: dict[str, Path]
    side: tuple[Path, ...]


def find(folder: Path) -> tuple[dict[str, TaskFiles | UserError], Copies]:
    """Task -> its files, or what is wrong with them; for every task with a split file below, sorted.

    Files are ``TASK_SPLIT.json`` (or ``.jsonl``) and ``TASK/[TASK_]SPLIT.json``, the form of the authors'
    preprocessed items, and the original files of ``SkgTask.data`` in the folder of their task. Of a split
    with several files items are read before original files, these in the order of the table, and the name of
    the task goes before its aliases. Wrong is an item file of no task of UnifiedSKG, which stands under its
    own name.

    Returns:
      The tasks, and the files of the same splits that are not read with the reason.

    Raises:
      UserError: there is none.
    """
    ranks: dict[Path, tuple[Any, ...]] = {}
    every: list[tuple[tuple[str, str], Path]] = []
    side: list[tuple[str, Path]] = []
    wrong: dict[str, UserError] = {}
    for path in entries(folder):
        if (name := _task_name(path)) is None:
            continue
        try:
            task = _known(name, path)
        except UserError as error:
            wrong.setdefault(name, error)
            continue
        files, more = _in_task_folder(path, task) if path.is_dir() else ([(0, path)], [])
        side += ((task.name, file) for file in more)
        for rank, file in files:
            ranks[file] = (rank, name.lower() != task.name, *copies.by_name(file))
            every.append(((task.name, split_of(file)), file))
    named, left = copies.once(every, "split", ranks.__getitem__)
    beside, more_left = copies.once(
        (((task, path.with_name(plain(path.name))), path) for task, path in side), "file"
    )
    splits: dict[str, dict[str, Path]] = collections.defaultdict(dict)
    for (owner, split), file in named.items():
        splits[owner][split] = file
    found: dict[str, TaskFiles | UserError] = {
        owner: TaskFiles(
            {split: held[split] for split in SPLITS if split in held},
            tuple(file for (name, _), file in beside.items() if name == owner),
        )
        for owner, held in splits.items()
    }
    found |= wrong
    if not found:
        raise NothingFoundError(
            f"{folder}: no file of a UnifiedSKG task, e.g. spider_train.json{_nearby(folder)}"
        )
    return {task: found[task] for task in sorted(found)}, left | more_left


def _task_name(path: Path) -> str | None:
    """The task that a folder's or file's name says; None where it belongs to no task of UnifiedSKG."""
    if path.is_dir():
        # A folder of items of an unknown task would otherwise be left out without a message.
        items = (match for inner in entries(path) if (match := _ITEM_FILE.fullmatch(plain(inner.name))))
        if path.name.lower() in by_name() or any(match["task"] in (None, path.name) for match in items):
            return path.name
        return None
    match = _ITEM_FILE.fullmatch(plain(path.name))
    return match["task"] if match else None


def _in_task_folder(folder: Path, task: SkgTask) -> tuple[list[tuple[int, Path]], list[Path]]:
    """(rank of its form, split file) of each in the task's folder, and the files that rows may refer to."""
    names = "|".join(map(re.escape, task.names))
    patterns = [rf"(?:(?i:{names})_)?{SPLIT}\.jsonl?", *task.data]
    compiled = [re.compile(pattern) for pattern in patterns]
    files: list[tuple[int, Path]] = []
    side = []
    for path in _walk(folder):
        name = plain(path.relative_to(folder).as_posix())
        if task.is_side(name):
            side.append(path)
            continue
        rank = next((rank for rank, pattern in enumerate(compiled) if pattern.fullmatch(name)), None)
        if rank is not None:
            files.append((rank, path))
    return files, side


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below, sorted, hidden ones left out."""
    for place, _, names in walk(folder):
        yield from (place / name for name in names)


def plain(name: str) -> str:
    """A file name without ``.gz``."""
    return name.removesuffix(".gz")


def split_of(path: Path) -> str:
    """The split that a file's name says: its first word for one, in any of the public spellings."""
    match = _SPLIT_WORD.search(path.name)
    return _WORDS.get(match[1], "validation") if match else ""


def _known(name: str, path: Path) -> SkgTask:
    if task := by_name().get(name.lower()):
        return task
    close = difflib.get_close_matches(name.lower(), by_name(), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{path}: UnifiedSKG has no task {name!r}{hint}; rename the file or move it elsewhere")


def _nearby(folder: Path) -> str:
    for path in entries(folder):
        if path.is_dir() and any(_ITEM_FILE.fullmatch(plain(inner.name)) for inner in entries(path)):
            return f"; bind {path}"
    known = ", ".join(task.name for task in tasks())
    return f", or folder such as spider/; bind the folder that has them (tasks: {known})"


def holds_items(path: Path) -> bool:
    """Whether a JSON file holds preprocessed items: its first records have a key ``seq_out``."""
    if not plain(path.name).endswith((".json", ".jsonl")):
        return False
    with open_binary(path) as stream:
        head = stream.read(_CHUNK)
    return re.search(rb'"seq_out"\s*:', head) is not None


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Streams (number from 1, object) of a JSON array of objects, or of JSON objects, one per line.

    Only one object is held at a time: preprocessed files are up to gigabytes. Too long ones are dropped.

    Raises:
      UserError: malformed, or an element is no object; names file and line.
    """
    for number, (_, line, row) in enumerate(json_rows(path), start=1):
        if is_long(row):
            drop(path, line)
        else:
            yield number, row


def side_named(side: tuple[Path, ...], *endings: str) -> tuple[Path, ...]:
    """Of the side files those whose name, without ``.gz``, has one of these endings."""
    return tuple(path for path in side if plain(path.name).endswith(endings))


def required(row: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
    """``row[key]``, which must be of ``kind``.

    Raises:
      UserError: it is missing or of another type.
    """
    value = row.get(key)
    if not isinstance(value, kind):
        what = "no" if key not in row else f"a {type(value).__name__} as"
        raise UserError(f"{place}: {what} {key!r}, which must be a {kind.__name__}; fix or remove the record")
    return value


def as_object(value: Any, place: str) -> dict[str, Any]:
    """The value, which must be an object.

    Raises:
      UserError: it is something else.
    """
    if not isinstance(value, dict):
        raise UserError(f"{place}: {str(value)[:40]!r} must be an object; fix or remove the record")
    return value


def as_list(value: Any, place: str) -> list[Any]:
    """The value, which must be a list.

    Raises:
      UserError: it is something else.
    """
    if not isinstance(value, list):
        raise UserError(f"{place}: {str(value)[:40]!r} must be a list; fix or remove the record")
    return value
