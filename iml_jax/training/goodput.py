"""Goodput: the share of a run's wall time that went into steps it kept, over all its processes.

``RUN/goodput.jsonl`` gets one line when a process begins and one at every log interval, so that a killed
process leaves its account; ``RUN/goodput.json`` is the sum, written when a process ends. Steps that a
restart does again were lost; so is the time between two processes of an unfinished run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iml_jax.storage import journal
from iml_jax.storage.writing import write_atomically
from iml_jax.training.timeline import Account

LEDGER, SUMMARY = "goodput.jsonl", "goodput.json"
STEPS, REDONE, IDLE = "steps", "redone", "idle"
_LARGEST = 1 << 53  # of a number of steps or seconds; float64 holds every integer up to it


def process_age() -> float:
    """Seconds since this process began, as the kernel counts; 0.0 where it does not say."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of the line
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


@dataclasses.dataclass
class Totals:
    """Sums over a run so far.

    Attributes:
      seconds: by cause: ``steps``, ``redone``, ``idle`` and the host's phases.
      stretches: (first step, last step, seconds) whose results the run still holds.
      processes: how many worked on it.
      redone: steps that were lost and had to be done again.
      damaged: lines of the ledger that could not be read.
      ended: wall clock (Unix seconds) up to which it is accounted for; 0 before the first line.
      done: the last process reached its last step.
    """

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    stretches: list[tuple[int, int, float]] = dataclasses.field(default_factory=list)
    processes: int = 0
    redone: int = 0
    damaged: int = 0
    ended: float = 0.0
    done: bool = False
    _latest: list[int] = dataclasses.field(default_factory=list)  # of each stretch, the last step up to it

    def add(self, name: str, seconds: float) -> None:
        """``seconds`` more for one cause."""
        if seconds:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def begin(self, at: float, resumed: int) -> None:
        """A process began, at Unix time ``at``, from the state after ``resumed`` updates."""
        if self.ended and not self.done:
            self.add(IDLE, max(at - self.ended, 0.0))
        self.processes += 1
        self.ended, self.done = at, False
        # Later steps are at the end of the list: a restart costs what it loses, not what the run has done.
        touched = []
        while self._latest and self._latest[-1] > resumed:
            self._latest.pop()
            touched.append(self.stretches.pop())
        for first, last, seconds in reversed(touched):
            again = max(0, last - max(resumed, first - 1))
            lost = seconds * again / (last - first + 1)
            self.redone += again
            self.add(REDONE, lost)
            self.add(STEPS, -lost)
            if again <= last - first:
                self._keep((first, last - again, seconds - lost))

    def _keep(self, stretch: tuple[int, int, float]) -> None:
        self.stretches.append(stretch)
        self._latest.append(max(stretch[1], self._latest[-1] if self._latest else stretch[1]))

    def account(self, seconds: dict[str, float], steps: tuple[int, int, float] | None, at: float) -> None:
        """A stretch up to Unix time ``at``: seconds outside steps by cause, and (first, last, seconds)."""
        for name, value in seconds.items():
            self.add(name, value)
        if steps:
            self.add(STEPS, steps[2])
            self._keep(steps)
        self.ended = at

    @property
    def wall(self) -> float:
        """Seconds of everything."""
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float:
        """Share of the wall time in steps kept; 0 before there is any."""
        return self.seconds.get(STEPS, 0.0) / self.wall if self.wall > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """What ``goodput.json`` holds: seconds are wall time, ``goodput`` a share of 1."""
        order = sorted(self.seconds.items(), key=lambda item: -item[1])
        return {
            "goodput": round(self.goodput, 6),
            "wall_seconds": round(self.wall, 3),
            "seconds": {name: round(value, 3) for name, value in order},
            "steps_kept": sum(last - first + 1 for first, last, _ in self.stretches),
            "steps_redone": self.redone,
            "processes": self.processes,
        }

    def line(self) -> str:
        """The same for people, in one line."""
        rest = [
            f"{name} {100 * value / self.wall:.1f}"
            for name, value in sorted(self.seconds.items(), key=lambda item: -item[1])
            if name != STEPS and (value >= 0.0005 * self.wall or name == REDONE)  # lost work always
        ]
        lost = f" ({self.redone} steps)" if self.redone else ""
        shares = ", ".join(part + lost if part.startswith(REDONE) else part for part in rest)
        plural = "" if self.processes == 1 else "es"
        return (
            f"goodput {100 * self.goodput:.1f}% of {_duration(self.wall)} in {self.processes} process{plural}"
            f"{'; the rest, in %: ' + shares if shares else ''}"
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def read(run_dir: Path) -> Totals:
    """Sums a run's ledger; damaged lines are passed over and counted, keys of later versions ignored.

    Raises:
      UserError: the ledger is not a regular file, or may not be read.
      Fault: the device failed.
    """
    totals = Totals()
    for record in journal.records(run_dir / LEDGER):
        try:
            _take(totals, record)
        except (ValueError, KeyError, TypeError):
            totals.damaged += 1
    return totals


def _take(totals: Totals, record: dict[str, Any] | None) -> None:
    """Adds one line of the ledger. A damaged one is a ValueError, KeyError or TypeError, and adds nothing."""
    if record is None:
        raise ValueError("damaged")
    if "begin" in record:
        totals.begin(_number(record["begin"]), int(_number(record["resumed"])))
    elif "done" in record:
        totals.done = True
    elif "until" in record:
        if not isinstance(record["seconds"], dict):
            raise TypeError("seconds by cause are a JSON object")
        seconds = {name: _number(value) for name, value in record["seconds"].items()}
        stretch = None
        if record["steps"]:
            first, last, busy = map(_number, record["steps"])
            if not 0 < first <= last:
                raise ValueError("steps out of order")
            stretch = (int(first), int(last), busy)
        totals.account(seconds, stretch, _number(record["until"]))


def _number(value: Any) -> float:
    """A number of seconds or steps.

    Raises:
      TypeError: it is not a number.
      ValueError: it is one that no run can have.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r} is not a number of seconds or steps")
    return value


class Ledger:
    """Writes a run's account; one process of a job has one.

    Args:
      run_dir: the run; exists.
      resumed: updates done before this process.
      began: the clock's value when this process began.
      clock: the timeline's clock.
      wall: Unix seconds.
    """

    def __init__(
        self,
        run_dir: Path,
        resumed: int,
        began: float,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._run_dir = run_dir
        self._unix = wall() - clock()  # clock + this = Unix seconds
        self.totals = read(run_dir)
        self._file = journal.open_to_append(run_dir / LEDGER)
        at = began + self._unix
        self._write({"begin": at, "resumed": resumed})
        self.totals.begin(at, resumed)

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def add(self, account: Account) -> None:
        """Writes down a stretch."""
        steps = None
        if account.steps:
            numbers = [number for number, _ in account.steps]
            steps = (min(numbers), max(numbers), sum(seconds for _, seconds in account.steps))
        until = account.until + self._unix
        self._write({"until": until, "steps": steps, "seconds": account.seconds})
        self.totals.account(account.seconds, steps, until)

    def close(self, done: bool) -> None:
        """Writes the sum; ``done`` says that the run reached its last step.

        A run that is done is not idle afterwards.
        """
        if done:
            self._write({"done": True})
            self.totals.done = True
        self._file.close()
        text = json.dumps(self.totals.as_json(), indent=2) + "\n"
        write_atomically(self._run_dir / SUMMARY, text)
