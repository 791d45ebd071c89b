"""The Beam cache job: planned tasks to ArrayRecord shards, by slices of blocks of examples (no TensorFlow).

An element of the pipeline is a slice: of one task, every n-th block of examples of each of its splits. What
decides a record is in the record's own row (``sampling`` and ``prompting`` draw by hashes of it), so a slice
does not depend on the others. A task of one slice is written and committed by its worker. The slices of a
larger one are written to parts, and a second step merges these in the order of the rows and commits. The
bytes are the same for every number of slices, block size, number of workers and runner.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import functools
import itertools
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from iml_jax.bench import beam_options, cache_folders
from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.prompted_examples import Prompter, TokenBudget, sampled_examples
from iml_jax.bench.prompting import PromptedExample
from iml_jax.bench.quiet_beam import beam
from iml_jax.bench.record_encoding import EncodedExample, encode
from iml_jax.data import tokenizer as bpe
from iml_jax.data.manifest import FileEntry, SplitEntry
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import local

SHARD_EXAMPLES = 50_000
BLOCK_EXAMPLES = 256
# group_size:1 makes random access cheap, which is how training reads.
_SHARD_OPTIONS = "group_size:1"
_PART_OPTIONS = "group_size:256,uncompressed"  # read once, in order


@dataclasses.dataclass(frozen=True)
class CacheJob:
    """What a worker needs besides the task.

    Attributes:
      output_dir: the prepared directory, the same for all workers.
      vocabulary_dir: directory of the tokenizer.
      seed: of prompts and samples.
      length: row length in tokens that demonstrations must fit and for which truncation is counted.
      block_examples: examples of a block.
    """

    output_dir: str
    vocabulary_dir: str
    seed: int
    length: int
    block_examples: int = BLOCK_EXAMPLES


@dataclasses.dataclass(frozen=True)
class Work:
    """A task to cache: its fingerprint, and the number of slices that it is divided into."""

    planned: PlannedTask
    fingerprint: str
    slices: int = 1


@dataclasses.dataclass
class SplitCounts:
    """Counts of a split, or of one slice of it; token counts are of examples before truncation."""

    examples: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    left_truncated: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    demonstrations: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, example: EncodedExample, length: int) -> None:
        """Counts one example, for rows of ``length`` positions."""
        prompt, target = example.prompt_tokens, example.target_tokens
        self.examples += 1
        self.tokens += prompt + target
        self.loss_tokens += target if prompt else target - 1  # the very first token has no predecessor
        self.left_truncated += prompt + target - 1 > length

    def merge(self, other: SplitCounts) -> None:
        """Adds the counts of another slice."""
        for field in dataclasses.fields(self):
            total = getattr(self, field.name)
            total += getattr(other, field.name)
            setattr(self, field.name, total)

    def entry(self, files: tuple[FileEntry, ...]) -> SplitEntry:
        """The manifest's entry of a split with these counts and shards."""
        return SplitEntry(
            files=files,
            examples=self.examples,
            tokens=self.tokens,
            loss_tokens=self.loss_tokens,
            left_truncated=self.left_truncated,
            dropped=dict(sorted(self.dropped.items())),
            demonstrations=dict(sorted(self.demonstrations.items())),
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """One slice of a split, on disk: ``records`` of each of its blocks, in order, and its counts."""

    path: str
    records: tuple[int, ...]
    counts: SplitCounts


def run(job: CacheJob, work: Sequence[Work], options: Sequence[str]) -> None:
    """Caches all tasks of ``work`` in one pipeline; then call ``cache_folders.finish``.

    A killed job keeps every task that was committed. The error of a task is noted and stops no other task.

    Args:
      job: settings of all tasks.
      work: what to cache, in the order in which it is handed to the workers.
      options: Beam's pipeline options, e.g. ``--runner=DirectRunner``.

    Raises:
      UserError: Beam refuses the options.
    """
    pipeline = beam_options.pipeline(options)
    slices = [(each, number) for each in work for number in range(each.slices)]
    with pipeline:
        cached = (
            pipeline
            | "slices" >> beam.Create(slices)
            | "spread" >> beam.Reshuffle()
            | "cache" >> beam.ParDo(_CacheSlice(job))
        )
        if any(each.slices > 1 for each in work):
            by_name = {each.planned.name: each for each in work if each.slices > 1}
            _ = cached | "by task" >> beam.GroupByKey() | "merge" >> beam.ParDo(_MergeTask(job, by_name))


class _CacheSlice(beam.DoFn):
    """(Work, number of the slice) -> (name, (number, split -> Part)) of tasks that are still to be merged."""

    def __init__(self, job: CacheJob) -> None:
        self._job = job

    def process(self, element: tuple[Work, int]) -> Iterator[tuple[str, tuple[int, dict[str, Part]]]]:
        work, number = element
        output_dir, name = Path(self._job.output_dir), work.planned.name
        try:
            if work.slices == 1:
                cache_task(self._job, work)
                cache_folders.note(output_dir, name, None)
            else:
                yield name, (number, cache_slice(self._job, work, number))
        except (UserError, Fault) as error:
            cache_folders.note(output_dir, name, error)


class _MergeTask(beam.DoFn):
    """Merges the slices of a task, notes how that went."""

    def __init__(self, job: CacheJob, work: dict[str, Work]) -> None:
        self._job, self._work = job, work

    def process(self, element: tuple[str, Iterable[tuple[int, dict[str, Part]]]]) -> None:
        name, slices = element
        parts = dict(slices)  # a runner may cache a slice twice; the parts are the same
        work = self._work[name]
        if len(parts) < work.slices:  # another slice failed, and its error is noted
            _remove(parts.values())
            return
        try:
            merge_task(self._job, work, [parts[number] for number in range(work.slices)])
            cache_folders.note(Path(self._job.output_dir), name, None)
        except (UserError, Fault) as error:
            cache_folders.note(Path(self._job.output_dir), name, error)


def cache_task(job: CacheJob, work: Work) -> None:
    """Writes every planned split of a task to its cache folder, atomically.

    Raises:
      UserError: a source file is malformed.
      Fault: the disk is full, or another fault of the file system.
    """

    def write(folder: Path) -> dict[str, SplitEntry]:
        splits = {}
        for split in work.planned.caps:
            counts, shards = SplitCounts(), _Shards(folder, split)
            with shards:
                for _, example in _encoded(job, work.planned, split, 0, 1, counts):
                    shards.write(example.record)
            splits[split] = counts.entry(shards.entries)
        return splits

    _commit(job, work, write)


def cache_slice(job: CacheJob, work: Work, number: int) -> dict[str, Part]:
    """Writes slice ``number`` of a task to parts: split -> part.

    Raises:
      UserError: a source file is malformed.
      Fault: the disk is full, or another fault of the file system.
    """
    folder = cache_folders.task_folder(Path(job.output_dir), work.planned.name)
    temporary = _temporary(folder)
    with _faults(folder):
        try:
            local.make_directory(temporary)
            return {
                split: _write_part(job, work, split, number, temporary / f"{split}.part")
                for split in work.planned.caps
            }
        except BaseException:
            local.remove_tree(temporary)
            raise


def _write_part(job: CacheJob, work: Work, split: str, number: int, path: Path) -> Part:
    counts = SplitCounts()
    records: collections.Counter[int] = collections.Counter()
    writer = ArrayRecordWriter(str(path), _PART_OPTIONS)
    try:
        for block, example in _encoded(job, work.planned, split, number, work.slices, counts):
            records[block] += 1
            writer.write(example.record)
    finally:
        writer.close()
    blocks = range(number, max(records, default=-1) + 1, work.slices)
    return Part(str(path), tuple(records[block] for block in blocks), counts)


def merge_task(job: CacheJob, work: Work, slices: Sequence[dict[str, Part]]) -> None:
    """Merges the parts of all slices, in the order of the blocks, and commits the task.

    Raises:
      Fault: the disk is full, or another fault of the file system.
    """

    def write(folder: Path) -> dict[str, SplitEntry]:
        splits = {}
        for split in work.planned.caps:
            counts = SplitCounts()
            shards = _Shards(folder, split)
            with shards:
                for record in _merged([parts[split] for parts in slices]):
                    shards.write(record)
            for parts in slices:
                counts.merge(parts[split].counts)
            splits[split] = counts.entry(shards.entries)
        return splits

    try:
        _commit(job, work, write)
    finally:
        _remove(slices)


def _remove(slices: Iterable[dict[str, Part]]) -> None:
    for parts in slices:
        for part in parts.values():
            local.remove_tree(Path(part.path).parent)


def _merged(parts: Sequence[Part]) -> Iterator[bytes]:
    """The records of a split: block 0 (slice 0), block 1 (slice 1), and so on."""
    streams = [_records(part) for part in parts]
    try:
        for sizes in itertools.zip_longest(*(part.records for part in parts), fillvalue=0):
            for stream, size in zip(streams, sizes, strict=True):
                yield from itertools.islice(stream, size)
    finally:
        for stream in streams:
            stream.close()


def _records(part: Part) -> Generator[bytes]:
    reader = ArrayRecordReader(part.path)
    try:
        total = sum(part.records)
        for start in range(0, total, BLOCK_EXAMPLES):
            yield from reader.read(start, min(total, start + BLOCK_EXAMPLES))
    finally:
        reader.close()


def _encoded(  # noqa: PLR0917
    job: CacheJob, planned: PlannedTask, split: str, number: int, slices: int, counts: SplitCounts
) -> Iterator[tuple[int, EncodedExample]]:
    """(block, example) of every ``slices``-th block from block ``number`` on, counted in ``counts``.

    Every slice reads the split from its start, since rows of most formats have no places of their own; what
    reading drops is counted in slice 0.
    """
    tokenizer = _tokenizer(job.vocabulary_dir)
    budget = TokenBudget(lambda text: len(tokenizer.encode(text)), job.length)
    prompter = Prompter(planned, split, job.seed, budget)
    unread: collections.Counter[str] = collections.Counter()
    examples = sampled_examples(planned, split, job.seed, unread)
    blocks: collections.deque[int] = collections.deque()  # of the examples that are being encoded

    def prompts() -> Iterator[PromptedExample]:
        for place, example in enumerate(examples):
            block = place // job.block_examples
            if block % slices == number and (prompted := prompter.prompt(example)) is not None:
                blocks.append(block)
                yield prompted

    # A split that is evaluated keeps its text: no other process may read the sources to render it again.
    for encoded in encode(prompts(), tokenizer, training=split == "train"):
        counts.add(encoded, job.length)
        yield blocks.popleft(), encoded
    if not number:
        counts.dropped += unread
    counts.dropped += prompter.dropped
    counts.demonstrations += prompter.demonstrations


@functools.lru_cache(maxsize=4)
def _tokenizer(directory: str) -> bpe.Tokenizer:
    """``tokenizer.load``, once per process."""
    return bpe.load(directory)


def _commit(job: CacheJob, work: Work, write: Callable[[Path], dict[str, SplitEntry]]) -> None:
    """Has ``write`` fill a temporary folder, and puts it in the place of the task's cache folder."""
    folder = cache_folders.task_folder(Path(job.output_dir), work.planned.name)
    temporary = _temporary(folder)
    with _faults(folder):
        try:
            local.make_directory(temporary)
            cache_folders.write(temporary, work.fingerprint, write(temporary))
            local.replace_directory(temporary, folder)
        finally:
            local.remove_tree(temporary)


def _temporary(folder: Path) -> Path:
    """A folder beside ``folder`` that no other attempt writes to; ``cache_folders.start`` removes such."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


@contextlib.contextmanager
def _faults(folder: Path) -> Iterator[None]:
    """Turns errors of the file system into a Fault that names the cache folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # ArrayRecord reports a full disk as RuntimeError with the system's words in it.
        words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO)]
        found = [word for word in words if word in str(error)]
        if not isinstance(error, OSError) and not found:
            raise
        raise Fault(f"{folder}: cannot be written: {found[0] if found else error}") from error


class _Shards:
    """Writes records to ``SPLIT.array_record-00000-of-0000N`` with at most ``SHARD_EXAMPLES`` each.

    Attributes:
      entries: the shards, named relative to the folder; complete after the ``with`` block.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._writer: ArrayRecordWriter | None = None
        self._records: list[int] = []
        self.entries: tuple[FileEntry, ...] = ()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._close_writer()
        if error is None:
            self.entries = tuple(self._entry(number) for number in range(len(self._records)))

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._split}.array_record-{number:05d}"

    def write(self, record: bytes) -> None:
        """Appends one record."""
        if self._writer is None or self._records[-1] == SHARD_EXAMPLES:
            self._close_writer()
            self._writer = ArrayRecordWriter(str(self._path(len(self._records))), _SHARD_OPTIONS)
            self._records.append(0)
        self._writer.write(record)
        self._records[-1] += 1

    def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _entry(self, number: int) -> FileEntry:
        path = self._path(number)
        final = local.rename_file(path, f"{path.name}-of-{len(self._records):05d}")
        return FileEntry(
            final.name, self._records[number], final.stat().st_size, cache_folders.file_sha256(final)
        )
