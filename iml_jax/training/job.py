"""What decides a training run: its configurations, completed by what the prepared data decides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from iml_jax.checkpoints.store import CheckpointConfig
from iml_jax.config.paths import OptionalPath, RequiredPath
from iml_jax.data import manifest as manifests
from iml_jax.data.loader import LoaderConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.seeds import check_seed
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig
from iml_jax.training.monitor import ObservabilityConfig
from iml_jax.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run; gin name ``Train``."""

    run_dir: RequiredPath = dataclasses.field(
        metadata={"help": "where the run lives; an existing run is resumed."}
    )
    prepared_dir: RequiredPath = dataclasses.field(metadata={"help": "what ``iml prepare`` wrote."})
    steps: int = dataclasses.field(default=1000, metadata={"help": "updates to do in all."})
    accumulation: int = dataclasses.field(
        default=1,
        metadata={
            "help": "micro-batches per update. Without dropout the loss is the same for any number, "
            "up to the rounding of its sums; with dropout each micro-batch draws its own."
        },
    )
    seed: int = dataclasses.field(
        default=1234, metadata={"help": "of the initial parameters and of dropout."}
    )
    initial_checkpoint: OptionalPath = dataclasses.field(
        default="",
        metadata={
            "help": "a run or converted checkpoint whose parameters are the start; empty means random ones."
        },
    )
    evaluate_every: int = dataclasses.field(
        default=0, metadata={"help": "updates between evaluations; 0 means only where the next field says."}
    )
    evaluate_ends: bool = dataclasses.field(
        default=False, metadata={"help": "evaluate before the first update and after the last."}
    )
    log_every: int = dataclasses.field(
        default=10,
        metadata={"help": "updates between log lines; the first and the last update have one always."},
    )

    def __post_init__(self) -> None:
        check_seed("Train.seed", self.seed)

    def evaluation_due(self, step: int) -> bool:
        """Whether the model after ``step`` updates is to be evaluated."""
        ends = self.evaluate_ends and step in (0, self.steps)
        return ends or (self.evaluate_every > 0 and step > 0 and step % self.evaluate_every == 0)


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
    observability: ObservabilityConfig = dataclasses.field(default_factory=ObservabilityConfig)


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
        ("Train.log_every", job.train.log_every, 1),
        ("Train.evaluate_every", job.train.evaluate_every, 0),
    ):
        if not least <= value < 2**31:  # updates are counted in int32
            raise UserError(f"{name} is {value}; it must be at least {least}, and below 2**31")
    optimizer = job.optimizer
    if optimizer.total_steps == 0:
        optimizer = dataclasses.replace(optimizer, total_steps=job.train.steps)
    loader = dataclasses.replace(job.loader, length=length)
    return dataclasses.replace(job, model=model, loader=loader, optimizer=optimizer), manifest
