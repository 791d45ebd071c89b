"""What the evaluation sets share: they are never trained on, and their files are recognised by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from iml_jax.bench.sources.base import TaskInfo, TaskSource
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.storage.folders import entries, is_there

NO_LABEL = "no label (it is not public)"
EMPTY = "empty question"
CANARY = "holds the canary of BIG-bench"
_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


class EvaluationOnly(TaskSource):
    """A source whose tasks are never trained on, whatever a mixture asks."""

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; asked to train on a task, it refuses it."""
        return super().assigned(task, trained=False, evaluated=evaluated and not trained)


def with_gz(folder: Path, name: str) -> Path | None:
    """The file of that name, plain or else with ``.gz``; None if neither is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if is_there(path)), None)


def packed(folder: Path, name: str) -> Copies:
    """The copy that ``with_gz`` does not read, if there is one."""
    both = is_there(folder / name) and is_there(folder / f"{name}.gz")
    return {folder / f"{name}.gz": copies.PACKED} if both else {}


def split_files(
    folder: Path, files: Sequence[Path] | None = None
) -> tuple[dict[str, tuple[Path, ...]], Copies]:
    """Split -> its table files in a folder, and the copies that are not read; shards count as one file.

    A file's split is the one word of its name that names a split: ``validation.jsonl``,
    ``ARC-Easy-Test.jsonl``, ``train-00000-of-00001.parquet``. Files without one are left alone.

    Args:
      folder: where they lie.
      files: those to look at; None looks at all of ``folder``.

    Raises:
      UserError: as ``copies.whole_split``.
    """
    found: dict[str, list[Path]] = {}
    for path in entries(folder) if files is None else sorted(files):
        stem, _, kind = path.name.removesuffix(".gz").rpartition(".")
        named = {_SPLITS[word] for word in re.split(r"[-_.\s]", stem.lower()) if word in _SPLITS}
        if kind in copies.TABLES and len(named) == 1 and path.is_file():
            found.setdefault(named.pop(), []).append(path)
    read: dict[str, tuple[Path, ...]] = {}
    left = Copies()
    for split, paths in found.items():
        read[split], others = copies.whole_split(paths)
        left |= others
    return read, left


def known_word(folder_name: str, words: Mapping[str, Sequence[str]]) -> str:
    """The task whose name or alias a folder bears, whatever its case and punctuation; empty if none."""
    plain = re.sub(r"[^a-z0-9]", "", folder_name.lower())
    for task, aliases in words.items():
        if plain in {re.sub(r"[^a-z0-9]", "", alias.lower()) for alias in (task, *aliases)}:
            return task
    return ""


def has_canary(*texts: str) -> bool:
    """Whether a text holds the canary string that marks BIG-bench's data (and BBH's)."""
    return any("canary guid" in text.lower() for text in texts)
