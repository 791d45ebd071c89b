"""The hooks that every run has: traces, metrics, preemption, checkpoints, evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from iml_jax.checkpoints import best
from iml_jax.data import manifest as manifests
from iml_jax.evaluation.pages import run_outputs
from iml_jax.foundation.errors import Fault, Preempted
from iml_jax.parallel import preemption
from iml_jax.parallel.hosts import gather_json
from iml_jax.training import telemetry
from iml_jax.training.hooks import Hook
from iml_jax.training.job import TrainingJob
from iml_jax.training.monitor import EVALUATION, SAVING
from iml_jax.training.run import Run

SELECTION = "selection"  # the evaluator's value by which the best checkpoint is chosen
MOST_PENDING = 1024  # steps whose metrics wait on the devices, whatever Train.log_every is


def with_built_in(job: TrainingJob, hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    """All hooks of a run in the order in which they are called: the user's own before the evaluation."""
    progress = Progress(job)
    return (Traces(), progress, Preemption(progress), Checkpoints(progress), *hooks, Evaluation(progress))


class Traces(Hook):
    """Starts and stops xprof traces (``training/profiling.py``)."""

    def before_step(self, run: Run, step: int) -> None:
        """Starts a trace that begins with this step."""
        run.monitor.profiler.before(step)

    def after_step(self, run: Run) -> None:
        """Ends a trace whose last step this was."""
        run.monitor.profiler.after(run.step, run.metrics)


class Progress(Hook):
    """Log lines, metrics files and the progress bar.

    The host waits for each step one step late, so that a step is always queued behind the running one. It
    reads metrics from the devices where a line is logged, before a save or an evaluation, and after
    ``MOST_PENDING`` steps without any of these.
    """

    def __init__(self, job: TrainingJob) -> None:
        self._log_every, self._last = job.train.log_every, job.train.steps
        self._positions = job.loader.batch_size * job.loader.length
        self._flops = telemetry.flops_per_step(job.model, job.loader.batch_size, job.loader.length)
        self._window = telemetry.Window()
        self._pending: list[tuple[int, dict[str, jax.Array]]] = []

    def on_start(self, run: Run) -> None:
        """Says where a resumed run begins."""
        if run.step:
            run.log(f"resumed at step {run.step} of {run.job.train.steps}")

    def after_step(self, run: Run) -> None:
        """Waits for the step before; reads the metrics if that one is logged."""
        assert run.metrics is not None
        if self._pending:
            step, metrics = self._pending[-1]
            jax.block_until_ready(metrics)
            if run.sink:
                run.sink.advance(step)
            if self._is_logged(step) or len(self._pending) >= MOST_PENDING:
                self.flush(run)
        self._pending.append((run.step, run.metrics))

    def on_end(self, run: Run) -> None:
        """Logs the last step."""
        self.flush(run)

    def leave_out(self, seconds: float) -> None:
        """Excludes the time of an evaluation from the next log line's speeds."""
        self._window.started += seconds

    def _is_logged(self, step: int) -> bool:
        return step % self._log_every == 0 or step in (1, self._last)

    def flush(self, run: Run) -> None:
        """Reads the metrics of all steps dispatched so far, and logs those that are to be logged.

        Raises:
          Fault: a loss or gradient is not finite, or another job took the run over.
        """
        pending, self._pending = self._pending, []
        for (step, _), host in zip(
            pending, telemetry.to_host([metrics for _, metrics in pending]), strict=True
        ):
            if not (math.isfinite(host["loss"]) and math.isfinite(host["gradient_norm"])):
                raise Fault(
                    f"step {step}: loss {host['loss']}, gradient norm {host['gradient_norm']}; nothing was "
                    "saved since the last good checkpoint; lower Optimizer.peak_learning_rate or "
                    "Optimizer.clip_norm"
                )
            self._window.add(host)
            if self._is_logged(step):
                self._log(run, step, host)

    def _log(self, run: Run, step: int, host: dict[str, float]) -> None:
        values = self._window.summary(host, self._positions, self._flops)
        values |= run.monitor.log(values["seconds_per_step"])  # every host: it gathers
        if run.sink:
            run.held.check_here()
            run.sink.write(step, values)
        self._window = telemetry.Window()
        run.call("on_log", step, values)


class Preemption(Hook):
    """Saves and leaves when the platform takes the machine back (``parallel/preemption.py``)."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_start(self, run: Run) -> None:
        """Before the compilation, which may take longer than the platform waits."""
        if preemption.reached():
            run.leave()

    def after_step(self, run: Run) -> None:
        """Leaves after the step that all hosts agreed on, unless nothing is left to be done."""
        run.store.check()
        if not preemption.reached():
            return
        self._progress.flush(run)  # never save a state whose loss was not seen to be finite
        if run.step < run.job.train.steps or run.job.train.evaluation_due(run.step):
            run.leave()


class Checkpoints(Hook):
    """Saves when the store says so, where the best checkpoint is kept at evaluations, and at the end."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def after_step(self, run: Run) -> None:
        """Saves if it is time to."""
        evaluated = run.job.checkpoints.keep_best and run.job.train.evaluation_due(run.step)
        # The store is asked first: it must hear of every step.
        if run.store.due(run.step) or evaluated or run.step == run.job.train.steps:
            self._progress.flush(run)  # never save a state whose loss was not seen to be finite
            run.save()

    def on_end(self, run: Run) -> None:
        """Waits until the last checkpoint is written."""
        with run.monitor.phase(SAVING):
            run.store.wait()


class Evaluation(Hook):
    """Evaluates at the steps that ``Train.evaluate_every`` and ``Train.evaluate_ends`` name."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_start(self, run: Run) -> None:
        """Evaluates the start; after a resume, what the process before was killed at."""
        if run.job.train.evaluation_due(run.step) and not (run.step and _is_evaluated(run)):
            self._evaluate(run)

    def after_step(self, run: Run) -> None:
        """Evaluates if it is time to."""
        if not run.job.train.evaluation_due(run.step):
            return
        self._progress.flush(run)
        started = time.perf_counter()
        self._evaluate(run)
        self._progress.leave_out(time.perf_counter() - started)

    def _evaluate(self, run: Run) -> None:
        with run.monitor.phase(EVALUATION), jax.transfer_guard("allow"):
            try:
                values = run.evaluate(run.step, run.state.params, run.log)
            except Preempted:
                run.log(f"SIGTERM: leaving the evaluation of step {run.step}; finished tasks are kept")
                run.leave()
                raise
            run.held.check()
            if run.step and run.job.checkpoints.keep_best and SELECTION in values:
                _offer_best(run, values[SELECTION])
            points = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in values.items())
            run.log(f"step {run.step}/{run.job.train.steps}  evaluation, points of 100: {points}")
            if run.sink:
                run.record(values, "evaluation")
                run.sink.flush()  # an evaluation that is saved is not made again after a kill
        run.call("on_evaluation", values)


def _offer_best(run: Run, value: float) -> None:
    run.store.wait()  # the best checkpoint must be one that is there
    if run.sink:
        best.offer(run.run_dir, run.step, value)
    gather_json(run.step)  # no host saves, and with that deletes, before it is named


def _is_evaluated(run: Run) -> bool:
    """Whether an earlier process, killed since, saved this step's evaluation; every process must call."""
    suite = ""
    if run.job.evaluate.prepared_dir:
        asked: Any = manifests.load(Path(run.job.evaluate.prepared_dir))
        suite = run_outputs.suite_of(run.manifest.fingerprint, asked)
    return gather_json(run_outputs.result_file(run.job.train.run_dir, run.step, suite).is_file())[0]
