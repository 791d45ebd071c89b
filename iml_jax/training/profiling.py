"""xprof traces of chosen steps: by configuration, or on a signal to a process that runs already."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from iml_jax.config.paths import OptionalPath
from iml_jax.foundation.errors import UserError

FOLDER = "profile"
STEP = "train"  # the name under which xprof finds the steps
SIGNAL = signal.SIGUSR1


@dataclasses.dataclass(frozen=True)
class ProfilerConfig:
    """Which steps are traced; gin name ``Profiler``.

    ``kill -USR1`` on any process of the job traces ``steps`` more.
    """

    first_step: int = dataclasses.field(
        default=0, metadata={"help": "number of the first traced update; 0 means none."}
    )
    steps: int = dataclasses.field(default=3, metadata={"help": "updates in one trace."})
    directory: OptionalPath = dataclasses.field(
        default="",
        metadata={"help": "where traces go; empty means RUN/profile (``tensorboard --logdir`` shows it)."},
    )
    host_tracer_level: int = dataclasses.field(
        default=2,
        metadata={
            "help": "0 nothing of the host, 1 our annotations and the steps, 2 and what XLA does, 3 all."
        },
    )
    python_tracer_level: int = dataclasses.field(
        default=0, metadata={"help": "1 also traces every Python call, which slows the host down."}
    )

    def __post_init__(self) -> None:
        for name, least, most in (
            ("first_step", 0, None),
            ("steps", 1, None),
            ("host_tracer_level", 0, 3),
            ("python_tracer_level", 0, 1),
        ):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                allowed = f"at least {least}" if most is None else f"from {least} to {most}"
                raise UserError(f"Profiler.{name} = {value}: must be {allowed}")


class Profiler:
    """Starts and stops traces between steps. Whatever fails costs the trace and one line, never the run.

    Args:
      config: which steps.
      run_dir: the run.
      log: prints one line.
      hosts: processes of the job; with more than one, a signal waits until ``requested`` was shared.
    """

    def __init__(
        self, config: ProfilerConfig, run_dir: Path, log: Callable[[str], None], hosts: int = 1
    ) -> None:
        self._config, self._log, self._hosts = config, log, hosts
        self._directory = Path(config.directory) if config.directory else run_dir / FOLDER
        self.requested = False  # a signal came to this process
        self._begin = False
        self._last: int | None = None  # last step of the trace under way
        self._before: Any = None
        self._listening = threading.current_thread() is threading.main_thread()
        if self._listening:
            self._before = signal.signal(SIGNAL, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def agree(self, requested: bool) -> None:
        """All hosts heard that one of them was ``requested`` to trace; the next step begins it."""
        self._begin = self._begin or requested
        self.requested = False

    def before(self, step: int) -> None:
        """To be called before ``step`` is dispatched."""
        if self._hosts == 1 and self.requested:
            self.agree(True)
        if self._last is not None or not (self._begin or step == self._config.first_step):
            return
        self._begin = False
        try:
            options = jax.profiler.ProfileOptions()
            options.host_tracer_level = self._config.host_tracer_level
            options.python_tracer_level = self._config.python_tracer_level
            # One folder for all hosts, so that xprof shows them together. Files are named by host only,
            # hence a folder for each process where several share one (they may, but not on a TPU).
            several = self._hosts > 1 and jax.default_backend() != "tpu"
            options.session_id = f"step_{step}" + (f".process_{jax.process_index()}" if several else "")
            jax.profiler.start_trace(self._directory, profiler_options=options)
        except Exception as error:
            self._failed("start", error)
            return
        self._last = step + self._config.steps - 1

    def after(self, step: int, result: Any) -> None:
        """To be called after ``step`` was dispatched; ``result`` is anything that it makes."""
        if self._last is None or step < self._last:
            return
        first = self._last - self._config.steps + 1
        self._last = None
        try:
            jax.block_until_ready(result)  # else the trace would lack the end of its last step
            jax.profiler.stop_trace()
        except Exception as error:
            self._failed("write", error)
            return
        self._log(f"trace of steps {first} to {step}: {self._directory}")

    def close(self) -> None:
        """Ends a trace under way and gives the signal back."""
        if self._listening:
            signal.signal(SIGNAL, self._before)
            self._listening = False
        if self._last is not None:
            self._last = None
            try:
                jax.profiler.stop_trace()
            except Exception as error:
                self._failed("write", error)
            else:
                self._log(f"trace, cut short: {self._directory}")

    def _failed(self, verb: str, error: Exception) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        self._log(f"could not {verb} the trace in {self._directory} ({reason}); training goes on without it")
