"""When a host fails or falls silent: every other host says so in one line and ends, within a bounded time."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from iml_jax.foundation.printing import one_line
from iml_jax.storage import local

MARGIN = 30  # seconds by which JAX's own limit lies above ours
PATIENCE = 5.0  # seconds that a failing host waits until the others have heard of it
_ALIVE, _END, _GONE, _NAME = "iml/alive/", "iml/end/", "iml/gone/", "iml/name/"
_LEFT = "left"


def line_of(error: BaseException) -> str:
    """The first two lines of what an exception says, as one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:600] or type(error).__name__


class Watch:
    """A thread on every host: reports to the others that this one is alive, and ends it when the job is over.

    Signs of life and last words go through JAX's coordination service (its key-value store), which works
    while the devices are stuck in a collective. JAX's own heartbeats go on beside it.

    Args:
      client: of the coordination service.
      process: this one.
      count: of how many.
      seconds: of silence after which a host is lost.
    """

    def __init__(self, client: Any, process: int, count: int, seconds: float) -> None:
        self._client, self._process, self._count, self._seconds = client, process, count, seconds
        self._period = min(seconds / 5, 10.0)
        self._thread = threading.Thread(target=self._run, name="lost hosts", daemon=True)
        self._beats, self._ending = 0, False
        client.key_value_set(f"{_NAME}{process}", platform.node(), allow_overwrite=True)
        self._seen: dict[str, tuple[str, float]] = {}  # host 0 only: last sign of each and when it was new

    @property
    def me(self) -> str:
        """This host, for people."""
        return f"host {self._process} of {self._count} ({platform.node()})"

    def start(self) -> None:
        """From now on this host must not fall silent."""
        _on_abort(self._aborted)
        self._beat()
        now = time.monotonic()
        self._seen = {str(host): ("", now) for host in range(self._count)}
        self._thread.start()

    def stop(self) -> None:
        """This host is done; the others need not miss it."""
        self._ending = True
        self._client.key_value_set(f"{_ALIVE}{self._process}", _LEFT, allow_overwrite=True)
        self._report(self._process, 0, "")
        self._thread.join(timeout=PATIENCE)

    def announce(self, status: int, text: str) -> None:
        """This host has failed: the others end with ``status`` and this host's ``text``. Never raises."""
        self._ending = True
        for host in range(self._count):
            self._report(host, status, f"{self.me}: {text}")

    def part(self) -> None:
        """The last call before this process ends itself; the first host, with the service, goes last."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if self._process:
                self._client.key_value_set(f"{_GONE}{self._process}", "", allow_overwrite=True)
                return
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if len(self._client.key_value_dir_get(_GONE)) >= self._count - 1:
                    return
                time.sleep(0.05)

    def _aborted(self) -> None:
        other = "host 0, which coordinates," if self._process else "another host"
        _log(f"{self.me}: JAX's runtime ended this process, its lines above say why; where they name the "
             f"coordination service, {other} was lost; {_ADVICE}")  # fmt: skip
        os._exit(1)

    def wait_for_the_end(self) -> None:
        """Gives the watch the time to find out which host is lost; it then ends the process."""
        time.sleep(self._seconds + 2 * self._period + PATIENCE)

    def _report(self, host: int, status: int, text: str) -> None:
        value = json.dumps({"status": status, "text": text})
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # reported already: the first one counts
            self._client.key_value_set(f"{_END}{host}", value)

    def _beat(self) -> None:
        self._beats += 1
        self._client.key_value_set(f"{_ALIVE}{self._process}", str(self._beats), allow_overwrite=True)

    def _run(self) -> None:
        while True:
            try:
                said = self._client.blocking_key_value_get(f"{_END}{self._process}", int(1000 * self._period))
                break
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    if self._ending:
                        return
                    _log(f"{self.me}: the connection to host 0, which coordinates, broke; {_ADVICE}")
                    os._exit(1)
            self._beat()
            if self._process == 0:
                self._look_for_the_silent()
        last = json.loads(said)
        if not self._ending:
            _log(last["text"], last["status"])
            self.part()
            os._exit(last["status"])

    def _look_for_the_silent(self) -> None:
        now = time.monotonic()
        for key, sign in self._client.key_value_dir_get(_ALIVE):
            host = key.rpartition("/")[2]
            before, since = self._seen[host]
            if sign != before:
                self._seen[host] = (sign, now)
            elif sign != _LEFT and now - since > self._seconds:
                name = self._client.key_value_try_get(f"{_NAME}{host}")
                text = (
                    f"host {host} of {self._count} ({name}) gave no sign of life for {self._seconds:g} s "
                    f"(Distributed.heartbeat_timeout) and is taken as lost; {_ADVICE}"
                )
                for other in range(self._count):
                    self._report(other, 1, text)


_ADVICE = "start the job again, it goes on from its newest checkpoint"


def _log(text: str, status: int = 1) -> None:
    kind = {1: "fault: ", 2: "error: "}.get(status, "")
    with contextlib.suppress(OSError):
        os.write(2, f"iml: {kind}{one_line(text)}\n".encode())


_handlers: list[Any] = []  # C keeps pointers to them


def _on_abort(end: Callable[[], None]) -> int | None:
    """What runs when JAX's runtime aborts the process, which it does from a thread in C++.

    No Python handler of a signal runs then. A C one does, in that very thread, as any other call from C.

    Returns:
      The address of the handler before (faulthandler's, perhaps), None for the default.
    """
    _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: end()))
    return _set_handler(ctypes.cast(_handlers[-1], ctypes.c_void_p).value)


def _set_handler(address: int | None) -> int | None:
    library = ctypes.CDLL(None)
    library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    library.signal.restype = ctypes.c_void_p
    return library.signal(int(signal.SIGABRT), address)  # None is SIG_DFL


@contextlib.contextmanager
def abort_is_a_line(explain: Callable[[str], str]) -> Iterator[None]:
    """Inside, an abort of the runtime is one line, status 1; what it printed goes to ``explain``.

    What is printed on stderr inside appears at the end.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with local.temporary_file() as printed:

        def text() -> str:
            printed.seek(0)
            return printed.read().decode(errors="replace")

        def end() -> None:
            os.dup2(kept, 2)
            _log(explain(text()))
            os._exit(1)

        os.dup2(printed.fileno(), 2)
        before = _on_abort(end)
        try:
            yield
        finally:
            _set_handler(before)
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            sys.stderr.write(text())
