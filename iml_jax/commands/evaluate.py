"""``iml evaluate``: a checkpoint's scores per task, category and level, as table, JSON and report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.printing import show
from iml_jax.storage import paths

if TYPE_CHECKING:
    import jax

    from iml_jax.config import Config
    from iml_jax.evaluation.checkpoint import LoadedModel, SavedModel
    from iml_jax.evaluation.results import Results
    from iml_jax.evaluation.runner import EvaluateConfig

HELP = "Score a checkpoint on held-out tasks, per task, category and level."
CONFIGS = ("Evaluate", "Generate", "Mesh", "Model", "Distributed")
SAVED = CONFIGS[:-1]  # how hosts find each other says nothing of the scores
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
        help="another model's evaluation of the same examples, shown beside (default: RUN/evaluation/0.json)",
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default="",
        metavar="FILE.json",
        help="where the scores go, the report beside them (RUN/evaluation/STEP.json and RUN/report.html)",
    )


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Evaluates, prints the tables, writes scores, predictions and report.

    Raises:
      UserError: checkpoint, prepared data, reference or configuration are not what they must be.
      Fault: something cannot be read or written, or the outputs are not finite.
      Preempted: SIGTERM came; answered chunks are kept, and the same command resumes from there.
    """
    from iml_jax.errors import Preempted
    from iml_jax.parallel import distributed, fingerprints, preemption

    with distributed.joined(config.build("Distributed")), preemption.listening():
        fingerprints.check_hosts(lambda: config.resolved(SAVED))
        try:
            _evaluate(arguments, config)
        except Preempted as notice:
            raise Preempted(
                f"{notice}; what is answered so far is kept, and the same command resumes from there"
            ) from notice


def _evaluate(arguments: argparse.Namespace, config: Config) -> None:
    import jax

    from iml_jax.data import manifest as manifests
    from iml_jax.errors import UserError
    from iml_jax.evaluation import kept, levels, publish, report, results, runner
    from iml_jax.evaluation.checkpoint import find_model, load_model

    if arguments.output and not arguments.output.endswith(".json"):
        raise UserError(f"--output {arguments.output}: must end in .json")
    evaluating = config.build("Evaluate")
    given = results.load(arguments.reference) if arguments.reference else None
    # Every mistake that can be known is told before the parameters are read.
    saved = find_model(arguments.checkpoint)
    if saved.run is None and not arguments.output:
        raise UserError(f"{saved.place}: belongs to no run; say with --output FILE.json where the scores go")
    prepared = prepared_directory(saved, evaluating)
    manifest = manifests.load(prepared)
    runner.check_vocabulary(saved.metadata, manifest, prepared, str(saved.place))
    suite = publish.suite_of(str(saved.metadata.get("manifest", "")), manifest)
    publish.check_places(*_places(arguments, saved, suite))
    if given is not None:
        runner.check_reference(evaluating, manifest, given, f"--reference {arguments.reference}")
    loaded = load_model(arguments.checkpoint, make_mesh(config), model_changes(config))
    file, page = _places(arguments, loaded, suite)
    facts = {"checkpoint": str(loaded.place), "step": loaded.step, "config": config.resolved(SAVED)}
    found = runner.evaluate(
        loaded.config, loaded.params, loaded.mesh, prepared, evaluating,
        metadata=facts, keep=kept.folder_of(file),
    )  # fmt: skip
    if given is not None:
        levels.reference_scores(found, given)
    if jax.process_index() == 0:
        reference = given or _start_of_run(loaded, found, suite)
        results.save(found, file)
        kept.KeptAnswers(kept.folder_of(file)).clear()
        curve = loaded.run / "metrics.jsonl" if loaded.run else ""
        report.write_report(page, found, reference=reference, metrics_file=curve)
        report.print_tables(found, reference)
        show(f"scores: {file}\npredictions: {results.predictions_path(file)}\nreport: {page}")


def _places(arguments: argparse.Namespace, model: SavedModel | LoadedModel, suite: str) -> tuple[Path, Path]:
    """The result file and the report page."""
    from iml_jax.evaluation import publish

    if arguments.output:
        file = Path(arguments.output)
        return file, file.with_suffix(".html")
    assert model.run is not None
    return publish.result_file(model.run, model.step, suite), publish.report_file(model.run, suite)


def make_mesh(config: Config) -> jax.sharding.Mesh:
    """``Mesh`` as bound; unbound, parameters and rows cut over all devices."""
    from iml_jax.parallel.mesh import MeshConfig
    from iml_jax.parallel.mesh import make_mesh as build

    return build(config.build("Mesh") if config.bound("Mesh") else MeshConfig(data=1, fsdp=-1, tensor=1))


def model_changes(config: Config) -> dict[str, Any]:
    """The fields of ``Model`` that are bound; a vocabulary size of 0 leaves the checkpoint's."""
    model = config.build("Model")
    changes = {name: getattr(model, name) for name in config.bound("Model")}
    return {name: value for name, value in changes.items() if value != 0 or not name.startswith("vocab_")}


def prepared_directory(loaded: LoadedModel | SavedModel, evaluating: EvaluateConfig) -> Path:
    """``Evaluate.prepared_dir``, else the directory that the run was trained on, as its config.gin says.

    Raises:
      UserError: neither is there, or the run's was prepared anew since.
    """
    from iml_jax import config as configs
    from iml_jax.data import manifest as manifests
    from iml_jax.errors import UserError

    if evaluating.prepared_dir:
        return Path(evaluating.prepared_dir)
    saved = loaded.run / "config.gin" if loaded.run else None
    if saved is None or not saved.is_file():
        raise UserError(
            f"{loaded.place}: no run says what it was trained on; give --gin.Evaluate.prepared_dir=DIR"
        )
    resolved = configs.load_text(saved.read_text(encoding="utf-8"), str(saved))
    prepared = Path(resolved.build("Train").prepared_dir)
    if not prepared.is_dir():
        raise UserError(
            f"{saved}: Train.prepared_dir {prepared} is gone (moved?); give --gin.Evaluate.prepared_dir=DIR"
        )
    trained_on, now = loaded.metadata.get("manifest", ""), manifests.load(prepared).fingerprint
    if trained_on and trained_on != now:
        raise UserError(
            f"{prepared}: was prepared anew since {loaded.place} was trained on it "
            f"({trained_on[:12]}, now {now[:12]}); to evaluate on it all the same give "
            f"--gin.Evaluate.prepared_dir={prepared}"
        )
    return prepared


def _start_of_run(loaded: LoadedModel, found: Results, suite: str) -> Results | None:
    """The run's evaluation before its first update, where there is a comparable one."""
    from iml_jax.evaluation import publish

    if loaded.run is None:
        return None
    start, reason = publish.start_of_run(loaded.run, found, suite)
    if reason:
        show(f"note: {reason}", file=sys.stderr)
    return start
