"""The layers of the package (pyproject.toml, ``tool.importlinter``), against the real imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the package in ``folder``."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_import_runs_upward():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("config/registry.py", "from iml_jax.models import sizes"),
        ("models/sizes.py", "from iml_jax.bench import example"),
        ("training/step.py", "import tensorflow"),
        ("unknown/__init__.py", ""),
        ("evaluation/results.py", "from iml_jax.evaluation.metrics import levels"),
        ("evaluation/metrics/levels.py", "from iml_jax.evaluation.engine import batching"),
        ("evaluation/engine/runner.py", "from iml_jax.evaluation.pages import report"),
    ],
)
def test_an_import_that_runs_upward_is_found(file, line, tmp_path):
    shutil.copytree(ROOT / "iml_jax", tmp_path / "iml_jax", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "iml_jax" / file
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(f"{changed.read_text() if changed.exists() else ''}\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert file.removesuffix(".py").split("/")[0] in done.stdout
