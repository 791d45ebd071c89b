"""Prepared directories of synthetic tasks, as `iml prepare` would leave them (no TensorFlow)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.manifest import FileEntry, Manifest, SplitEntry, TaskEntry, VocabularyEntry, save
from iml_jax.data.records import serialise_example
from iml_jax.data.tokenizer import Tokenizer

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class SyntheticTask:
    """What to write for one task.

    Attributes:
      name: ``benchmark:task:variant``.
      splits: rows (features of one example) by split.
      rate: share of the mixture; 0 with ``trained`` False where not trained.
      shards: ArrayRecord files a split is cut into.
      level: where not empty, the task is evaluated on ``evaluation_split``.
    """

    name: str
    splits: Mapping[str, Sequence[Row]]
    rate: float = 0.0
    trained: bool = True
    shards: int = 1
    level: str = ""
    evaluation_split: str = ""
    category: str = "Synthetic"
    metric: str = "exact_match"


def random_rows(rng: np.random.Generator, count: int, low: int = 2, high: int = 40) -> list[dict[str, Any]]:
    """Training records of ``low..high`` tokens altogether, targets of at least one, ids 4..999, then 2."""
    rows = []
    for number in range(count):
        total = int(rng.integers(max(low, 2), high + 1))
        targets = int(rng.integers(1, total))
        rows.append(
            {
                "prompt_ids": rng.integers(4, 1000, total - targets),
                "target_ids": np.append(rng.integers(4, 1000, targets - 1), 2),
                "example_id": [f"example-{number}".encode()],
                "template": [b"synthetic"],
            }
        )
    return rows


def write_prepared(
    directory: Path,
    tasks: Sequence[SyntheticTask],
    *,
    length: int = 64,
    tokens: int = 1000,
    name: str = "synthetic",
    tokenizer: Tokenizer | None = None,
) -> Manifest:
    """Writes shards and manifest of the tasks, and the tokenizer; their rates are scaled to sum to 1."""
    if tokenizer is not None:
        tokenizer.save(directory / "tokenizer")
    known = (directory / "tokenizer").is_dir()
    fingerprint = tokenizers.load(directory / "tokenizer").fingerprint if known else "synthetic"
    total = sum(task.rate for task in tasks) or 1.0
    entries = tuple(_write_task(directory, task, task.rate / total, length) for task in tasks)
    vocabulary = VocabularyEntry(tokens=tokens, rows=(tokens + 7) // 8 * 8, fingerprint=fingerprint)
    manifest = Manifest(name=name, length=length, vocabulary=vocabulary, tasks=entries)
    save(manifest, directory)
    return manifest


def _write_task(directory: Path, task: SyntheticTask, rate: float, length: int) -> TaskEntry:
    benchmark, name, _ = task.name.split(":")
    folder = Path("cache", task.name.replace(":", "_"))
    (directory / folder).mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, rows in task.splits.items():
        files = []
        for shard in range(task.shards):
            path = folder / f"{split}.array_record-{shard:05d}-of-{task.shards:05d}"
            files.append(_write_shard(directory, path, rows[shard :: task.shards]))
        sizes = [(len(row.get("prompt_ids", ())), len(row.get("target_ids", ()))) for row in rows]
        splits[split] = SplitEntry(
            files=tuple(files),
            examples=len(rows),
            tokens=sum(source + target for source, target in sizes),
            loss_tokens=sum(target for _, target in sizes),
            left_truncated=sum(source + target - 1 > length for source, target in sizes),
            dropped={},
        )
    return TaskEntry(
        name=task.name,
        benchmark=benchmark,
        task=name,
        category=task.category,
        role="train" if task.trained else "evaluation",
        level=task.level,
        metric=task.metric,
        trained=task.trained,
        evaluated=bool(task.level),
        evaluation_split=task.evaluation_split,
        cap=len(task.splits.get("train", ())),
        rate=rate,
        fingerprint=task.name,
        splits=splits,
    )


def _write_shard(directory: Path, path: Path, rows: Sequence[Row]) -> FileEntry:
    file = directory / path
    writer = ArrayRecordWriter(str(file), "group_size:1")
    for row in rows:
        writer.write(serialise_example(row))
    writer.close()
    content = file.read_bytes()
    return FileEntry(str(path), len(rows), len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def make_prepared(tmp_path):
    """``make_prepared(tasks, **options) -> Path``: a fresh prepared directory of synthetic tasks."""
    made = []

    def make(tasks: Sequence[SyntheticTask], **options: Any) -> Path:
        directory = tmp_path / f"prepared-{len(made)}"
        directory.mkdir()
        made.append(directory)
        write_prepared(directory, tasks, **options)
        return directory

    return make
