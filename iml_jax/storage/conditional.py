"""One small file that is created, replaced and deleted only as it was last seen.

What a bucket does with generations (create if absent, replace and delete if the generation is this), on POSIX
file systems, shared ones included, without locks of the file system: link() to a name that must not exist is
the only primitive, and it is atomic on every file system that has it, NFS as well.

The content is the version, and its first line must be of one writer alone. The writer rewrites the rest in
place, on an inode that it has opened and found to be its own: after a replacement that inode has no name, and
what a late writer writes to it reaches nobody. Everybody else replaces by rename, after winning the name
"successor of this writer", which only one can create. A rewrite then looks for that name and a replacement
reads the content again, each after its own write, so that of the two at least one sees the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import secrets
import stat
import time
from pathlib import Path

from iml_jax.storage import holders

_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_LIMIT = 4096  # bytes read of a file that should have some 300
_PENDING_SECONDS = 60.0  # a replacement takes milliseconds; one that stands still for this long has died
_RESOLVED_SECONDS = 2.0  # within which a replacement that has begun has succeeded or given up
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What was read: the content, and the version that a conditional write names."""

    content: bytes
    version: bytes


class ConditionalFile:
    """The file at ``path``; every method raises ``OSError`` where the file system fails.

    An object of a bucket can have the same four methods, its generation as the version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: tuple[bytes, float] | None = None

    def read(self) -> Entry | None:
        """The present content; None if there is no file."""
        content = _read(self.path)
        return None if content is None else Entry(content, content)

    def create(self, content: bytes) -> bytes | None:
        """Writes the file if there is none; its version, or None if there is one."""
        temporary = self._temporary(content)
        try:
            return content if _link(temporary, self.path, content) else None
        finally:
            _remove(temporary)

    def replace(self, content: bytes, version: bytes) -> bytes | None:
        """Writes the file if it still has ``version``; the new version, or None if it has another."""
        if _writer(content) == _writer(version):
            return content if self._rewrite(content) else None
        successor = self._successor(version)
        temporary = self._temporary(content)
        try:
            if not _link(temporary, successor, content):
                self._discard_dead(successor)
                return None
            # Who replaced this version before us renamed first and gave up the successor's name afterwards.
            present = self.read()
            if present is None or present.version != version:
                _remove(successor)
                return None
            temporary.replace(self.path)
        finally:
            _remove(temporary)
        # Names of successors of versions that are gone: ours, and those of processes killed right here.
        for place in self.path.parent.iterdir():
            ours = place.name.startswith(f"{self.path.name}.") and place.suffix == ".next"
            if ours and place != self._successor(content):
                _remove(place)
        return content

    def delete(self, version: bytes) -> bool:
        """Deletes the file if it still has ``version``."""
        successor = self._successor(version)
        present = self.read()
        if present is None or present.version != version:
            return False
        if not _link(self.path, successor, present.content):  # needs no room on a full disk
            return False
        try:
            present = self.read()
            if present is None or present.version != version:
                return False
            self.path.unlink()
            return True
        finally:
            _remove(successor)

    def age(self) -> float:
        """Seconds since the last write, by the clock of the file system."""
        temporary = self._temporary(b"")
        try:
            return temporary.stat().st_mtime - self.path.stat().st_mtime
        finally:
            _remove(temporary)

    def _rewrite(self, content: bytes) -> bool:
        try:
            descriptor = os.open(self.path, os.O_RDWR | _FLAGS)
        except FileNotFoundError:
            return False
        try:
            if _writer(os.pread(descriptor, _LIMIT, 0)) != _writer(content):
                return False
            os.pwrite(descriptor, content, 0)
        except OSError as error:
            if error.errno == errno.ESTALE:  # replaced by another machine
                return False
            raise
        finally:
            os.close(descriptor)
        successor = self._successor(content)
        until = time.monotonic() + _RESOLVED_SECONDS
        while successor.exists():  # somebody is about to replace us, or sees this write and gives up
            if time.monotonic() > until:
                return False
            self._discard_dead(successor)
            time.sleep(0.01)
        present = _read(self.path)
        return present is not None and _writer(present) == _writer(content)

    def _successor(self, version: bytes) -> Path:
        return self.path.with_name(
            f"{self.path.name}.{hashlib.sha256(_writer(version)).hexdigest()[:16]}.next"
        )

    def _temporary(self, content: bytes) -> Path:
        temporary = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            temporary.write_bytes(content)
        except OSError:
            _remove(temporary)
            raise
        return temporary

    def _discard_dead(self, successor: Path) -> None:
        """Frees the name of a successor whose process was killed before it had replaced the file."""
        content = _read(successor)
        if content is None:
            self._pending = None
            return
        if self._pending is None or self._pending[0] != content:
            self._pending = content, time.monotonic()
        holder = holders.parse(content)
        ended = holder is not None and holder.state() == "ended"
        if not ended and time.monotonic() - self._pending[1] < _PENDING_SECONDS:
            return
        moved = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.tmp")
        with contextlib.suppress(FileNotFoundError):
            successor.rename(moved)
            if _read(moved) != content:  # another one discarded it already, and this is a living one
                with contextlib.suppress(FileExistsError):
                    os.link(moved, successor)
            _remove(moved)


def _writer(content: bytes) -> bytes:
    return content.partition(b"\n")[0]


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.read(descriptor, _LIMIT)
    except OSError as error:
        if error.errno == errno.ESTALE:  # deleted by another machine
            return None
        raise
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path, content: bytes) -> bool:
    """Gives ``target`` the content if it does not exist; whether it did."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return _create(target, content)
        # Over NFS an answer may be lost: the repeated request then finds the name that it made itself.
        with contextlib.suppress(OSError):
            if source.samefile(target):
                return True
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _create(target: Path, content: bytes) -> bool:
    """As ``_link`` on a file system without hard links (mounted buckets); readers may see an empty file."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    try:
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.ESTALE:  # a mounted bucket: another machine's upload was first
            return False
        _remove(target)
        raise
    return _read(target) == content


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
