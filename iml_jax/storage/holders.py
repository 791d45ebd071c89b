"""Who holds something: host, process, since when; and whether that process still runs.

A process is named by more than its pid: pids are used again, and a restarted container often has the hostname
and the pids of the one before. Two records are of one place only if the hostname, the boot of the kernel and
the pid namespace agree; there a pid together with its start time is one process for ever.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import secrets
from pathlib import Path
from typing import Literal

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import parse_json

_PROC = Path("/proc")
_LONGEST_TTL = 600.0  # seconds; a damaged record must not make others wait longer


@dataclasses.dataclass(frozen=True)
class Holder:
    """One holder of one lease, as its record says.

    Attributes:
      token: random, of this holding alone.
      host: its hostname.
      pid: its process there.
      started: when that process started, in clock ticks since the boot; empty where unknown.
      place: boot of the kernel and pid namespace; empty where unknown.
      since: UTC by its own clock; shown, never compared.
      ttl: seconds without a beat after which it counts as dead.
    """

    token: str
    host: str
    pid: int
    started: str
    place: str
    since: str
    ttl: float

    def line(self) -> bytes:
        """The record: one line of JSON."""
        return (json.dumps(dataclasses.asdict(self)) + "\n").encode()

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, since {self.since}"

    def state(self) -> Literal["runs", "ended", "unknown"]:
        """Whether its process still runs; unknown for another host, container or boot."""
        here = _place()
        if not here or self.place != here or self.host != platform.node() or not self.started:
            return "unknown"
        started = _start_of(self.pid)
        if not started and _exists(self.pid):  # hidden from us (hidepid)
            return "unknown"
        return "runs" if started == self.started else "ended"


def this_process(ttl: float) -> Holder:
    """A holder with a new token for this process."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    pid = os.getpid()
    return Holder(secrets.token_hex(16), platform.node(), pid, _start_of(pid), _place(), now, ttl)


def parse(content: bytes) -> Holder | None:
    """The holder of a record; None for what is none (damaged, or only begun)."""
    try:
        value = parse_json(content.partition(b"\n")[0].decode(), "lease")
        if value["place"] is None or type(value["pid"]) is not int or value["pid"] <= 0:
            return None
        texts = {
            name: _printable(str(value[name])[:200])
            for name in ("token", "host", "started", "place", "since")
        }
        return Holder(**texts, pid=value["pid"], ttl=min(_LONGEST_TTL, max(0.0, float(value["ttl"]))))
    except (UserError, ValueError, KeyError, TypeError):
        return None


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)  # it is shown on a terminal


def _place() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return ""


def _start_of(pid: int) -> str:
    """Start of a process in clock ticks since the boot; ``-`` if only its remains are there, else empty."""
    try:
        # The name of the program, in parentheses, may hold anything, parentheses too.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "-" if fields[0] in {b"Z", b"X"} else fields[19].decode()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
