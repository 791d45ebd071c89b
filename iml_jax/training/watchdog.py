"""A step that does not end: what every thread of this process is doing, on paper, while it still hangs."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import journal

STALLED = 1  # exit status: a fault, not the user's mistake


@dataclasses.dataclass(frozen=True)
class WatchdogConfig:
    """When a process that makes no progress reports where it is; gin name ``Watchdog``."""

    seconds: float = dataclasses.field(
        default=600.0,
        metadata={"help": "without the end of a step after which all threads' stacks are written; 0 never."},
    )
    other_seconds: float = dataclasses.field(
        default=3600.0,
        metadata={"help": "the same while the process starts, compiles, restores, saves or evaluates."},
    )
    exit_after: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "seconds after the first stacks at which the process ends itself with status 1; 0 never."
        },
    )

    def __post_init__(self) -> None:
        for name in ("seconds", "other_seconds", "exit_after"):
            if not getattr(self, name) >= 0:
                raise UserError(f"Watchdog.{name} = {getattr(self, name)}: must be 0 or more seconds")


class Watchdog:
    """Looks at the time since the last sign of life; a thread does so unless ``seconds`` is 0.

    Args:
      config: the limits.
      run_dir: gets ``stacks.HOST.txt``, once the run's own files are there.
      host: number of this process.
      doing: what the process does now, and whether a step should end soon; asked only when late.
      log: prints one line.
      clock: seconds.
      leave: ends the process.
    """

    def __init__(
        self,
        config: WatchdogConfig,
        run_dir: Path,
        host: int,
        doing: Callable[[], tuple[str, bool]],
        *,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._config, self._run_dir, self._host = config, run_dir, host
        self._doing, self._log, self._clock, self._leave = doing, log, clock, leave
        self._last = clock()
        self._told = 0.0  # seconds of the stall at the last stacks; 0 where there were none
        self._first_told = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch."""
        if self._config.seconds > 0:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def beat(self) -> None:
        """A step ended, or the process went over to something else. Cheap; any thread may call."""
        self._last = self._clock()

    def close(self) -> None:
        """Ends the watching."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        pause = min(max(min(self._config.seconds, self._config.exit_after or 1e9) / 10, 0.05), 10.0)
        while not self._stop.wait(pause):
            self.look()

    def look(self) -> None:
        """Writes the stacks if it is time to: first at the limit, then whenever the stall has doubled."""
        late = self._clock() - self._last
        if late < self._told:
            self._told = 0.0  # something ended meanwhile
        what, stepping = self._doing()
        limit = self._config.seconds if stepping else max(self._config.other_seconds, self._config.seconds)
        if not self._told:
            if late < limit:
                return
            self._first_told = late
        elif self._config.exit_after and late >= self._first_told + self._config.exit_after:
            self._log(f"host {self._host}: ends itself after {late:.0f} s without an end of {what}")
            self._leave(STALLED)
            return
        elif late < 2 * self._told:
            return
        self._told = late
        self._dump(what, late)

    def _dump(self, what: str, late: float) -> None:
        where = ""
        if (self._run_dir / "config.gin").exists():  # before, our file would make the directory a stranger's
            path = self._run_dir / f"stacks.{self._host}.txt"
            try:
                with journal.open_to_append(path) as file:
                    file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S%z')}: {late:.0f} s in {what}\n")
                    file.flush()
                    faulthandler.dump_traceback(file=file, all_threads=True)
                    file.write("\n")
                where = f"; stacks of all threads are below and in {path}"
            except (OSError, UserError, Fault) as error:
                where = f"; stacks of all threads are below ({error})"
        self._log(f"host {self._host}: {what} has not ended for {late:.0f} s{where}")
        _dump_to(sys.stderr)


def _dump_to(stream: TextIO) -> None:
    # There may be no file behind it (a notebook, a test); the stacks are in the run directory as well.
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        faulthandler.dump_traceback(file=stream, all_threads=True)
