"""Puts an evaluation into its run: ``evaluation/STEP.json`` and ``report.html``."""

from __future__ import annotations

import re
from pathlib import Path

from iml_jax.data.manifest import Manifest
from iml_jax.errors import UserError
from iml_jax.evaluation import levels, report, results
from iml_jax.evaluation.kept import KeptAnswers, folder_of
from iml_jax.evaluation.results import Results
from iml_jax.storage.writing import check_writable

FOLDER = "evaluation"
REPORT = "report.html"


def suite_of(trained_on: str, manifest: Manifest) -> str:
    """The folder's name for evaluations on other prepared data than the run's own; "" for its own.

    A suite (MMLU, say) is prepared by itself; its scores must not replace those of the run's held-out tasks.

    Args:
      trained_on: fingerprint of the manifest that the run was trained on; "" if nobody knows.
      manifest: what is evaluated.
    """
    own = not trained_on or trained_on == manifest.fingerprint
    return "" if own else re.sub(r"[^\w.-]+", "_", manifest.name)


def result_file(run_dir: str | Path, step: int, suite: str = "") -> Path:
    """Where a run keeps the evaluation after ``step`` updates, on its own held-out tasks or on a suite."""
    return Path(run_dir, FOLDER, suite, f"{step}.json")


def saved_steps(run_dir: str | Path) -> list[int]:
    """Steps (updates done) of which the run has an evaluation, on its own tasks or on a suite; ascending."""
    files = Path(run_dir, FOLDER).rglob("*.json")
    return sorted({int(file.stem) for file in files if file.stem.isdecimal()})


def report_file(run_dir: str | Path, suite: str = "") -> Path:
    """The page of the run's latest evaluation, its own or a suite's."""
    return Path(run_dir, FOLDER, suite, REPORT) if suite else Path(run_dir, REPORT)


def start_of_run(run_dir: str | Path, found: Results, suite: str = "") -> tuple[Results | None, str]:
    """The run's evaluation before its first update, where it is over the same examples as ``found``.

    Returns:
      It, or None with the reason ("" where there simply is none).
    """
    file = result_file(run_dir, 0, suite)
    if found.metadata.get("step") == 0 or not file.is_file():
        return None, ""
    try:
        start = results.load(file)
        levels.reference_scores(found, start)
    except UserError as error:
        return None, f"{file} is not used as the reference: {error}"
    return start, ""


def check_places(file: Path, page: Path) -> None:
    """Checks, before a question is answered, that an evaluation can be written.

    Args:
      file: the result file; the predictions and the kept answers lie beside it.
      page: the report.

    Raises:
      UserError: one of them cannot be written; names it and the remedy.
      Fault: the disk is full.
    """
    remedy = "give --output FILE.json in a directory that you may write to"
    for place in (file, results.predictions_path(file), folder_of(file) / "answers", page):
        check_writable(place, remedy)


def publish(run_dir: str | Path, found: Results, suite: str = "") -> tuple[Path, Path]:
    """Saves an evaluation into its run and writes the run's report; the first process only.

    Args:
      run_dir: the run; its ``evaluation/0.json``, where comparable, is the reference, and its
        ``metrics.jsonl`` gives the loss curve.
      found: with ``step`` in its metadata.
      suite: ``suite_of`` what was evaluated.

    Returns:
      The result file and the report.

    Raises:
      Fault: the disk refuses.
    """
    file = results.save(found, result_file(run_dir, int(found.metadata["step"]), suite))
    KeptAnswers(folder_of(file)).clear()
    start, _ = start_of_run(run_dir, found, suite)
    page = report_file(run_dir, suite)
    report.write_report(page, found, reference=start, metrics_file=Path(run_dir, "metrics.jsonl"))
    return file, page
