"""The current stage of a command: one changing line on a terminal, a line per stage in a log."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape

from iml_jax.foundation.printing import one_line, show


class Stages:
    """A context manager; ``stages("reading")`` begins a stage."""

    def __init__(self, label: str, *, in_log: bool) -> None:
        """Nothing is shown before the first stage.

        Args:
          label: precedes every stage.
          in_log: whether lines are printed where stderr is no terminal; work of a second needs none.
        """
        console = Console(stderr=True)
        self._status = console.status("") if console.is_terminal else None
        self._label, self._in_log = label, in_log

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Clears the line, before something else is printed."""
        if self._status:
            self._status.stop()

    def __call__(self, stage: str) -> None:
        """Begins a stage."""
        text = one_line(f"{self._label}: {stage}")
        if self._status:
            self._status.update(escape(text))
            self._status.start()
        elif self._in_log:
            show(text, file=sys.stderr, flush=True)
