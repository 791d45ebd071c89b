"""SeqIO's Beam cache job over many tasks in one pipeline, to ArrayRecord."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import seqio
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter
from seqio import beam_utils

from iml_jax.bench import beam_options, cache_folders
from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.tasks import SEVERAL, SINGLE, TOKENIZED, PromptedSource, build_task, rows_of
from iml_jax.data.manifest import FileEntry, SplitEntry
from iml_jax.data.records import serialise_example
from iml_jax.data.storing import CUT, stored, stored_question
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.writing import write_atomically

SHARD_EXAMPLES = 50_000
_TRAIN_FEATURES = (*TOKENIZED[:2], "example_id", "template")
_FEATURES = (*SINGLE[:2], *SEVERAL, *SINGLE[2:], *TOKENIZED)


@dataclasses.dataclass(frozen=True)
class CacheJob:
    """What a worker needs besides the task: the prepared directory, its tokenizer, seed and length."""

    output_dir: str
    vocabulary_dir: str
    seed: int
    length: int


def run(job: CacheJob, work: Sequence[tuple[PlannedTask, str]], options: Sequence[str]) -> None:
    """Caches every (task, fingerprint) of ``work`` in one pipeline; then call ``cache_folders.finish``.

    A task is one element: its worker streams it through the seqio.Task into shards in a temporary folder
    and renames that when all is written, so a killed job keeps every task that was finished. What fails
    is noted and stops no other task. ``output_dir`` must be one folder for all workers.

    Args:
      job: settings of all tasks.
      work: what to cache.
      options: Beam's pipeline options, e.g. ``--runner=DirectRunner``.

    Raises:
      UserError: Beam refuses the options.
    """
    pipeline = beam_options.pipeline(options)
    with pipeline:
        _ = (
            pipeline
            | "tasks" >> beam.Create(list(work))
            | "spread" >> beam.Reshuffle()
            | "cache" >> beam.ParDo(_CacheTask(job))
        )


class _CacheTask(beam.DoFn):
    """Caches one task, notes how that went."""

    def __init__(self, job: CacheJob) -> None:
        self._job = job

    def process(self, element: tuple[PlannedTask, str]) -> Iterator[str]:
        planned, fingerprint = element
        output_dir = Path(self._job.output_dir)
        try:
            cache_task(self._job, planned, fingerprint)
            cache_folders.note(output_dir, planned.name, None)
        except (UserError, Fault) as error:
            cache_folders.note(output_dir, planned.name, error)
        yield planned.name


def cache_task(job: CacheJob, planned: PlannedTask, fingerprint: str) -> None:
    """Writes every planned split of a task to its cache folder, whole or not at all.

    Raises:
      UserError: a source file is malformed.
      Fault: the disk is full, or another fault of the file system.
    """
    folder = cache_folders.task_folder(Path(job.output_dir), planned.name)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        splits = {split: _cache_split(job, planned, split, temporary) for split in planned.caps}
        cache_folders.write(temporary, fingerprint, splits)
        (temporary / "COMPLETED").touch()  # SeqIO's own mark of a finished cache
        cache_folders.replace(temporary, folder)
    except (OSError, RuntimeError) as error:
        # ArrayRecord reports a full disk as RuntimeError with the system's words in it.
        words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO)]
        told = [word for word in words if word in str(error)]
        if not isinstance(error, OSError) and not told:
            raise
        raise Fault(f"{folder}: cannot be written: {told[0] if told else error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cache_split(job: CacheJob, planned: PlannedTask, split: str, folder: Path) -> SplitEntry:
    """Streams one split through its seqio.Task into shards; entries have paths relative to ``folder``."""
    task = build_task(planned, job.vocabulary_dir, job.seed, job.length, in_blocks=True)
    source = task.source
    assert isinstance(source, PromptedSource)
    shards = _Shards(folder, split)
    counts = _Counts(job.length)
    # A split that is evaluated keeps its text: no other process may import SeqIO to make it again.
    names = _FEATURES if split != "train" else _TRAIN_FEATURES
    sample: dict[str, Any] = {}
    for block in beam_utils.PreprocessTask(task, split)._emit_examples((0, split)):
        for row in rows_of({name: tensor.numpy() for name, tensor in block.items()}, names):
            sample = sample or row
            # The same bytes' meaning as seqio.dict_to_tfexample, which takes 1 ms an example.
            counts.add(len(row["inputs"]), len(row["targets"]))
            if split == "train":
                row["inputs"], row["targets"] = stored(row["inputs"], row["targets"])
            else:
                row["inputs"], row["targets"], cut = stored_question(row["inputs"], row["targets"])
                row.update({CUT: [cut]} if cut else {})
            shards.write(serialise_example(row))
    if source.failure is not None:
        shards.close()
        raise source.failure
    files = shards.close()
    info = beam_utils.GetInfo(len(files))._info_dict([_tensors(sample)] if sample else [])
    write_atomically(Path(seqio.get_cached_info_path(folder, split)), json.dumps(info, indent=2))
    write_atomically(Path(seqio.get_cached_stats_path(folder, split)), json.dumps(counts.stats(), indent=2))
    return SplitEntry(
        files=files,
        examples=counts.examples,
        tokens=counts.inputs + counts.targets,
        loss_tokens=counts.loss_tokens,
        left_truncated=counts.left_truncated,
        dropped=dict(sorted(source.dropped[split].items())),
        demonstrations=dict(sorted(source.demonstrations[split].items())),
    )


def _tensors(row: dict[str, Any]) -> dict[str, tf.Tensor]:
    """A row as its seqio.Task gives it."""
    return {
        name: tf.constant(values[0] if name in SINGLE else values, None if name in TOKENIZED else tf.string)
        for name, values in row.items()
    }


class _Counts:
    """Running counts of a split; token counts are of untruncated examples."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.examples = self.inputs = self.targets = self.loss_tokens = self.left_truncated = 0
        self._longest = {"inputs": 0, "targets": 0}

    def add(self, inputs: int, targets: int) -> None:
        """One example with so many source and target ids."""
        self.examples += 1
        self.inputs += inputs
        self.targets += targets
        self.loss_tokens += targets if inputs else targets - 1  # the very first token has no predecessor
        self.left_truncated += inputs + targets - 1 > self._length
        self._longest = {
            "inputs": max(self._longest["inputs"], inputs),
            "targets": max(self._longest["targets"], targets),
        }

    def stats(self) -> dict[str, int]:
        """In the format of SeqIO's stats files."""
        return {
            "examples": self.examples,
            "inputs_tokens": self.inputs,
            "inputs_max_tokens": self._longest["inputs"],
            "targets_tokens": self.targets,
            "targets_max_tokens": self._longest["targets"],
        }


class _Shards:
    """Writes records to ``SPLIT.array_record-00000-of-0000N`` with at most ``SHARD_EXAMPLES`` each."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._writer: ArrayRecordWriter | None = None
        self._records: list[int] = []

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._split}.array_record-{number:05d}"

    def write(self, record: bytes) -> None:
        """Appends one record."""
        if self._writer is None or self._records[-1] == SHARD_EXAMPLES:
            self._finish()
            # group_size:1 keeps random access cheap, which is how training reads.
            self._writer = ArrayRecordWriter(str(self._path(len(self._records))), "group_size:1")
            self._records.append(0)
        self._writer.write(record)
        self._records[-1] += 1

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> tuple[FileEntry, ...]:
        """Finishes the last shard and gives all their final names."""
        self._finish()
        entries = []
        for number, count in enumerate(self._records):
            path = self._path(number)
            final = path.with_name(f"{path.name}-of-{len(self._records):05d}")
            path.replace(final)
            entries.append(
                FileEntry(final.name, count, final.stat().st_size, cache_folders.file_sha256(final))
            )
        return tuple(entries)
