"""``iml train``: instruction-tune, from the newest checkpoint of the run if there is one."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.foundation.printing import show
from iml_jax.storage import paths

if TYPE_CHECKING:
    import jax

    from iml_jax.config import Config
    from iml_jax.data.manifest import Manifest
    from iml_jax.training.job import TrainingJob
    from iml_jax.training.run import Evaluator

HELP = "Instruction-tune a model on a prepared directory; resumes where it stopped."
CONFIGS = (
    *("Train", "Model", "Optimizer", "Loader", "Mesh", "Checkpoints", "Evaluate", "Generate"),
    *("Telemetry", "Profiler", "Watchdog"),
    *("Distributed", "Compilation", "Hooks"),
)
# How hosts find each other, where programs are cached and the user's hooks do not belong to the run.
SAVED = CONFIGS[:-3]
EXAMPLE = (
    "iml train --gin_file=models/opt_125m.gin --gin_file=runs/opt_iml_30b.gin "
    "--gin.Train.prepared_dir=prepared --gin.Train.run_dir=run"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "--allow_changed",
        action="append",
        default=[],
        metavar="NAME",
        help="a parameter, such as Optimizer.peak_learning_rate, that this resume may change; may be "
        "repeated (docs/training.md has the table)",
    )
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="a Python module, looked for in the working directory as well, that is imported before gin is "
        "read, such as one that registers hooks (docs/training.md); may be repeated",
    )


def before_configuration(arguments: argparse.Namespace) -> None:
    """Imports the user's modules, so that gin knows what they register.

    Raises:
      UserError: one is missing or fails.
    """
    from iml_jax.foundation.modules import import_module

    for name in arguments.module:
        import_module(name, "--module")


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Trains and, as ``Train`` says, evaluates; prints where the run and its report lie."""
    from iml_jax.parallel import compilation, distributed, environment_check, preemption

    # Joins before anything asks for a device.
    with distributed.joined(config.build("Distributed")), preemption.listening():
        environment_check.check_hosts(lambda: config.resolved(SAVED))
        compilation.use_cache(config.build("Compilation"))
        _train(arguments, config)


def _train(arguments: argparse.Namespace, config: Config) -> None:
    import jax

    from iml_jax.training import resuming
    from iml_jax.training.job import TrainingJob
    from iml_jax.training.loop import train
    from iml_jax.training.monitor import ObservabilityConfig

    job = TrainingJob(
        train=config.build("Train"),
        model=config.build("Model"),
        optimizer=config.build("Optimizer"),
        loader=config.build("Loader"),
        mesh=config.build("Mesh"),
        checkpoints=config.build("Checkpoints"),
        evaluate=config.build("Evaluate"),
        observability=ObservabilityConfig(
            config.build("Telemetry"), config.build("Profiler"), config.build("Watchdog")
        ),
    )

    def on_resume(previous: str, done: int | None, manifest: Manifest) -> tuple[resuming.Change, ...]:
        allowed = arguments.allow_changed
        place = Path(job.train.run_dir)
        changes = resuming.accept(config, SAVED, previous, done, manifest, place, allowed)
        lines = config.diff(previous) if previous and not jax.process_index() else []
        for line in [*lines, *(change.line() for change in changes if change.follows)]:
            show(f"resume: {line}", file=sys.stderr)
        return changes

    resuming.check_names(arguments.allow_changed)
    check_not_moved(arguments.gin_file, job.train.run_dir)
    resolved = config.resolved(SAVED)
    hooks = config.build("Hooks").hooks
    run_dir = train(job, resolved, on_resume, functools.partial(_evaluator, config), hooks)
    if jax.process_index():
        return
    show(f"run: {run_dir}")
    if (run_dir / "report.html").is_file():
        show(f"report: {run_dir / 'report.html'}")


def check_not_moved(gin_files: Sequence[str], run_dir: str) -> None:
    """Checks that ``--gin_file=RUN/config.gin`` does not begin a second run where RUN used to be.

    Args:
      gin_files: as given.
      run_dir: ``Train.run_dir`` as bound.

    Raises:
      UserError: one of them is the configuration of a run that was moved.
    """
    from iml_jax import config
    from iml_jax.checkpoints import locate
    from iml_jax.config import files
    from iml_jax.foundation.errors import UserError
    from iml_jax.training.run_directory import CONFIG

    for name in gin_files:
        file = paths.absolute(files.find(name))
        if file.name != CONFIG or not (file.parent / locate.FOLDER).is_dir() or Path(run_dir).exists():
            continue
        if config.load([str(file)]).value("Train", "run_dir") == run_dir:
            raise UserError(
                f"{file}: Train.run_dir {run_dir} does not exist; if the run was moved, give "
                f"--gin.Train.run_dir={file.parent}, and --gin.Train.prepared_dir=DIR where that moved too"
            )


def _evaluator(config: Config, job: TrainingJob, mesh: jax.sharding.Mesh) -> Evaluator:
    """Binds evaluation to the training mesh: the same parameters, no copy."""
    import jax

    from iml_jax.data import manifest as manifests
    from iml_jax.evaluation.engine import answering, exclusive, generation, resume, runner
    from iml_jax.evaluation.metrics import levels
    from iml_jax.evaluation.pages import run_outputs
    from iml_jax.models.handle import Model
    from iml_jax.parallel.mesh import MeshConfig

    run_dir = Path(job.train.run_dir)
    prepared_dir = Path(job.evaluate.prepared_dir or job.train.prepared_dir)
    trained_on = manifests.load(Path(job.train.prepared_dir))
    manifest = manifests.load(prepared_dir)
    suite = run_outputs.suite_of(trained_on.fingerprint, manifest)
    generate = answering.settings(job.evaluate)
    asked = dataclasses.replace(job.evaluate, prepared_dir=str(prepared_dir), generate=generate)
    completed = {"Train": job.train, "Model": job.model, "Optimizer": job.optimizer, "Loader": job.loader}
    completed |= {"Mesh": MeshConfig(**mesh.shape), "Evaluate": asked, "Generate": asked.generate}
    used = config.resolved(SAVED, completed)
    if job.train.evaluate_ends or job.train.evaluate_every:  # a mistake is told now, not hours later
        vocabulary = {"vocabulary": {"fingerprint": trained_on.vocabulary.fingerprint}}
        runner.check_vocabulary(vocabulary, manifest, prepared_dir, str(run_dir))
        runner.check(job.evaluate, manifest)
        generation.check_settings(generate)
        runner.check_positions(job.model, manifest, prepared_dir, job.evaluate)

    def at_step(step: int, params: Any, log: Callable[[str], None]) -> dict[str, float]:
        facts = {"checkpoint": str(run_dir), "step": step, "config": used}
        file = run_outputs.result_file(run_dir, step, suite)
        keep = resume.folder_of(file)
        with exclusive.held_result(file, patient=True, log=log) as check:
            found = runner.evaluate(
                Model(job.model, params, mesh), prepared_dir, job.evaluate, metadata=facts, log=log, keep=keep
            )
            if jax.process_index() == 0:
                check()
                run_outputs.save_evaluation(run_dir, found, suite)
        return levels.level_metrics(found.tasks)

    return at_step
