"""The training loop: batches in, checkpoints, metrics and evaluations out."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from iml_jax.checkpoints import best, locate, places
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore, restore_params
from iml_jax.config.paths import OptionalPath, RequiredPath
from iml_jax.data import manifest as manifests
from iml_jax.data import sampled
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.batch import Batch
from iml_jax.data.loader import Loader, LoaderConfig, make_loader, merge_states
from iml_jax.evaluation.engine.runner import EvaluateConfig
from iml_jax.evaluation.pages import run_outputs
from iml_jax.foundation.errors import Fault, Preempted, UserError
from iml_jax.foundation.seeds import check_seed
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel import environment_check, preemption
from iml_jax.parallel.hosts import agree, gather_json, place_rows, row_spans
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.parallel.rules import check_axis
from iml_jax.storage import ownership
from iml_jax.training import resuming, telemetry
from iml_jax.training.monitor import DATA, EVALUATION, INITIALISING, RESTORING, SAVING, Monitor, SeeingConfig
from iml_jax.training.optimizer import OptimizerConfig
from iml_jax.training.run_directory import Held, check_run, exclusive, write_run
from iml_jax.training.state import TrainState
from iml_jax.training.step import abstract_state, batch_sharding, dropout_key, init_state, make_train_step

SELECTION = "selection"  # the evaluator's value by which the best checkpoint is chosen


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run; gin name ``Train``.

    Attributes:
      run_dir: where the run lives; an existing run is resumed.
      prepared_dir: what ``iml prepare`` wrote.
      steps: updates to do in all.
      accumulation: micro-batches per update. Without dropout the loss is the same for any number, up to the
        rounding of its sums; with dropout each micro-batch draws its own.
      seed: of the initial parameters and of dropout.
      initial_checkpoint: a run or converted checkpoint whose parameters are the start; empty means
        random ones.
      evaluate_every: updates between evaluations; 0 means only where the next field says.
      evaluate_ends: evaluate before the first update and after the last.
      log_every: updates between log lines; the first and the last update have one always.
    """

    run_dir: RequiredPath
    prepared_dir: RequiredPath
    steps: int = 1000
    accumulation: int = 1
    seed: int = 1234
    initial_checkpoint: OptionalPath = ""
    evaluate_every: int = 0
    evaluate_ends: bool = False
    log_every: int = 10

    def __post_init__(self) -> None:
        check_seed("Train.seed", self.seed)


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """Everything that decides a run."""

    train: TrainConfig
    model: OptConfig
    optimizer: OptimizerConfig
    loader: LoaderConfig
    mesh: MeshConfig
    checkpoints: CheckpointConfig
    evaluate: EvaluateConfig
    seeing: SeeingConfig = dataclasses.field(default_factory=SeeingConfig)


def fit_vocabulary(model: OptConfig, vocabulary: manifests.VocabularyEntry, where: Path) -> OptConfig:
    """Takes the vocabulary's size where the model leaves it open, and checks it where not.

    Raises:
      UserError: the model was given another vocabulary's size.
    """
    if model.vocab_rows == 0:
        return dataclasses.replace(model, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens)
    if (model.vocab_rows, model.vocab_tokens) != (vocabulary.rows, vocabulary.tokens):
        raise UserError(
            f"{where}: the vocabulary has {vocabulary.tokens} tokens in {vocabulary.rows} rows, the model "
            f"{model.vocab_tokens} in {model.vocab_rows}; prepare with the model's vocabulary, or set "
            "Model.vocab_rows and Model.vocab_tokens to 0 to take the vocabulary's"
        )
    return model


def complete(job: TrainingJob) -> tuple[TrainingJob, manifests.Manifest]:
    """Fills what the prepared data decides, and checks the rest against it.

    Returns:
      The job with the vocabulary's sizes, the row length and the decay's end filled in; the manifest.

    Raises:
      UserError: the manifest is missing or malformed, or the job does not fit it.
    """
    prepared = Path(job.train.prepared_dir)
    manifest = manifests.load(prepared)
    model = fit_vocabulary(job.model, manifest.vocabulary, prepared / "manifest.json")
    length = job.loader.length or manifest.length
    if length > model.max_positions:
        raise UserError(
            f"Loader.length is {length}, but the model has {model.max_positions} positions; "
            "lower Loader.length or raise Model.max_positions"
        )
    for name, value, least in (
        ("Train.steps", job.train.steps, 1),
        ("Train.accumulation", job.train.accumulation, 1),
        ("Train.log_every", job.train.log_every, 1),
        ("Train.evaluate_every", job.train.evaluate_every, 0),
    ):
        if not least <= value < 2**31:  # updates are counted in int32
            raise UserError(f"{name} is {value}; it must be at least {least}, and below 2**31")
    if job.loader.batch_size % job.train.accumulation:
        raise UserError(
            f"Train.accumulation {job.train.accumulation} does not divide Loader.batch_size "
            f"{job.loader.batch_size}"
        )
    optimizer = job.optimizer
    if optimizer.total_steps == 0:
        optimizer = dataclasses.replace(optimizer, total_steps=job.train.steps)
    loader = dataclasses.replace(job.loader, length=length)
    return dataclasses.replace(job, model=model, loader=loader, optimizer=optimizer), manifest


def _start_state(
    job: TrainingJob, mesh: jax.sharding.Mesh, monitor: Monitor
) -> tuple[TrainState, dict[str, Any] | None]:
    """The state before the first update, and the config.json that its parameters came with, if any.

    The parameters are random, or those of ``initial_checkpoint``.
    """
    source, params, huggingface = job.train.initial_checkpoint, None, None
    if source:  # read before anything is made: a wrong path is told at once
        abstract = abstract_state(job.model, job.optimizer, mesh)
        with monitor.told(RESTORING, f"parameters of {source} restored"):
            shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract.params)
            _, params, metadata = restore_params(Path(source), job.model, shardings)
        huggingface = metadata.get("huggingface")
    with monitor.told(INITIALISING, "optimizer state made" if source else "random parameters made"):
        state = init_state(job.model, job.optimizer, mesh, seed=job.train.seed, params=params)
    return state, huggingface


class _Progress:
    """Metrics, read one step late so that the device never waits for the host."""

    def __init__(
        self, job: TrainingJob, sink: telemetry.Telemetry | None, monitor: Monitor, held: Held
    ) -> None:
        self._sink, self._monitor, self._held = sink, monitor, held
        self._log_every, self._last = job.train.log_every, job.train.steps
        self._positions = job.loader.batch_size * job.loader.length
        self._flops = telemetry.flops_per_step(job.model, job.loader.batch_size, job.loader.length)
        self._window = telemetry.Window()
        self._pending: tuple[int, dict[str, Any]] | None = None

    def push(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes the metrics of a step just dispatched; reads those of the one before."""
        self.flush()
        self._pending = (step, metrics)

    def leave_out(self, seconds: float) -> None:
        """Keeps the time of an evaluation out of the next log line's speeds."""
        self._window.started += seconds

    def flush(self) -> None:
        """Reads what is pending; waits for that step.

        Raises:
          Fault: its loss or gradient is not finite, or another job took the run over.
        """
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        host = telemetry.to_host(metrics)
        if not (math.isfinite(host["loss"]) and math.isfinite(host["gradient_norm"])):
            raise Fault(
                f"step {step}: loss {host['loss']}, gradient norm {host['gradient_norm']}; nothing was saved "
                "since the last good checkpoint; lower Optimizer.peak_learning_rate or Optimizer.clip_norm"
            )
        self._window.add(host)
        if self._sink:
            self._sink.advance(step)
        if step % self._log_every == 0 or step in (1, self._last):
            values = self._window.summary(host, self._positions, self._flops)
            values |= self._monitor.log(values["seconds_per_step"])  # every host: it gathers
            if self._sink:
                self._held.check_here()
                self._sink.write(step, values)
            self._window = telemetry.Window()


Resume = Callable[[str, int | None, manifests.Manifest], Sequence[resuming.Change]]
Evaluator = Callable[[int, Any, Callable[[str], None]], dict[str, float]]


def train(
    job: TrainingJob,
    resolved: str,
    on_resume: Resume,
    evaluator: Callable[[TrainingJob, jax.sharding.Mesh], Evaluator],
) -> Path:
    """Trains to ``job.train.steps`` updates, from the newest checkpoint if there is one.

    Args:
      job: the run; completed by ``complete`` here.
      resolved: the resolved gin text, saved as ``config.gin``.
      on_resume: decides whether this configuration may go on with the run: gets the ``config.gin`` of the
        process before ("" for a new run), the updates done (None without a checkpoint) and the manifest,
        prints what differs, returns what changes (``resuming.accept``). Every process calls it.
      evaluator: makes, for the completed job and its mesh, the function (step, params, say) that
        evaluates, saves and returns the level means.

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
    # The step would find this too, but only when compiled: by then the run's first files are written.
    rows = job.loader.batch_size // job.train.accumulation
    check_axis(mesh, "batch", rows, "Loader.batch_size / Train.accumulation")
    with exclusive(run_dir) as held:
        previous = check_run(run_dir, Path(job.train.prepared_dir), manifest.fingerprint)
        _train(job, manifest, mesh, held, (previous, resolved), on_resume, evaluator)
    return run_dir


def _train(  # noqa: PLR0917
    job: TrainingJob,
    manifest: manifests.Manifest,
    mesh: jax.sharding.Mesh,
    held: Held,
    configs: tuple[str, str],
    on_resume: Resume,
    evaluator: Callable[[TrainingJob, jax.sharding.Mesh], Evaluator],
) -> None:
    """Trains while the run is held; ``configs`` are the one before and the resolved one."""
    previous, resolved = configs
    run_dir = Path(job.train.run_dir)
    first_host = jax.process_index() == 0
    tokenizer = _tokenizer(job.train, manifest)
    step_function = make_train_step(job.model, job.optimizer, mesh, accumulation=job.train.accumulation)
    sharding = batch_sharding(mesh)
    spans = row_spans(sharding, (job.loader.batch_size, job.loader.length))
    loader = make_loader(Path(job.train.prepared_dir), job.loader, rows=spans)
    with (
        preemption.listening(),
        Monitor(job.seeing, run_dir) as monitor,
        CheckpointStore(run_dir, job.checkpoints, check=held.check) as store,
    ):
        latest, refused = store.latest_step(), store.refused()
        # Every host must see one directory; a local disk each would be found only at a restart.
        seen = {"newest checkpoint": str(latest), "begun": str(bool(previous))}
        found = {"fingerprint": manifest.fingerprint}
        agree({"device": environment_check.devices(), "manifest": found, f"{run_dir}:": seen})
        if latest is None and refused:
            raise _none_usable(store, refused)
        changes = on_resume(previous, latest, manifest)
        if latest is None:
            (state, huggingface), first = _start_state(job, mesh, monitor), 0
        else:
            with monitor.told(RESTORING, "checkpoint restored"):
                restored = store.restore_newest(abstract_state(job.model, job.optimizer, mesh), job.model)
                refused = store.refused()  # the checksums may have found more
                if restored is None:
                    raise _none_usable(store, refused)
                loader.restore(restored.data, str(locate.data_state(store.folder / str(store.newest))))
            state, first = restored.state, restored.metadata["updates"]
            huggingface = restored.metadata.get("huggingface")
            if any(change.parameter == resuming.SEED for change in changes):
                state = dataclasses.replace(state, rng=dropout_key(job.train.seed, mesh))
        evaluate = evaluator(job, mesh)  # finds mistakes of its own, before anything is written
        if first_host:
            resuming.write_record(run_dir, first, resuming.recorded(changes) if first else ())
            write_run(run_dir, Path(job.train.prepared_dir), resolved, tokenizer)
        sink = telemetry.Telemetry(run_dir, job.train.steps, first) if first_host else None
        parts = _Parts(
            job,
            manifest,
            huggingface,
            loader,
            store,
            step_function,
            sharding,
            spans,
            evaluate,
            sink,
            monitor,
            held,
        )
        try:
            for step, reason in refused.items():
                parts.say(f"checkpoint {step} is not usable ({reason}); taking the one before")
            shape = (job.model, job.loader.batch_size, job.loader.length)
            devices = list(mesh.devices.flat)
            monitor.begin(first=first, last=job.train.steps, shape=shape, devices=devices, say=parts.say)
            _loop(parts, state, first)
        finally:
            loader.close()
            if sink:
                sink.close()


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


@dataclasses.dataclass(frozen=True)
class _Parts:
    job: TrainingJob
    manifest: manifests.Manifest
    huggingface: dict[str, Any] | None  # the config.json that the initial parameters came with
    loader: Loader
    store: CheckpointStore
    step_function: Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]
    sharding: jax.sharding.NamedSharding
    spans: list[tuple[int, int]]  # the rows of this host
    evaluate: Evaluator
    sink: telemetry.Telemetry | None
    monitor: Monitor
    held: Held

    def say(self, text: str) -> None:
        if self.sink:
            self.sink.say(text)

    def save(self, step: int, state: TrainState) -> None:
        metadata = make_metadata(
            self.job.model,
            step,
            manifest_fingerprint=self.manifest.fingerprint,
            vocabulary_fingerprint=self.manifest.vocabulary.fingerprint,
            vocabulary_tokens=self.manifest.vocabulary.tokens,
            huggingface=self.huggingface,
        )
        data = merge_states(gather_json(self.loader.state()))
        self.store.save(step, state, data, metadata)
        if self.sink:  # the first host
            sampled.save(Path(self.job.train.run_dir), step, data, self.manifest)
            self.sink.flush()

    def evaluation_due(self, step: int) -> bool:
        config = self.job.train
        ends = config.evaluate_ends and step in (0, config.steps)
        return ends or (config.evaluate_every > 0 and step > 0 and step % config.evaluate_every == 0)

    def save_due(self, step: int) -> bool:
        config = self.job
        evaluated = config.checkpoints.keep_best and self.evaluation_due(step)
        # The store is asked first: it must hear of every step.
        return self.store.due(step) or evaluated or step == config.train.steps

    def evaluated(self, step: int) -> bool:
        """Whether a process before, killed since, saved this step's evaluation; every process must call."""
        suite = ""
        if self.job.evaluate.prepared_dir:
            asked = manifests.load(self.job.evaluate.prepared_dir)
            suite = run_outputs.suite_of(self.manifest.fingerprint, asked)
        return gather_json(run_outputs.result_file(self.job.train.run_dir, step, suite).is_file())[0]

    def leave(self, step: int, state: TrainState) -> None:
        """Saves what is not saved and ends the process with status 143; every host does.

        Raises:
          Preempted: always.
          Fault: the save failed.
        """
        if step and self.store.newest != step:
            self.save(step, state)
        self.store.wait()
        kept = f"checkpoint {step} is saved" if step else "nothing was done yet"
        raise Preempted(
            f"preempted (SIGTERM) after step {step} of {self.job.train.steps}; {kept}; "
            "the same command goes on from there"
        )

    def run_evaluation(self, step: int, state: TrainState) -> None:
        try:
            values = self.evaluate(step, state.params, self.say)
        except Preempted:
            self.say(f"SIGTERM: leaving the evaluation of step {step}; finished tasks are kept")
            self.leave(step, state)
            raise
        self.held.check()
        if step and self.job.checkpoints.keep_best and SELECTION in values:
            self.store.wait()  # the best checkpoint must be one that is there
            if self.sink:
                best.offer(Path(self.job.train.run_dir), step, values[SELECTION])
            gather_json(step)  # nobody saves, and with that deletes, before it is named
        points = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in values.items())
        self.say(f"step {step}/{self.job.train.steps}  evaluation, points of 100: {points}")
        if self.sink:
            self.sink.write(step, values, prefix="evaluation")
            self.sink.flush()  # an evaluation that is saved is not made again after a kill

    def to_device(self, rows: Batch) -> Batch:
        shape = (self.job.loader.batch_size, self.job.loader.length)
        return Batch(*(place_rows(field, self.spans, self.sharding, shape) for field in rows))


def _loop(parts: _Parts, state: TrainState, first: int) -> None:
    job = parts.job
    progress, monitor = _Progress(job, parts.sink, parts.monitor, parts.held), parts.monitor
    if first:
        parts.say(f"resumed at step {first} of {job.train.steps}")
    if preemption.reached():  # before the compilation, which may take longer than the platform waits
        parts.leave(first, state)
    # After a resume: the process before may have been killed while it evaluated this step.
    if parts.evaluation_due(first) and not (first and parts.evaluated(first)):
        with monitor.phase(EVALUATION):
            parts.run_evaluation(first, state)
    for step in range(first + 1, job.train.steps + 1):
        with monitor.phase(DATA):
            batch = parts.to_device(next(parts.loader))
        state, metrics = monitor.step(step, parts.step_function, state, batch)
        progress.push(step, metrics)
        parts.store.check()
        leaving = preemption.reached()
        if parts.save_due(step) or leaving:
            progress.flush()  # never save a state whose loss was not seen to be finite
            with monitor.phase(SAVING):
                parts.save(step, state)
        if leaving and (step < job.train.steps or parts.evaluation_due(step)):
            with monitor.phase(SAVING):
                parts.leave(step, state)
        if parts.evaluation_due(step):
            progress.flush()
            started = time.perf_counter()
            with monitor.phase(EVALUATION):
                parts.run_evaluation(step, state)
            progress.leave_out(time.perf_counter() - started)
    progress.flush()
    with monitor.phase(SAVING):
        parts.store.wait()
