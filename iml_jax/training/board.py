"""TensorBoard event files: scalars only, written at once by the thread that calls."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from iml_jax.foundation.errors import Fault
from iml_jax.storage import local

_VERSION = "brain.Event:2"  # of the event format; TensorBoard purges only events of this version
_FLUSH_SECONDS = 60.0  # at most between an event and its flush, while events come


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Keeps tensorboardX from importing torch, which it takes for an optional dependency.

    All that it wants of it is the type of a tensor, at the price of half of a training process's imports.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # Python's way to say: it cannot be imported
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]


class Board:
    """One event file in a directory.

    Without the queue and the thread of ``tensorboardX.SummaryWriter``: what was added before
    ``flush`` is in the file when it returns, which a queue read by another thread cannot promise.

    Args:
      directory: made where it is missing.
      first: the first step that this process may write. TensorBoard forgets what earlier files hold from
        that step on, as a run that was killed and resumed does those steps again.

    Raises:
      Fault: the directory or the file cannot be written.
    """

    def __init__(self, directory: Path, first: int) -> None:
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2, summary_pb2
        self._directory = directory
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        with self._faults():
            local.make_directory(directory)
            # The name holds the second and the host: two processes within one second need one more part.
            self._file = EventsWriter(str(directory.absolute() / "events"), f".{os.getpid()}")
            self._flushed = time.monotonic()
            self._write(step=first, file_version=_VERSION)
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=first, session_log=start)

    def _write(self, **fields: object) -> None:
        self._file.write_event(self._event(wall_time=time.time(), **fields))

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Fault(f"{self._directory}: cannot be written: {error.strerror or error}") from error

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one event of all of ``values`` (tag to number) under ``step``.

        Raises:
          Fault: the file cannot be written.
        """
        value = self._summary.Value
        found = [value(tag=tag, simple_value=number) for tag, number in values.items()]
        with self._faults():
            self._write(step=step, summary=self._summary(value=found))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Writes everything so far to the disk (fsync).

        Raises:
          Fault: the file cannot be written.
        """
        with self._faults():
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes the file.

        Raises:
          Fault: the file cannot be written.
        """
        with self._faults():
            self._file.close()
