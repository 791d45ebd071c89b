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

from iml_jax.storage.writing import write_atomically
from iml_jax.training.timeline import Account

LEDGER, SUMMARY = "goodput.jsonl", "goodput.json"
STEPS, REDONE, IDLE = "steps", "redone", "idle"


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
      ended: wall clock (Unix seconds) up to which it is accounted for; 0 before the first line.
      done: the last process reached its last step.
    """

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    stretches: list[tuple[int, int, float]] = dataclasses.field(default_factory=list)
    processes: int = 0
    redone: int = 0
    ended: float = 0.0
    done: bool = False

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
        kept = []
        for first, last, seconds in self.stretches:
            again = max(0, last - max(resumed, first - 1))
            lost = seconds * again / (last - first + 1)
            self.redone += again
            self.add(REDONE, lost)
            self.add(STEPS, -lost)
            if again <= last - first:
                kept.append((first, last - again, seconds - lost))
        self.stretches = kept

    def account(self, seconds: dict[str, float], steps: tuple[int, int, float] | None, at: float) -> None:
        """A stretch up to Unix time ``at``: seconds outside steps by cause, and (first, last, seconds)."""
        for name, value in seconds.items():
            self.add(name, value)
        if steps:
            self.add(STEPS, steps[2])
            self.stretches.append(steps)
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
            if name != STEPS and (value >= 0.0005 * self.wall or name == REDONE)  # lost work is told always
        ]
        lost = f" ({self.redone} steps)" if self.redone else ""
        told = ", ".join(part + lost if part.startswith(REDONE) else part for part in rest)
        plural = "" if self.processes == 1 else "es"
        return (
            f"goodput {100 * self.goodput:.1f}% of {_duration(self.wall)} in {self.processes} process{plural}"
            f"{'; the rest, in %: ' + told if told else ''}"
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def read(run_dir: Path) -> Totals:
    """Sums a run's ledger; lines that a kill tore, and keys of later versions, are passed over."""
    totals = Totals()
    try:
        lines = (run_dir / LEDGER).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return totals
    for line in lines:
        try:
            record = json.loads(line)
            if "begin" in record:
                totals.begin(float(record["begin"]), int(record["resumed"]))
            elif "done" in record:
                totals.done = True
            else:
                steps = record["steps"]
                seconds = {str(name): float(value) for name, value in record["seconds"].items()}
                stretch = (int(steps[0]), int(steps[1]), float(steps[2])) if steps else None
                totals.account(seconds, stretch, float(record["until"]))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            continue
    return totals


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
        path = run_dir / LEDGER
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")
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
