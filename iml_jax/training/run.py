"""A run that is being trained: what its loop and its hooks share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.data import manifest as manifests
from iml_jax.data import sampled
from iml_jax.data.batch import Batch
from iml_jax.data.loader import Loader, merge_states
from iml_jax.foundation.errors import Preempted
from iml_jax.parallel.hosts import gather_json, place_rows
from iml_jax.training import hooks, telemetry
from iml_jax.training.hooks import Hook
from iml_jax.training.job import TrainingJob
from iml_jax.training.monitor import SAVING, Monitor
from iml_jax.training.run_directory import Held
from iml_jax.training.state import TrainState
from iml_jax.training.step import TrainStep

Evaluator = Callable[[int, Any, Callable[[str], None]], dict[str, float]]


@dataclasses.dataclass(eq=False)
class Run:
    """The live run; hooks may read everything, and change nothing but by ``save`` and ``log``.

    Attributes:
      job: what decides the run, completed.
      manifest: of the prepared data.
      train_step: the compiled update.
      spans: the rows of a global batch that this host places, as (start, end).
      loader: the data stream.
      store: the checkpoints.
      monitor: phases, time and memory of this process.
      held: the lease of the run directory.
      evaluate: (step, params, log) -> the level means.
      sink: metrics files and the progress bar; on the first host only.
      huggingface: the config.json that the initial parameters came with.
      hooks: all hooks, in the order in which they are called.
      state: after ``step`` updates.
      step: updates done.
      metrics: of the last update, on the devices; None before the first of this process.
    """

    job: TrainingJob
    manifest: manifests.Manifest
    train_step: TrainStep
    spans: list[tuple[int, int]]
    loader: Loader
    store: CheckpointStore
    monitor: Monitor
    held: Held
    evaluate: Evaluator
    sink: telemetry.Telemetry | None
    huggingface: dict[str, Any] | None
    hooks: Sequence[Hook]
    state: TrainState
    step: int
    metrics: dict[str, jax.Array] | None = None

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        return Path(self.job.train.run_dir)

    @property
    def is_first_host(self) -> bool:
        """Whether this process writes the run's files."""
        return self.sink is not None

    def log(self, text: str) -> None:
        """Prints a line beside the progress bar; on the first host only."""
        if self.sink:
            self.sink.log(text)

    def call(self, method: str, *arguments: Any) -> None:
        """Calls one method of every hook with this run."""
        hooks.call(self.hooks, method, self, *arguments)

    def next_batch(self) -> Batch:
        """The next global batch, this host's rows placed on its devices."""
        rows = next(self.loader)
        shape = (self.job.loader.batch_size, self.job.loader.length)
        sharding = self.train_step.batch_sharding
        with jax.transfer_guard_host_to_device("allow"):  # the one transfer of a step
            return Batch(*(place_rows(field, self.spans, sharding, shape) for field in rows))

    def record(self, values: Mapping[str, float], kind: str) -> None:
        """Adds values of the present step to ``metrics.jsonl`` and TensorBoard; on the first host only.

        Args:
          values: name -> number.
          kind: their group, ``train`` and ``evaluation`` being taken.
        """
        if self.sink:
            self.sink.write(self.step, dict(values), prefix=kind)

    def save(self) -> None:
        """Saves the state after ``step`` updates; every host must call. The arrays are written meanwhile.

        Raises:
          Fault: the save before this one failed, or the run was taken over by another job.
        """
        with self.monitor.phase(SAVING), jax.transfer_guard("allow"):
            metadata = make_metadata(
                self.job.model,
                self.step,
                manifest_fingerprint=self.manifest.fingerprint,
                vocabulary_fingerprint=self.manifest.vocabulary.fingerprint,
                vocabulary_tokens=self.manifest.vocabulary.tokens,
                huggingface=self.huggingface,
            )
            data = merge_states(gather_json(self.loader.state()))
            self.store.save(self.step, self.state, data, metadata)
            if self.sink:
                sampled.save(self.run_dir, self.step, data, self.manifest)
                self.sink.flush()
        self.call("on_save")

    def leave(self) -> None:
        """Saves what is not saved and ends the process with status 143; every host must call.

        Raises:
          Preempted: always.
          Fault: the save failed.
        """
        if self.step and self.store.newest != self.step:
            self.save()
        with self.monitor.phase(SAVING):
            self.store.wait()
        saved = f"checkpoint {self.step} is saved" if self.step else "nothing was done yet"
        raise Preempted(
            f"preempted (SIGTERM) after step {self.step} of {self.job.train.steps}; {saved}; "
            "the same command resumes from there"
        )
