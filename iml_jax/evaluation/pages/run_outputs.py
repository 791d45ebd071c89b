"""The outputs of evaluations in a run: ``evaluation/STEP.json`` and ``report.html``.

Those names belong to the run's own settings; results of other settings are ``STEP.LABEL.json`` and
``STEP.LABEL.html``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.data.manifest import Manifest
from iml_jax.evaluation import results
from iml_jax.evaluation.engine import settings
from iml_jax.evaluation.metrics import levels
from iml_jax.evaluation.pages import report
from iml_jax.evaluation.results import Results
from iml_jax.foundation.errors import UserError
from iml_jax.storage.writing import check_writable, copy, delete

FOLDER = "evaluation"
REPORT = "report.html"
_RESULT = re.compile(r"([0-9]+)(?:\.([0-9a-f]{8}))?\.json")


def suite_of(trained_on: str, manifest: Manifest) -> str:
    """The folder's name for evaluations on other prepared data than the run's own; "" for its own.

    A suite (MMLU, say) is prepared by itself; its scores must not replace those of the run's held-out tasks.

    Args:
      trained_on: fingerprint of the manifest that the run was trained on; "" if unknown.
      manifest: what is evaluated.
    """
    own = not trained_on or trained_on == manifest.fingerprint
    return "" if own else re.sub(r"[^\w.-]+", "_", manifest.name)


def result_file(run_dir: str | Path, step: int, suite: str = "", label: str = "") -> Path:
    """Where a run keeps the evaluation after ``step`` updates, on its own held-out tasks or on a suite.

    Args:
      label: "" for the settings of the run's own evaluations, ``settings.label_of`` any others.
    """
    return Path(run_dir, FOLDER, suite, f"{step}.{label}.json" if label else f"{step}.json")


def parse(file: Path) -> tuple[int, str] | None:
    """Step and label of a result's file name (``result_file``); None for other names."""
    found = _RESULT.fullmatch(file.name)
    return (int(found[1]), found[2] or "") if found else None


def saved_steps(run_dir: str | Path) -> list[int]:
    """Steps (updates done) of which the run has an evaluation, with any settings and suite; ascending."""
    found = map(parse, Path(run_dir, FOLDER).rglob("*.json"))
    return sorted({known[0] for known in found if known})


def report_file(run_dir: str | Path, suite: str = "", step: int = 0, label: str = "") -> Path:
    """The page of the run's latest evaluation, its own or a suite's; with a label, that of one result."""
    if label:
        return result_file(run_dir, step, suite, label).with_suffix(".html")
    return Path(run_dir, FOLDER, suite, REPORT) if suite else Path(run_dir, REPORT)


def choose_label(
    run_dir: str | Path,
    step: int,
    suite: str,
    wanted: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """The label of an evaluation's file names, so that no result with other settings is replaced.

    The plain names belong to one group of settings: those with which the run evaluates itself, else those of
    the results that have them already, else those that come first.

    Args:
      wanted: ``settings.settings_of`` the evaluation.
      own: those with which the run evaluates itself; None where it does not, or where that is unknown.

    Returns:
      "" for a plain name, else the label, with what differs from the plain results.
    """
    at_step = _settings_in(result_file(run_dir, step, suite))
    plain: list[Mapping[str, Any] | None] = [at_step] if own is None else [own, at_step]
    if own is None and at_step is None:
        files = Path(run_dir, FOLDER, suite).glob("*.json")
        steps = sorted(known[0] for known in map(parse, files) if known and not known[1])
        found = (_settings_in(result_file(run_dir, other, suite)) for other in steps)
        plain = [next((known for known in found if known), None)]
    for known in plain:
        if known is not None and known != wanted:
            return settings.label_of(wanted), settings.differences(wanted, known)
    return "", ""


def _settings_in(file: Path) -> dict[str, Any] | None:
    """The settings of a result; empty for one of a version that did not record them, None where none is."""
    try:
        return dict(results.load(file).metadata.get(settings.KEY) or {})
    except UserError:  # missing, or damaged: then `iml evaluate` writes it again
        return None


def start_of_run(
    run_dir: str | Path, found: Results, suite: str = "", label: str = ""
) -> tuple[Results | None, str]:
    """The run's evaluation before its first update, where it is over the same examples as ``found``.

    That of the same label, else the plain one.

    Returns:
      It, or None with the reason ("" where the run has none).
    """
    file = result_file(run_dir, 0, suite, label)
    file = file if file.is_file() else result_file(run_dir, 0, suite)
    if found.metadata.get("step") == 0 or not file.is_file():
        return None, ""
    try:
        start = results.load(file, predictions=True)
        levels.reference_scores(found, start)
    except UserError as error:
        return None, f"{file} is not used as the reference: {error}"
    return start, ""


def check_output_paths(file: Path, page: Path) -> None:
    """Checks, before a question is answered, that an evaluation can be written.

    Args:
      file: the result file; the predictions and the partial results lie beside it.
      page: the report.

    Raises:
      UserError: one of them cannot be written; names it and the remedy.
      Fault: the disk is full.
    """
    remedy = "give --output FILE.json in a directory that you may write to"
    from iml_jax.evaluation.engine.resume import folder_of  # imports JAX, which `iml report` does without

    for path in (file, results.predictions_path(file), folder_of(file) / "answers", page):
        check_writable(path, remedy)


def save_evaluation(run_dir: str | Path, found: Results, suite: str = "") -> tuple[Path, Path]:
    """Saves an evaluation that the run made of itself and writes its report; the first process only.

    It has the plain name ``STEP.json``. A result of other settings that has it (from before the run's
    settings were changed) gets its label first.

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
    from iml_jax.evaluation.engine.resume import PartialResults, folder_of

    step = int(found.metadata["step"])
    file = result_file(run_dir, step, suite)
    known = _settings_in(file)
    if known is not None and known != found.metadata.get(settings.KEY):
        aside = result_file(run_dir, step, suite, settings.label_of(known))
        # Predictions first, and the result deleted first: where it is, a process killed meanwhile left both.
        with contextlib.suppress(FileNotFoundError):
            copy(results.predictions_path(file), results.predictions_path(aside))
        copy(file, aside)
        delete(file)
        delete(results.predictions_path(file))
    results.save(found, file)
    PartialResults(folder_of(file)).clear()
    start, _ = start_of_run(run_dir, found, suite)
    page = report_file(run_dir, suite)
    report.write_report(page, found, reference=start, metrics_file=Path(run_dir, "metrics.jsonl"))
    return file, page
