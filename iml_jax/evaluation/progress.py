"""How far an evaluation is: a bar on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

import jax
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from iml_jax.parallel import preemption
from iml_jax.printing import one_line, printable, show

LINES = 10


class Meter:
    """Counts rows done. A context manager; only the first process of several shows anything."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        """``say`` takes plain lines (inside a training process, whose own bar must not be disturbed)."""
        first = jax.process_index() == 0
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if first and say is None and console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
        self._say = (say or _print) if first else lambda text: None
        self._label, self._done, self._total, self._shown = "", 0, 0, 0

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, label: str, total: int) -> None:
        """A new piece of work of ``total`` rows."""
        self._label, self._done, self._total, self._shown = label, 0, total, 0
        if self._bar:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(escape(one_line(label)), total=total)

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._bar:
            self._bar.console.print(printable(text, keep="\n\t"), markup=False, highlight=False)
        else:
            self._say(text)

    def advance(self, rows: int) -> None:
        """``rows`` more are done. Every process must call.

        Raises:
          Preempted: the platform wants the machine back.
        """
        preemption.check()
        self._done += rows
        if self._bar:
            self._bar.advance(self._bar.task_ids[0], rows)
            return
        tenth = LINES * self._done // max(self._total, 1)
        if tenth > self._shown:
            self._shown = tenth
            self._say(f"{self._label}: {self._done} of {self._total}")


def _print(text: str) -> None:
    show(text, file=sys.stderr, flush=True)
