"""What watches a training process: its time, its hosts, its memory, traces and stalls, in one object."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax

from iml_jax.foundation.errors import Preempted, UserError
from iml_jax.foundation.printing import show
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.hosts import gather_json
from iml_jax.training import flops, goodput, stragglers
from iml_jax.training.profiling import STEP, Profiler, ProfilerConfig
from iml_jax.training.timeline import OTHER, STARTUP, Timeline
from iml_jax.training.watchdog import Watchdog, WatchdogConfig

DATA, DISPATCH, RESTORING, SAVING, EVALUATION = "data", "dispatch", "restoring", "saving", "evaluation"
INITIALISING = "initialisation"
_CACHE_EVENTS = "/jax/compilation_cache/"
_STEPPING = (OTHER, DATA, DISPATCH)
_claimed = False


@dataclasses.dataclass(frozen=True)
class TelemetryConfig:
    """What a run reports; gin name ``Telemetry``."""

    peak_flops: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "bfloat16 FLOP/s of one device, against which MFU is counted; 0 takes it from the "
            "table of chips (iml_jax/parallel/chips.py), and for a chip that is not there no "
            "MFU is reported."
        },
    )

    def __post_init__(self) -> None:
        if not self.peak_flops >= 0:
            raise UserError(f"Telemetry.peak_flops = {self.peak_flops}: must be FLOP/s of one device, or 0")


@dataclasses.dataclass(frozen=True)
class ObservabilityConfig:
    """How a run is watched: its figures, its traces, its stalls."""

    telemetry: TelemetryConfig = dataclasses.field(default_factory=TelemetryConfig)
    profiler: ProfilerConfig = dataclasses.field(default_factory=ProfilerConfig)
    watchdog: WatchdogConfig = dataclasses.field(default_factory=WatchdogConfig)


def _process_began(clock: Callable[[], float]) -> float:
    """The clock when this process began; a second run in the same process began just now."""
    global _claimed  # noqa: PLW0603 - a process has one beginning
    age = 0.0 if _claimed else goodput.process_age()
    _claimed = True
    return clock() - age


def memory(devices: Sequence[Any]) -> dict[str, float]:
    """The fullest device's memory in GiB; nothing where the backend does not say (a CPU).

    Returns:
      ``hbm_gib``, ``hbm_peak_gib`` since the process began, and ``hbm_limit_gib``.
    """
    found: dict[str, float] = {}
    for device in devices:
        stats = device.memory_stats() or {}
        for name, key in (
            ("hbm_gib", "bytes_in_use"),
            ("hbm_peak_gib", "peak_bytes_in_use"),
            ("hbm_limit_gib", "bytes_limit"),
        ):
            if key in stats:
                found[name] = max(found.get(name, 0.0), stats[key] / 2**30)
    return found


def _print(text: str) -> None:
    show(text, file=sys.stderr, flush=True)


class Monitor:
    """Watches one training process; a context manager around all of it.

    Args:
      config: what to watch for.
      run_dir: the run.
      clock: seconds, monotonic.

    Attributes:
      profiler: the traces of this process.
    """

    def __init__(
        self, config: ObservabilityConfig, run_dir: Path, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._config, self._run_dir, self._clock = config, run_dir, clock
        self._host, self._hosts = jax.process_index(), jax.process_count()
        self._report: Callable[[str], None] = _print
        self._began = _process_began(clock)
        self._waits = stragglers.Waits()
        self._ledger: goodput.Ledger | None = None
        self._peak: float | None = None
        self._shape: tuple[OptConfig, int, int] | None = None
        self._step = self._last = 0
        self._stepped = False  # a step of this process was dispatched
        self._ended = False  # a step of this process has ended
        self._timeline = Timeline(clock, self._began, self._on_step)
        self._watchdog = Watchdog(config.watchdog, run_dir, self._host, self._doing, log=_print, clock=clock)
        self.profiler = Profiler(config.profiler, run_dir, self._log, self._hosts)
        self._watchdog.start()

    def _log(self, text: str) -> None:
        self._report(text if self._hosts == 1 else f"host {self._host}: {text}")

    def begin(
        self,
        *,
        first: int,
        last: int,
        shape: tuple[OptConfig, int, int],
        devices: Sequence[Any],
        log: Callable[[str], None] | None = None,
    ) -> None:
        """The run's files are there and steps begin.

        Args:
          first: updates done before.
          last: updates to be done in all.
          shape: model, rows of the global batch, positions a row.
          devices: of the mesh, all hosts'.
          log: prints a line beside the progress bar; None: on stderr.
        """
        self._step, self._last, self._shape = first, last, shape
        self._report = log or _print
        self._peak = flops.total_peak(devices, self._config.telemetry.peak_flops)
        if self._host == 0:
            self._ledger = goodput.Ledger(self._run_dir, first, self._began, self._clock)
            if damaged := self._ledger.totals.damaged:
                self._log(f"{self._run_dir / goodput.LEDGER}: damaged lines are ignored: {damaged}")
        self._timeline.enter(OTHER)
        self._watchdog.beat()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What the host does inside the block: ``DATA``, ``RESTORING``, ``SAVING`` or ``EVALUATION``."""
        started = self._clock()
        if name != DATA:
            self._watchdog.beat()
        try:
            with self._timeline.phase(name):
                yield
        finally:
            if name == DATA:
                self._waits.add(DATA, self._clock() - started)
            else:
                self._watchdog.beat()

    @contextlib.contextmanager
    def reported(self, name: str, text: str) -> Iterator[None]:
        """As ``phase``; the first host says ``text`` and the seconds that it took, if it succeeds."""
        started = self._clock()
        with self.phase(name):
            yield
        self._report_first(f"{text}: {self._clock() - started:.1f} s")

    def _report_first(self, text: str) -> None:
        if self._host == 0:
            self._report(text)

    def _first_step(self, update: Callable[[Any, Any], tuple[Any, Any]], state: Any, batch: Any) -> Any:
        """The dispatch that compiles; says how long that took and whether programs were kept from before."""
        found: list[str] = []

        def on_event(event: str, **_: Any) -> None:
            if event.startswith(_CACHE_EVENTS):
                found.append(event.removeprefix(_CACHE_EVENTS))

        jax.monitoring.register_event_listener(on_event)
        started = self._clock()
        try:
            result = update(state, batch)
        finally:
            jax.monitoring.unregister_event_listener(on_event)
        loaded = "cache_hits" in found and "cache_misses" not in found
        verb = "loaded from the compilation cache" if loaded else "compiled"
        self._report_first(f"training step {verb}: {self._clock() - started:.1f} s")
        return result

    def step(self, step: int, update: Callable[[Any, Any], tuple[Any, Any]], state: Any, batch: Any) -> Any:
        """``update(state, batch)``: dispatches one step, named in traces, its end noted by a thread.

        Returns:
          What ``update`` returns: the new state and the metrics, of which ``loss`` is waited for.
        """
        called = self._clock()
        with jax.profiler.StepTraceAnnotation(STEP, step_num=step), self._timeline.phase(DISPATCH):
            if self._stepped:
                state, metrics = update(state, batch)
            else:
                state, metrics = self._first_step(update, state, batch)
                self._stepped = True
        self._waits.add(DISPATCH, self._clock() - called)
        self._timeline.dispatched(step, called, metrics["loss"])
        self._step = step
        return state, metrics

    def _on_step(self) -> None:
        self._ended = True
        self._watchdog.beat()

    def _doing(self) -> tuple[str, bool]:
        phase = self._timeline.phase_now
        if phase in _STEPPING:
            return (
                f"step {self._step}" if self._ended else "the first step and its compilation",
                self._ended,
            )
        return (phase if phase == STARTUP else f"{phase} after step {self._step}", False)

    def log(self, seconds: float) -> dict[str, float]:
        """The figures of a log line beside the model's own. Every host must call, after the same step.

        Args:
          seconds: a step, over the line's window.

        Returns:
          ``mfu``, ``mfu_full_attention`` (shares of 1), ``hbm_gib``, ``hbm_peak_gib``, ``hbm_limit_gib`` (the
          fullest device), ``goodput`` (share of 1, first host), and with several hosts what
          ``stragglers.compare`` gives. What is not known is left out.
        """
        mine: dict[str, Any] = {
            "waits": self._waits.take(),
            "memory": memory(jax.local_devices()),
            "trace": self.profiler.requested,
        }
        hosts = [mine] if self._hosts == 1 else gather_json(mine)
        if self._hosts > 1:
            self.profiler.agree(any(host["trace"] for host in hosts))
        found: dict[str, float] = {}
        if self._peak and self._shape and seconds > 0:
            found |= flops.mfu(*self._shape, seconds, self._peak)
        for name in sorted({name for host in hosts for name in host["memory"]}):
            found[name] = max(host["memory"].get(name, 0.0) for host in hosts)
        found |= stragglers.compare([host["waits"] for host in hosts])
        account = self._timeline.take()
        if self._ledger:
            self._ledger.add(account)
            found["goodput"] = self._ledger.totals.goodput
        return found

    def close(self, done: bool = False, *, report: bool = True) -> None:
        """Ends the watching and reports the run's goodput.

        Args:
          done: the run reached its last step.
          report: print the line as well.
        """
        self.profiler.close()
        self._watchdog.close()
        self._timeline.close()
        if self._ledger:
            self._ledger.add(self._timeline.take())
            self._ledger.close(done)
            if report:
                _print(self._ledger.totals.line())
            self._ledger = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close(done=self._step >= self._last)
        else:  # the first error is the one to show, and the only line
            with contextlib.suppress(Exception):
                self.close(report=isinstance(error, Preempted))
