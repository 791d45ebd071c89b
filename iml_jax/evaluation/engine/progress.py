"""Progress of an evaluation: a bar on a terminal, lines at intervals elsewhere."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from iml_jax.foundation.printing import printable, show
from iml_jax.parallel import preemption

LINES = 10  # in a log, one for every tenth of the whole ...
SECONDS = 60.0  # ... and one after this time, where a tenth takes longer


class Meter:
    """Counts prompts and tasks done of all there are. A context manager; only the first process shows it."""

    def __init__(
        self,
        log: Callable[[str], None] | None = None,
        *,
        label: str = "evaluation",
        prompts: int = 0,
        tasks: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shows nothing until the first prompt is done.

        Args:
          log: takes plain lines (inside a training process, whose own bar must not be disturbed); None shows
            a bar on a terminal and prints lines on stderr elsewhere.
          label: what is done.
          prompts, tasks: how many there are; without tasks only prompts are shown.
          clock: seconds.
        """
        first = jax.process_index() == 0
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if first and log is None and console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.add_task(label, total=max(prompts, 1), text="")
        self._log = (log or _print) if first else lambda text: None
        self._label, self._total, self._tasks, self._clock = label, prompts, tasks, clock
        self._done = self._tasks_done = self._before = self._tenth = 0
        self._began = self._shown = clock()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        self._began = self._shown = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def resume(self, prompts: int) -> None:
        """``prompts`` were answered by an earlier process."""
        self._done = self._before = prompts
        self._tenth = LINES * prompts // max(self._total, 1)

    def finished(self, tasks: int) -> None:
        """The number of tasks that are answered by now."""
        self._tasks_done = tasks

    def doing(self, label: str) -> None:
        """Shows the current stage on the bar."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], description=label)

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        if self._bar:
            self._bar.console.print(printable(text, keep="\n\t"), markup=False, highlight=False)
        else:
            self._log(text)

    def advance(self, rows: int) -> None:
        """``rows`` more prompts are done. Every process must call.

        Raises:
          Preempted: the platform wants the machine back.
        """
        preemption.check()
        self._done += rows
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done, text=self._text())
            return
        now, tenth = self._clock(), LINES * self._done // max(self._total, 1)
        if tenth > self._tenth or (rows and now - self._shown >= SECONDS):
            self._tenth, self._shown = tenth, now
            self._log(f"{self._label}: {self._text()}")

    def _text(self) -> str:
        parts = [f"{self._done:,} of {self._total:,} prompts"]
        if self._tasks:
            # A chunk's tasks are known to be done when all of it is; then no prompt is left either.
            tasks = self._tasks if self._done >= self._total else self._tasks_done
            parts.append(f"{tasks:,} of {self._tasks:,} tasks")
        own = self._done - self._before
        if own > 0 and self._done < self._total:
            left = (self._clock() - self._began) * (self._total - self._done) / own
            parts.append(f"{datetime.timedelta(seconds=round(left))} left")
        return ", ".join(parts)


def _print(text: str) -> None:
    show(text, file=sys.stderr, flush=True)
