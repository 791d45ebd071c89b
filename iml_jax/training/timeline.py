"""Where a training process's time goes: steps on the device, and what the host did between them.

The host dispatches a step and continues, so its clock alone does not distinguish a data wait that the device
never noticed from one that left it idle. A thread waits for each step's result and notes when it came: a
step's time is from its dispatch (or the end of the step before) to that moment. Only what lies between two
steps is charged to what the host was doing then. Nothing waits that did not wait before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

STARTUP, OTHER, COMPILE = "start-up", "other", "compilation"
_COMPILE_EVENTS = "/jax/core/compile/"
_JOIN_SECONDS = 5.0  # at most, for the last step's result when the process ends


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of a stretch of time; ``seconds`` and ``steps`` together are all of it.

    Attributes:
      seconds: outside steps, by what the host did.
      steps: (number, seconds) of each step that ended.
      until: where the stretch ends, on the timeline's clock.
    """

    seconds: dict[str, float]
    steps: list[tuple[int, float]]
    until: float


@dataclasses.dataclass(frozen=True)
class _Ended:
    step: int
    dispatched: float
    ended: float


class Timeline:
    """Phases of the host and steps of the device on one clock; close it when done.

    Args:
      clock: seconds, monotonic.
      began: where the first stretch begins (the start of the process); default now.
      on_step: called from the waiting thread when a step has ended.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        began: float | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._on_step = on_step
        self._cut = self._last_end = clock() if began is None else began
        self.phase_now = STARTUP
        self._since = self._cut
        self._segments: list[tuple[float, float, str]] = []
        self._compiled = self._cut  # end of the newest compilation
        self._lock = threading.Lock()
        self._ended: list[_Ended] = []
        self._in_flight = 0
        self._waiting: queue.SimpleQueue[tuple[int, float, Any] | None] = queue.SimpleQueue()
        self._main = threading.current_thread()
        self._thread = threading.Thread(target=self._wait, name="step-clock", daemon=True)
        self._thread.start()
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def enter(self, name: str) -> None:
        """The host does ``name`` from here on."""
        now = self._clock()
        self._segments.append((self._since, now, self.phase_now))
        self._since, self.phase_now = now, name

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The host does ``name`` inside the block; blocks may nest, the inner one counts."""
        before = self.phase_now
        self.enter(name)
        try:
            yield
        finally:
            self.enter(before)

    def dispatched(self, step: int, called: float, result: jax.Array) -> None:
        """A step is on its way.

        Args:
          step: its number.
          called: the clock when the host began to dispatch it; what it compiled since is no part of it.
          result: any array that the step makes and that is not donated.
        """
        with self._lock:
            self._in_flight += 1
        self._waiting.put((step, max(called, self._compiled), result))

    def take(self) -> Account:
        """The account since the last one, up to now or, if a step is under way, to the end of the last."""
        self.enter(self.phase_now)
        with self._lock:
            ended, self._ended = self._ended, []
            idle = self._in_flight == 0
        busy: list[tuple[float, float]] = []
        steps = []
        for one in ended:
            start = min(max(one.dispatched, self._last_end), one.ended)
            busy.append((start, one.ended))
            steps.append((one.step, one.ended - start))
            self._last_end = one.ended
        cut = self._since if idle else max(self._cut, self._last_end)
        seconds: dict[str, float] = {}
        kept = []
        first = 0  # busy stretches before it lie before the segment
        for start, end, name in self._segments:
            if end > cut:
                kept.append((max(start, cut), end, name))
            left, right = max(start, self._cut), min(end, cut)
            if right <= left:
                continue
            while first < len(busy) and busy[first][1] <= left:
                first += 1
            alone, at = right - left, first
            while at < len(busy) and busy[at][0] < right:
                alone -= min(right, busy[at][1]) - max(left, busy[at][0])
                at += 1
            if alone > 0:
                seconds[name] = seconds.get(name, 0.0) + alone
        self._segments, self._cut = kept, cut
        return Account(seconds, steps, cut)

    def close(self) -> None:
        """Lets the waiting thread end; a step that hangs is not waited for."""
        jax.monitoring.unregister_event_duration_listener(self._on_event)
        self._waiting.put(None)
        self._thread.join(_JOIN_SECONDS)

    def _wait(self) -> None:
        while (one := self._waiting.get()) is not None:
            good = True
            try:
                one[2].block_until_ready()
            except Exception:  # the main thread gets the same error when it reads the metrics
                good = False
            now = self._clock()
            with self._lock:
                self._in_flight -= 1
                if good:
                    self._ended.append(_Ended(one[0], one[1], now))
            if good:
                self._on_step()

    def _on_event(self, event: str, duration_secs: float, **more: Any) -> None:
        """Charges tracing, lowering and compiling in the main thread to compilation."""
        if not event.startswith(_COMPILE_EVENTS) or threading.current_thread() is not self._main:
            return
        now = self._clock()
        start = max(now - duration_secs, self._cut)
        # An outer event (lowering a function) comes after the inner ones and swallows their segments.
        while self._segments and self._segments[-1][0] >= start:
            self._segments.pop()
        if self._segments and self._segments[-1][1] > start:
            first, _, name = self._segments.pop()
            self._segments.append((first, start, name))
        if self._since < start:
            self._segments.append((self._since, start, self.phase_now))
        self._segments.append((start, now, COMPILE))
        self._since = self._compiled = now
