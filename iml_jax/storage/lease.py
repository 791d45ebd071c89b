"""Leases: one process at a time writes a thing, on one machine or on many that share a file system.

``with hold(path, what) as lease:`` makes this process the holder of the file ``path`` or refuses. A thread
rewrites the file every ``BEAT_SECONDS``. Another process takes the lease over when the holder's process has
ended (same host), or when the file stood still for ``TTL_SECONDS`` on the other's own monotonic clock; the
clocks of two machines are never compared. A holder that was paused for longer finds out by ``lease.check()``,
which stands before each commit. docs/decisions/leases.md says why it is made this way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import holders
from iml_jax.storage.conditional import ConditionalFile, Entry

BEAT_SECONDS = 10.0  # buckets allow one write a second to a name; no faster than every 5 seconds there
TTL_SECONDS = 60.0
_BEATS = 6  # that a holder may miss
_POLL_SECONDS = 0.5
_CREATING_SECONDS = 2.0  # within which a record that is being created has its content
_READ_ONLY = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EINVAL,
    errno.ELOOP,
)


class InUse(UserError):  # noqa: N818 - as its parent
    """Another process holds the lease."""


class Register(Protocol):
    """A small object with conditional writes; ``ConditionalFile`` is the one of file systems."""

    def read(self) -> Entry | None:
        """The present content and version; None if there is no object."""

    def create(self, content: bytes) -> Any | None:
        """Writes it if there is none; its version, or None if there is one."""

    def replace(self, content: bytes, version: Any) -> Any | None:
        """Writes it if it still has the version; the new version, or None if it has another."""

    def delete(self, version: Any) -> bool:
        """Deletes it if it still has the version; whether it did."""

    def age(self) -> float:
        """Seconds since the last write, by the clock of the storage."""


def tell(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def hold(
    path: Path,
    what: str,
    *,
    beat: float = BEAT_SECONDS,
    ttl: float = TTL_SECONDS,
    patient: bool = False,
    log: Callable[[str], None] = tell,
) -> Iterator[Lease]:
    """Holds the lease of the file ``path``, whose folder is made if it is missing, for the body.

    Args:
      path: the lease's file; it exists while the lease is held.
      what: what is written under it, for messages ("the run RUN").
      beat: seconds between beats.
      ttl: seconds without a beat after which the holder counts as dead; at least six beats.
      patient: wait for another holder to end instead of refusing.
      log: gets the one line that is shown while another holder is watched or waited for.

    Raises:
      UserError: another process holds it, or the folder cannot be written.
      Fault: the file system failed (disk full).
    """
    made = _make_folder(path, what)
    lease = Lease(ConditionalFile(path), str(path), what, beat=beat, ttl=ttl)
    try:
        while True:
            try:
                lease.acquire(log)
                break
            except InUse as refusal:
                if not patient:
                    raise
                log(f"{refusal}; waiting for it")
                lease.wait()
        try:
            yield lease
        finally:
            lease.release()
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:  # those that still hold nothing
                folder.rmdir()
        raise


def _make_folder(path: Path, what: str) -> list[Path]:
    """Makes the folder of ``path``; the folders that did not exist before, innermost first."""
    missing = []
    for folder in path.parents:
        if folder.exists():
            break
        missing.append(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(error, str(path), what) from error
    return missing


def _failed(error: OSError, place: str, what: str) -> UserError | Fault:
    reason = error.strerror or str(error)
    if error.errno in _READ_ONLY:
        return UserError(
            f"{place}: cannot be written ({reason}); {what} needs a folder that can be written to"
        )
    return Fault(f"{place}: cannot be written: {reason}; nothing of {what} was changed")


class Lease:
    """One holding of one register; ``hold`` is the usual way to have one."""

    def __init__(
        self,
        register: Register,
        place: str,
        what: str,
        *,
        beat: float = BEAT_SECONDS,
        ttl: float = TTL_SECONDS,
    ) -> None:
        if ttl < _BEATS * beat:
            raise ValueError(f"ttl {ttl} is less than {_BEATS} beats of {beat} seconds")
        self._register, self._place, self._what = register, place, what
        self._beat_seconds, self._ttl = beat, ttl
        self._holder = holders.this_process(ttl)
        self._beats = 0
        self._version: Any = None
        self._beaten = 0.0
        self._lost = ""
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def token(self) -> str:
        """Random and of this holding alone; a record that is committed may carry it."""
        return self._holder.token

    def acquire(self, log: Callable[[str], None] = tell) -> None:
        """Becomes the holder.

        Raises:
          UserError: another process holds it, or the place cannot be written.
          Fault: the storage failed.
        """
        try:
            self._acquire(log)
        except OSError as error:
            raise _failed(error, self._place, self._what) from error
        self._beaten = _clock()
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self._thread.start()

    def _acquire(self, log: Callable[[str], None]) -> None:
        seen: tuple[bytes, float] | None = None  # what stands still, and since when on our clock
        pause = min(_POLL_SECONDS, self._beat_seconds)
        began = time.monotonic()
        while True:
            entry = self._register.read()
            # Without hard links a record has a name before it has its content.
            if entry is not None and not entry.content and time.monotonic() - began < _CREATING_SECONDS:
                time.sleep(pause / 10)
                continue
            if entry is None:
                self._version = self._register.create(self._content())
            else:
                holder = holders.parse(entry.content)
                state = holder.state() if holder else "unknown"
                ttl = max(self._ttl, holder.ttl if holder else 0.0)
                if state != "ended" and seen is None:
                    if state == "runs" and self._is_beating(ttl):
                        # It may have been released since it was read.
                        if self._register.read() is None:
                            continue
                        raise self._refusal(holder)
                    seen = entry.content, time.monotonic()
                    who = holder or "an unknown process"
                    log(f"{self._place}: held by {who}; watching for up to {ttl:.0f} s whether it is alive")
                if state != "ended" and seen is not None:
                    if seen[0] != entry.content:
                        raise self._refusal(holder)
                    if time.monotonic() - seen[1] < ttl:
                        time.sleep(pause)
                        continue
                self._version = self._register.replace(self._content(), entry.version)
            if self._version is not None:
                return
            time.sleep(pause / 10)  # somebody else was first: look again

    def _is_beating(self, ttl: float) -> bool:
        """Whether the holder, a process that runs, is not hung: a first look, which decides no take-over."""
        try:
            return self._register.age() < ttl
        except OSError:  # released this moment, or a full disk
            return True

    def wait(self) -> None:
        """Waits until the present holder beats no more: it released, ended, or stood still for its time."""
        sightings = Sightings()
        while sightings.alive(self._register):
            time.sleep(min(_POLL_SECONDS, self._beat_seconds))

    def _refusal(self, holder: holders.Holder | None) -> InUse:
        who = holder or "a process of another host"
        return InUse(f"{self._what} is in use: {who} ({self._place}); wait for it to end, or stop it")

    def _content(self) -> bytes:
        return self._holder.line() + f"{self._beats:012d}\n".encode()

    def check(self) -> None:
        """Stands before each commit.

        A process forked from the holder may check too; it never beats.

        Raises:
          Fault: the lease was taken over, or that cannot be found out; nothing may be written any more.
        """
        if os.getpid() != self._holder.pid:
            self._verify()
            return
        if self._thread is None:
            raise Fault(f"{self._place}: the lease of {self._what} is not held any more")
        if self._lost:
            raise Fault(self._lost)
        try:
            # After a pause the others may be about to take over: only a beat of our own settles it.
            if _clock() - self._beaten > self._ttl / 2:
                self._beat()
        except OSError as error:
            raise Fault(f"{self._place}: cannot be checked: {error.strerror or error}") from error
        self._verify()

    def _verify(self) -> None:
        try:
            entry = self._register.read()
        except OSError as error:
            raise Fault(f"{self._place}: cannot be checked: {error.strerror or error}") from error
        if self._lost or entry is None or entry.content.partition(b"\n")[0] + b"\n" != self._holder.line():
            raise Fault(self._lost or self._lost_to(entry))

    def _lost_to(self, entry: Entry | None) -> str:
        holder = holders.parse(entry.content) if entry else None
        by = f"{holder} took it over" if holder else "its file is gone"
        return f"{self._place}: the lease of {self._what} was lost ({by}); nothing more is written"

    def _beat(self) -> None:
        """One beat; ``OSError`` where the storage fails, which is no loss."""
        with self._mutex:
            if self._lost:
                return
            self._beats += 1
            version = self._register.replace(self._content(), self._version)
            if version is None:
                self._lost = self._lost_to(self._register.read())
            else:
                self._version, self._beaten = version, _clock()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._beat_seconds) and not self._lost:
            with contextlib.suppress(OSError):  # the next beat tries again; check() finds out a loss
                self._beat()

    def release(self) -> None:
        """Stops beating, then deletes the record if it is still this process's; raises nothing."""
        thread = self._thread
        if os.getpid() != self._holder.pid or thread is None:  # a forked child is no holder
            return
        self._stop.set()
        thread.join()
        self._thread = None
        if not self._lost:
            with contextlib.suppress(OSError):
                self._register.delete(self._version)


def _clock() -> float:
    """Seconds that go on while the machine sleeps: others may have taken over meanwhile."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Sightings:
    """Which of many leases are alive, for a process that wants none of them and looks from time to time."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[bytes, float]] = {}  # holder's line -> content, when first seen

    def alive(self, register: Register) -> bool:
        """Whether it is held: its process runs, or is out of sight and has not stood still for its time."""
        try:
            entry = register.read()
        except OSError:
            return True
        if entry is None:
            return False
        line = entry.content.partition(b"\n")[0]
        holder = holders.parse(entry.content)
        state = holder.state() if holder else "unknown"
        if state != "unknown":
            return state == "runs"
        content, since = self._seen.get(line, (b"", 0.0))
        if content != entry.content:
            self._seen[line] = entry.content, time.monotonic()
            return True
        return time.monotonic() - since < max(TTL_SECONDS, holder.ttl if holder else 0.0)
