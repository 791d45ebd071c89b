"""`iml report`: which files a path means, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.commands import report
from iml_jax.evaluation import results

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from support.compared_results import make_results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with evaluations after 0, 90 and 1000 updates, and one of a suite."""
    folder = tmp_path / "run"
    for step, skill in ((0, 0.3), (90, 0.5), (1000, 0.9)):
        results.save(make_results(step, skill), folder / "evaluation" / f"{step}.json")
    results.save(make_results(5, 0.3), folder / "evaluation" / "mmlu" / "1000.json")
    return folder


def test_a_run_alone_is_its_two_ends(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.chdir(run.parent)
    assert cli.main(["report", "run"]) == 0
    out = capsys.readouterr().out
    assert f"A: run, step 0 ({Path('run/evaluation/0.json')})" in out
    assert f"B: run, step 1000 ({Path('run/evaluation/1000.json')})" in out
    page = Path("comparison.html").read_text(encoding="utf-8")
    assert "Comparison of A and B" in page
    assert "run, step 1000" in page


def test_three_evaluations(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "three.html"
    files = [str(run / "evaluation" / "90.json"), str(run), str(run / "evaluation" / "mmlu")]
    assert cli.main(["report", *files, "--output", str(page), "--examples_per_task", "1"]) == 0
    assert "C: run/mmlu, step 1000" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "Comparison of A, B and C" in text
    assert text.count("<article class='answer") == 6


def test_a_log_of_large_evaluations_says_what_is_done(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["report", str(run), "--output", str(tmp_path / "page.html")]
    assert cli.main(command) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(report, "LARGE", 1000)
    assert cli.main(command) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"report: reading {run / 'evaluation' / '0.json'} (1 of 2)",
        f"report: reading {run / 'evaluation' / '1000.json'} (2 of 2)",
        "report: comparing 540 answers",
        "report: intervals of the differences",
        "report: writing the page",
    ]


def test_a_report_needs_no_jax(run: Path, tmp_path: Path) -> None:
    """Its import takes longer and more memory than comparing some thousand answers."""
    code = "import sys; sys.modules['jax'] = None; from iml_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "report", str(run), f"--output={tmp_path / 'page.html'}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_names_tell_the_files_apart(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a/run/evaluation/1.json", "b/run/evaluation/1.json", "b/x.json")]
    assert report.short_names(files) == ["a/run, step 1", "b/run, step 1", f"{tmp_path.name}/b/x"]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli.main(["report", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "evaluation" / "0.json"
    assert "give a second to compare it with" in said(capsys, str(file))
    assert "no such file or directory" in said(capsys, str(run), str(tmp_path / "none"))
    assert "the same evaluation twice" in said(capsys, str(run), str(run / "evaluation" / "1000.json"))
    assert "name the .json beside it" in said(capsys, str(run), str(results.predictions_path(file)))
    assert "must end in .html" in said(capsys, str(run), "--output", "page.pdf")
    assert "must be at least 1" in said(capsys, str(run), "--examples_per_task", "0")
    (tmp_path / "empty").mkdir()
    assert "holds no evaluation STEP.json" in said(capsys, str(run), str(tmp_path / "empty"))
    results.predictions_path(file).unlink()
    assert "0.predictions.jsonl: no such file" in said(capsys, str(run), str(file))
    for name in ("0", "90", "1000"):
        (run / "evaluation" / f"{name}.json").unlink()
    assert str(Path("mmlu/1000.json")) in said(capsys, str(run), str(tmp_path / "empty"))


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_read(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "load", pytest.fail)
    error = said(capsys, str(run), "--output", "/proc/none/page.html")
    assert error.startswith("iml: error: /proc/none/page.html: cannot be written (No such file or directory)")
