"""The training loop: batches in, checkpoints, metrics and evaluations out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from iml_jax.checkpoints import locate, places
from iml_jax.checkpoints.restore import restore_params
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.loader import Loader, make_loader
from iml_jax.foundation.errors import UserError
from iml_jax.parallel import environment_check, preemption
from iml_jax.parallel.hosts import agree, row_spans
from iml_jax.parallel.mesh import make_mesh
from iml_jax.storage import ownership
from iml_jax.training import builtin_hooks, resuming, telemetry
from iml_jax.training import hooks as calling
from iml_jax.training.hooks import Hook
from iml_jax.training.job import TrainConfig, TrainingJob, complete
from iml_jax.training.monitor import DATA, INITIALISING, RESTORING, Monitor
from iml_jax.training.run import Evaluator, Run
from iml_jax.training.run_directory import Held, check_run, exclusive, write_run
from iml_jax.training.state import TrainState
from iml_jax.training.step import TrainStep

Resume = Callable[[str, int | None, manifests.Manifest], Sequence[resuming.Change]]


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where the steps of this process begin.

    Attributes:
      state: the training state.
      step: updates done.
      huggingface: the config.json that the initial parameters came with.
      refused: step -> reason of checkpoints that are not usable.
      changes: what of the configuration differs from the process before.
    """

    state: TrainState
    step: int
    huggingface: dict[str, Any] | None
    refused: dict[int, str]
    changes: Sequence[resuming.Change]


def _new_state(
    job: TrainingJob, train_step: TrainStep, monitor: Monitor
) -> tuple[TrainState, dict[str, Any] | None]:
    """The state before the first update, and the config.json that its parameters came with, if any.

    The parameters are random, or those of ``initial_checkpoint``.
    """
    source, params, huggingface = job.train.initial_checkpoint, None, None
    if source:  # read before anything is made: a wrong path is reported at once
        with monitor.reported(RESTORING, f"parameters of {source} restored"):
            shardings = jax.tree.map(lambda leaf: leaf.sharding, train_step.abstract_state.params)
            _, params, metadata = restore_params(Path(source), job.model, shardings)
        huggingface = metadata.get("huggingface")
    with monitor.reported(INITIALISING, "optimizer state made" if source else "random parameters made"):
        state = train_step.init(job.train.seed, params)
    return state, huggingface


def _start(  # noqa: PLR0917
    job: TrainingJob,
    manifest: manifests.Manifest,
    train_step: TrainStep,
    loader: Loader,
    store: CheckpointStore,
    monitor: Monitor,
    previous: str,
    on_resume: Resume,
) -> _Start:
    """A new state, or the newest usable checkpoint with the data stream at its position."""
    latest, refused = store.latest_step(), store.refused()
    # Every host must see one directory; a local disk on each would be found only at a restart.
    seen = {"newest checkpoint": str(latest), "begun": str(bool(previous))}
    found = {"fingerprint": manifest.fingerprint}
    agree({"device": environment_check.devices(), "manifest": found, f"{job.train.run_dir}:": seen})
    if latest is None and refused:
        raise _none_usable(store, refused)
    changes = on_resume(previous, latest, manifest)
    if latest is None:
        state, huggingface = _new_state(job, train_step, monitor)
        return _Start(state, 0, huggingface, refused, changes)
    with monitor.reported(RESTORING, "checkpoint restored"):
        restored = store.restore_newest(train_step.abstract_state, job.model)
        refused = store.refused()  # the checksums may have found more
        if restored is None:
            raise _none_usable(store, refused)
        loader.restore(restored.data, str(locate.data_state(store.folder / str(store.newest))))
    state, metadata = restored.state, restored.metadata
    if any(change.parameter == resuming.SEED for change in changes):
        state = dataclasses.replace(state, rng=train_step.dropout_key(job.train.seed))
    return _Start(state, metadata["updates"], metadata.get("huggingface"), refused, changes)


def train(
    job: TrainingJob,
    resolved: str,
    on_resume: Resume,
    evaluator: Callable[[TrainingJob, jax.sharding.Mesh], Evaluator],
    hooks: Sequence[Hook] = (),
) -> Path:
    """Trains to ``job.train.steps`` updates, from the newest checkpoint if there is one.

    Args:
      job: the run; completed by ``complete`` here.
      resolved: the resolved gin text, saved as ``config.gin``.
      on_resume: decides whether this configuration may go on with the run: gets the ``config.gin`` of the
        process before ("" for a new run), the updates done (None without a checkpoint) and the manifest,
        prints what differs, returns what changes (``resuming.accept``). Every process calls it.
      evaluator: makes, for the completed job and its mesh, the function (step, params, log) that
        evaluates, saves and returns the level means.
      hooks: the user's own (``training/hooks.py``).

    Returns:
      The run directory.

    Raises:
      UserError: the configuration, the prepared data or the run directory is wrong, or hosts differ.
      Fault: the loss is not finite, or a save failed.
      Preempted: SIGTERM came; what was done is saved.
    """
    ownership.check_given(job.train.run_dir, "Train.run_dir")
    run_dir = Path(job.train.run_dir)
    places.check_saveable(run_dir)
    job, manifest = complete(job)
    mesh = make_mesh(job.mesh)
    train_step = TrainStep(job.model, job.optimizer, mesh, job.train.accumulation)
    # Checked before the run's first files are written.
    train_step.check_rows(job.loader.batch_size, job.loader.length)
    with exclusive(run_dir) as held:
        previous = check_run(run_dir, Path(job.train.prepared_dir), manifest.fingerprint)
        _train(job, manifest, train_step, held, (previous, resolved), on_resume, evaluator, hooks)
    return run_dir


def _train(  # noqa: PLR0917
    job: TrainingJob,
    manifest: manifests.Manifest,
    train_step: TrainStep,
    held: Held,
    configs: tuple[str, str],
    on_resume: Resume,
    evaluator: Callable[[TrainingJob, jax.sharding.Mesh], Evaluator],
    hooks: Sequence[Hook],
) -> None:
    """Trains while the run's lease is held; ``configs`` are the one before and the resolved one."""
    previous, resolved = configs
    run_dir, prepared = Path(job.train.run_dir), Path(job.train.prepared_dir)
    tokenizer = _tokenizer(job.train, manifest)
    spans = row_spans(train_step.batch_sharding, (job.loader.batch_size, job.loader.length))
    loader = make_loader(prepared, job.loader, rows=spans)
    with (
        preemption.listening(),
        Monitor(job.observability, run_dir) as monitor,
        CheckpointStore(run_dir, job.checkpoints, check=held.check) as store,
    ):
        start = _start(job, manifest, train_step, loader, store, monitor, previous, on_resume)
        evaluate = evaluator(job, train_step.mesh)  # finds mistakes of its own, before anything is written
        sink = None
        if jax.process_index() == 0:
            changes = resuming.recorded(start.changes) if start.step else ()
            resuming.write_record(run_dir, start.step, changes)
            write_run(run_dir, prepared, resolved, tokenizer)
            sink = telemetry.Telemetry(run_dir, job.train.steps, start.step)
        run = Run(
            job, manifest, train_step, spans, loader, store, monitor, held, evaluate, sink,
            huggingface=start.huggingface,
            hooks=builtin_hooks.with_built_in(job, hooks),
            state=start.state,
            step=start.step,
        )  # fmt: skip
        try:
            for step, reason in start.refused.items():
                run.log(f"checkpoint {step} is not usable ({reason}); taking the one before")
            shape = (job.model, job.loader.batch_size, job.loader.length)
            devices = list(train_step.mesh.devices.flat)
            monitor.begin(first=run.step, last=job.train.steps, shape=shape, devices=devices, log=run.log)
            _loop(run)
        finally:
            loader.close()
            if sink:
                sink.close()


def _loop(run: Run) -> None:
    """The steps. Everything else is a hook; nothing here reads a value from a device."""
    with jax.transfer_guard("disallow"):
        run.call("on_start")
        for step in range(run.step + 1, run.job.train.steps + 1):
            with run.monitor.phase(DATA):
                batch = run.next_batch()
            run.call("before_step", step)
            run.state, run.metrics = run.monitor.step(step, run.train_step, run.state, batch)
            run.step = step
            calling.call([hook for hook in run.hooks if step % hook.every == 0], "after_step", run)
        run.call("on_end")


def _tokenizer(config: TrainConfig, manifest: manifests.Manifest) -> tokenizers.Tokenizer:
    """The tokenizer that the manifest records: the run's, which is written once, or the prepared one."""
    prepared = Path(config.prepared_dir, manifest.vocabulary.directory)
    own = Path(config.run_dir, locate.TOKENIZER)
    return tokenizers.load(own if own.exists() else prepared, manifest.vocabulary.fingerprint)


def _none_usable(store: CheckpointStore, refused: dict[int, str]) -> UserError:
    newest = max(refused)
    return UserError(
        f"{store.folder}: no checkpoint is usable (newest: {newest}, {refused[newest]}); "
        "move the folder away to begin again at step 0"
    )
