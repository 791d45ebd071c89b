"""``iml evaluate``: a checkpoint's scores per task, category and level, as table, JSON and report."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import show
from iml_jax.storage import paths
from iml_jax.storage.reading import read_text

if TYPE_CHECKING:
    from iml_jax.config import Config
    from iml_jax.data.manifest import Manifest
    from iml_jax.evaluation.engine.checkpoint import LoadedModel, SavedModel
    from iml_jax.evaluation.engine.runner import EvaluateConfig
    from iml_jax.evaluation.results import Results

HELP = "Score a checkpoint on held-out tasks, per task, category and level."
CONFIGS = ("Evaluate", "Generate", "Mesh", "Model", "Distributed", "Compilation")
SAVED = CONFIGS[:-2]  # neither the coordinator nor the compilation cache affects the scores
POSITIONALS = (
    (
        "checkpoint",
        "RUN (its newest checkpoint), RUN/checkpoints/STEP, or what `iml convert --to orbax` wrote",
    ),
)
EXAMPLE = "iml evaluate run --gin.Evaluate.examples_per_task=250"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "--reference",
        type=paths.argument,
        default="",
        metavar="FILE.json",
        help="another model's evaluation of the same examples, to compare with "
        "(default: RUN/evaluation/0.json)",
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default="",
        metavar="FILE.json",
        help="where the scores go, the report beside them (RUN/evaluation/STEP.json and RUN/report.html, or "
        "names with a label where settings differ from those of the run's evaluations)",
    )


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Evaluates, prints the tables, writes scores, predictions and report.

    Raises:
      UserError: checkpoint, prepared data, reference or configuration are not what they must be.
      Fault: something cannot be read or written, or the outputs are not finite.
      Preempted: SIGTERM came; answered chunks are saved, and the same command resumes from there.
    """
    from iml_jax.foundation.errors import Preempted
    from iml_jax.parallel import compilation, distributed, environment_check, preemption

    with distributed.joined(config.build("Distributed")), preemption.listening():
        environment_check.check_hosts(lambda: config.resolved(SAVED))
        compilation.use_cache(config.build("Compilation"))
        try:
            with contextlib.ExitStack() as stack:
                _evaluate(arguments, config, stack)
        except Preempted as notice:
            raise Preempted(
                f"{notice}; the answers so far are saved, and the same command resumes from there"
            ) from notice


def _evaluate(arguments: argparse.Namespace, config: Config, stack: contextlib.ExitStack) -> None:
    import jax

    from iml_jax.checkpoints import in_use, metadata
    from iml_jax.data import manifest as manifests
    from iml_jax.evaluation import results
    from iml_jax.evaluation.engine import answering, checkpoint, exclusive, resume, runner, settings
    from iml_jax.evaluation.metrics import levels
    from iml_jax.evaluation.pages import report, report_tables, run_outputs
    from iml_jax.parallel.mesh import MeshConfig

    if arguments.output and not arguments.output.endswith(".json"):
        raise UserError(f"--output {arguments.output}: must end in .json")
    evaluating = config.build("Evaluate")
    given = results.load(arguments.reference, predictions=True) if arguments.reference else None
    # Every mistake that can be found is reported before the parameters are read.
    saved = checkpoint.find_model(arguments.checkpoint)
    if saved.run is None and not arguments.output:
        raise UserError(f"{saved.path}: belongs to no run; give --output FILE.json for the scores")
    prepared = prepared_directory(saved, evaluating)
    manifest = manifests.load(prepared)
    runner.check_vocabulary(saved.metadata, manifest, prepared, str(saved.path))
    suite = run_outputs.suite_of(str(saved.metadata.get("manifest", "")), manifest)
    model = dataclasses.replace(
        metadata.model_of(saved.metadata, str(saved.path)), **checkpoint.model_changes(config)
    )
    wanted = settings.settings_of(model, manifest, evaluating)
    label, differing = _label(arguments, saved, suite, manifest, wanted)
    paths_of_result = _output_paths(arguments, saved, suite, label)
    _check_output_paths(arguments, *paths_of_result)
    if given is not None:
        runner.check_reference(evaluating, manifest, given, f"--reference {arguments.reference}")
    check = stack.enter_context(exclusive.held_result(paths_of_result[0]))
    loaded = checkpoint.load_model(
        arguments.checkpoint, checkpoint.make_mesh(config), checkpoint.model_changes(config)
    )
    file, page = _output_paths(arguments, loaded, suite, label)
    if file != paths_of_result[0]:  # the newest checkpoint was damaged, or another one is the newest by now
        check = stack.enter_context(exclusive.held_result(file))
    stack.enter_context(in_use.marked(loaded.path))
    generate = answering.settings(evaluating)
    asked = dataclasses.replace(evaluating, prepared_dir=str(prepared), generate=generate)
    used = {"Model": loaded.model.config, "Mesh": MeshConfig(**loaded.model.mesh.shape)}
    used |= {"Evaluate": asked, "Generate": asked.generate}
    provenance = {"checkpoint": str(loaded.path), "step": loaded.step, "config": config.resolved(SAVED, used)}
    found = runner.evaluate(
        loaded.model, prepared, evaluating,
        metadata=provenance, keep=resume.folder_of(file),
    )  # fmt: skip
    if given is not None:
        levels.reference_scores(found, given)
    if jax.process_index() == 0:
        reference = given or _start_of_run(loaded, found, suite, label)
        check()
        results.save(found, file)
        resume.PartialResults(resume.folder_of(file)).clear()
        report.write_report(
            page, found, reference=reference, metrics_file=loaded.run / "metrics.jsonl" if loaded.run else ""
        )
        report_tables.print_tables(found, reference)
        if differing:
            show(
                f"note: the settings differ from those of {loaded.run}'s evaluations ({differing}); "
                f"these results are saved as {file.name}",
                file=sys.stderr,
            )
        show(f"scores: {file}\npredictions: {results.predictions_path(file)}\nreport: {page}")


def _label(
    arguments: argparse.Namespace, saved: SavedModel, suite: str, manifest: Manifest, wanted: dict[str, Any]
) -> tuple[str, str]:
    """``run_outputs.choose_label`` in the run; the first process looks for all."""
    from iml_jax.checkpoints.metadata import model_of
    from iml_jax.evaluation.engine import settings
    from iml_jax.evaluation.pages import run_outputs
    from iml_jax.parallel.hosts import gather_json

    if arguments.output or saved.run is None:
        return "", ""
    own = None
    known = run_config(saved)
    evaluates = known and (known.value("Train", "evaluate_every") or known.value("Train", "evaluate_ends"))
    if known and evaluates and not suite and not known.value("Evaluate", "prepared_dir"):
        model = model_of(saved.metadata, str(saved.path))
        own = settings.settings_of(model, manifest, known.build("Evaluate"))
    label, differing = gather_json(run_outputs.choose_label(saved.run, saved.step, suite, wanted, own))[0]
    return label, differing


def _check_output_paths(arguments: argparse.Namespace, file: Path, page: Path) -> None:
    """Checks that the result and the page can be written, and replace no foreign file."""
    from iml_jax.evaluation.engine import exclusive
    from iml_jax.evaluation.pages import run_outputs

    run_outputs.check_output_paths(file, page)
    exclusive.check_page(page)
    if arguments.output:
        exclusive.check_result(file)


def _output_paths(
    arguments: argparse.Namespace, model: SavedModel | LoadedModel, suite: str, label: str
) -> tuple[Path, Path]:
    """The result file and the report page."""
    from iml_jax.evaluation.pages import run_outputs

    if arguments.output:
        file = Path(arguments.output)
        return file, file.with_suffix(".html")
    assert model.run is not None
    file = run_outputs.result_file(model.run, model.step, suite, label)
    return file, run_outputs.report_file(model.run, suite, model.step, label)


def run_config(model: LoadedModel | SavedModel) -> Config | None:
    """The configuration that a run was trained with; None for a checkpoint without one.

    Raises:
      UserError: its config.gin is not a valid configuration.
    """
    from iml_jax import config as configs

    saved = model.run / "config.gin" if model.run else None
    if saved is None or not saved.is_file():
        return None
    return configs.load_text(read_text(saved), str(saved))


def prepared_directory(loaded: LoadedModel | SavedModel, evaluating: EvaluateConfig) -> Path:
    """``Evaluate.prepared_dir``, else the directory that the run was trained on, as its config.gin says.

    Raises:
      UserError: neither exists, or the run's was prepared again since.
    """
    from iml_jax.data import manifest as manifests

    if evaluating.prepared_dir:
        return Path(evaluating.prepared_dir)
    known = run_config(loaded)
    if known is None:
        raise UserError(
            f"{loaded.path}: no run says what it was trained on; give --gin.Evaluate.prepared_dir=DIR"
        )
    prepared = Path(known.build("Train").prepared_dir)
    if not prepared.is_dir():
        raise UserError(
            f"{loaded.run}/config.gin: Train.prepared_dir {prepared} is gone; "
            "give --gin.Evaluate.prepared_dir=DIR, the directory that it was moved to"
        )
    trained_on, now = loaded.metadata.get("manifest", ""), manifests.load(prepared).fingerprint
    if trained_on and trained_on != now:
        raise UserError(
            f"{prepared}: was prepared again since {loaded.path} was trained on it "
            f"({trained_on[:12]}, now {now[:12]}); to evaluate on it nevertheless give "
            f"--gin.Evaluate.prepared_dir={prepared}"
        )
    return prepared


def _start_of_run(loaded: LoadedModel, found: Results, suite: str, label: str) -> Results | None:
    """The run's evaluation before its first update, where there is a comparable one."""
    from iml_jax.evaluation.pages import run_outputs

    if loaded.run is None:
        return None
    start, reason = run_outputs.start_of_run(loaded.run, found, suite, label)
    if reason:
        show(f"note: {reason}", file=sys.stderr)
    return start
