"""ArrayRecord shards of a prepared directory: random access, and one split in file order."""

from __future__ import annotations

import bisect
import collections
import concurrent.futures
import contextlib
import hashlib
import itertools
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python import array_record_module

from iml_jax.data.manifest import FileEntry, TaskEntry
from iml_jax.data.records import Features, parse_example
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import open_binary, regular_file

_AGAIN = "run `iml prepare` again"
# Records are read one by one in random order: reading ahead would only waste memory.
_READER_OPTIONS = "readahead_buffer_size:0"
_READER_BUFFER_BYTES = 32768
_BLOCK = 1 << 20
_NICE = 10  # of the thread that verifies: it takes what the others leave
# Shards that this process has found to be what was prepared: path, SHA-256, and what changes with the file.
_verified: set[tuple[str, str, int, int]] = set()


class ShardPool:
    """Open ArrayRecord readers, the least recently used closed when there are too many.

    A mixture has thousands of shards and a process often no more than 1,024 file descriptors; opening
    one takes about 0.1 ms, reading a record 4 us. Safe to use from several threads.

    A shard is compared with its SHA-256 in the manifest once per process, when it is first read.
    """

    def __init__(self, directory: str | Path, max_open: int = 0, *, background: bool = False) -> None:
        """Nothing is opened yet.

        Args:
          directory: the prepared directory.
          max_open: readers kept open; 0 is half of the process's limit of open files, at most 4,096.
          background: compare checksums in one thread of low priority, beside the reading; damage is then an
            error of the next ``read``, ``check`` or ``settle``. Otherwise before the first record is read.
        """
        self._directory = Path(directory)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_open = max_open or max(1, min(4096, limit // 2))
        self._readers: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._thread = None
        if background:
            self._thread = concurrent.futures.ThreadPoolExecutor(1, "verify-shards", _take_what_is_left)
        self._comparisons: collections.deque[concurrent.futures.Future[None]] = collections.deque()
        self._comparing = threading.Lock()  # of the deque
        self._closed = threading.Event()

    def check(self) -> None:
        """Raises what the comparison in the background has found so far; never waits.

        Raises:
          UserError: a shard is not what was prepared.
          Fault: a shard cannot be read.
        """
        with self._comparing:
            while self._comparisons and self._comparisons[0].done():
                self._comparisons[0].result()  # stays in front where it raises, for every later call
                self._comparisons.popleft()

    def settle(self) -> None:
        """Waits until every shard that was read is compared.

        Raises:
          UserError, Fault: as ``check``.
        """
        with self._comparing:
            under_way = list(self._comparisons)
        concurrent.futures.wait(under_way)
        self.check()

    def read(self, shard: FileEntry, index: int) -> bytes:
        """Record ``index`` (from 0) of a shard.

        Raises:
          UserError: the shard is missing, truncated or damaged.
        """
        # The lock also covers the read: another thread must not close this reader meanwhile.
        with self._lock:
            self.check()
            reader = self._reader(shard)
            try:
                records = reader.read([index])
            except (RuntimeError, ValueError, IndexError) as error:
                raise UserError(
                    f"{self.path(shard)}: record {index} is damaged ({error}); {_AGAIN}"
                ) from None
        if len(records) != 1:
            raise UserError(f"{self.path(shard)}: record {index} cannot be read; {_AGAIN}")
        return records[0]

    def path(self, shard: FileEntry) -> Path:
        """Where the shard lies."""
        return self._directory / shard.path

    def close(self) -> None:
        """Closes every reader and ends the comparison; a later ``read`` opens its shard again."""
        self._closed.set()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        with self._comparing:
            self._comparisons.clear()
        with self._lock:
            while self._readers:
                _close(self._readers.popitem()[1])

    def _reader(self, shard: FileEntry) -> Any:
        reader = self._readers.get(shard.path)
        if reader is not None:
            self._readers.move_to_end(shard.path)
            return reader
        while len(self._readers) >= self._max_open:
            _close(self._readers.popitem(last=False)[1])
        reader = self._open(shard)
        self._readers[shard.path] = reader
        return reader

    def _open(self, shard: FileEntry) -> Any:
        path = self.path(shard)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: shard cannot be opened ({error.strerror or error}); {_AGAIN}") from None
        if size != shard.bytes:
            raise UserError(
                f"{path}: {size} bytes where the manifest says {shard.bytes} (truncated?); {_AGAIN}"
            )
        if self._thread is None:
            self._compare(shard)
        elif not self._closed.is_set():
            with self._comparing:
                self._comparisons.append(self._thread.submit(self._compare, shard))
        reader = array_record_module.ArrayRecordReader(
            str(regular_file(path)), options=_READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES
        )
        # A reader of a damaged file opens without complaint and then has no records.
        found = reader.num_records()
        if found != shard.records:
            _close(reader)
            raise UserError(
                f"{path}: {found} readable records where the manifest says {shard.records}; {_AGAIN}"
            )
        return reader

    def _compare(self, shard: FileEntry) -> None:
        """Compares the whole file with its checksum, unless this process did already.

        Raises:
          UserError: it differs.
          Fault: it cannot be read.
        """
        path = self.path(shard)
        with open_binary(path) as stream:
            status = os.fstat(stream.fileno())
            known = (str(path.absolute()), shard.sha256, status.st_ino, status.st_mtime_ns)
            if known in _verified:
                return
            digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
            while size := stream.readinto(block):  # type: ignore[attr-defined]  # a buffered file
                digest.update(block[:size])
                if self._closed.is_set() and self._thread is not None:
                    return
        if digest.hexdigest() != shard.sha256:
            raise UserError(f"{path}: damaged: it is not what was prepared (its SHA-256 differs); {_AGAIN}")
        _verified.add(known)


def _take_what_is_left() -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _close(reader: Any) -> None:
    # Closing reports the damage that was found before, as an error, once more.
    with contextlib.suppress(RuntimeError):
        reader.close()


class RecordList:
    """The records of some shards as one list: ``records[i]`` are the features of record i."""

    def __init__(self, pool: ShardPool, shards: Sequence[FileEntry]) -> None:
        self._pool = pool
        self._shards = tuple(shards)
        self._paths = [pool.path(shard) for shard in shards]
        self._ends = list(itertools.accumulate(shard.records for shard in shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Features:
        """Record ``index`` in file order, parsed.

        Raises:
          IndexError: there is no such record.
          UserError: its shard is missing, truncated or damaged.
        """
        number, offset = self._locate(index)
        serialised = self._pool.read(self._shards[number], offset)
        return parse_example(serialised, file=self._paths[number], index=offset)

    def place(self, index: int) -> str:
        """Record ``index`` in words for an error message."""
        number, offset = self._locate(index)
        return f"{self._paths[number]}: record {offset}"

    def _locate(self, index: int) -> tuple[int, int]:
        """Which shard holds record ``index``, and the record's number in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number = bisect.bisect_right(self._ends, index)
        return number, index - self._ends[number] + self._shards[number].records


def read_split(prepared_dir: str | Path, task: TaskEntry, split: str) -> Iterator[Features]:
    """The records of one split of a task, parsed, in file order, once.

    Args:
      prepared_dir: the directory that holds the manifest.
      task: its entry in the manifest.
      split: ``train``, ``validation`` or ``test``.

    Raises:
      UserError: the task has no such split (at once), or a shard is missing, truncated or damaged
        (when it is reached).
    """
    if split not in task.splits:
        raise UserError(
            f"{prepared_dir}: task {task.name} has no split {split!r}, only {sorted(task.splits)}"
        )
    pool = ShardPool(prepared_dir, max_open=1)
    return _records_then_close(pool, RecordList(pool, task.splits[split].files))


def _records_then_close(pool: ShardPool, records: RecordList) -> Iterator[Features]:
    try:
        for index in range(len(records)):
            yield records[index]
    finally:
        pool.close()
