"""Commands as a terminal runs them, and one whole way through them that several tests look at."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import forking

# Runs one command and writes down which modules its process had loaded at the end.
LISTING_MODULES = """
import json, pathlib, sys
from iml_jax.cli import main
status = main(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(json.dumps(sorted(sys.modules)))
sys.exit(status)
"""

TASKS = (
    "promptsource:mini_match",  # options, trained
    "promptsource:mini_cause/work",  # options, evaluation only
    "super_natural_instructions:task017_thing_note",  # written, trained
    "super_natural_instructions:task020_opposite_report",  # options, trained
    "reasoning:mini_more",  # written, trained
)
TRAIN_STEPS = 80  # fewer, and every answer is empty
MESH = ("--gin.Mesh.data=2", "--gin.Mesh.fsdp=2", "--gin.Mesh.tensor=2")
SHORT = ("--gin.Generate.max_new_tokens=8", "--gin.Evaluate.generate=@Generate()")


@dataclasses.dataclass(frozen=True)
class Finished:
    """One command that has run: exit status, both streams."""

    status: int
    out: str
    err: str


def iml(*words: str | Path, modules: Path | None = None) -> Finished:
    """Runs ``iml WORDS`` in a process of its own; ``modules`` gets the names of what it had loaded."""
    # The tests' own process may have set variables of TensorFlow or jax; a terminal has none.
    # XLA_FLAGS are conftest's: compiled as the tests' own process compiles.
    own = {name for name in os.environ if name.startswith(("TF_", "XLA_", "JAX_"))} - {"XLA_FLAGS"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    if modules is None:
        forked = forking.run(forking.IML, words, env=kept)
        return Finished(forked.returncode, forked.stdout, forked.stderr)
    done = subprocess.run(
        [sys.executable, "-c", LISTING_MODULES, str(modules), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=kept,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@dataclasses.dataclass(frozen=True)
class Way:
    """Where each command of one whole way left its result, and what it said."""

    folder: Path
    prepare: Finished
    before: dict[Path, int]
    again: Finished
    train: Finished
    evaluate: Finished
    to_huggingface: Finished
    to_orbax: Finished
    evaluate_converted: Finished

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def huggingface(self) -> Path:
        return self.folder / "huggingface"

    @property
    def orbax(self) -> Path:
        return self.folder / "orbax"

    @property
    def modules(self) -> Path:
        return self.folder / "modules.json"


def modification_times(folder: Path) -> dict[Path, int]:
    """Every file below a folder, with when it was last written (ns)."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """prepare, prepare again, train, evaluate, convert there and back, evaluate what came back."""
    folder = tmp_path_factory.mktemp("way")
    prepared, run = folder / "prepared", folder / "run"
    prepare = [
        "prepare",
        "--gin_file=mixtures/miniature.gin",
        f"--gin.Miniature.directory={folder / 'bench'}",
        "--gin.Miniature.instances=40",
        "--gin.Miniature.held_out=4",
        "--gin.Miniature.evaluation=6",
        f"--gin.Mixture.train={TASKS!r}",
        f"--gin.Mixture.evaluate={TASKS!r}",
        *("--gin.Mixture.proportions={}", "--gin.Mixture.shares={}"),  # of benchmarks that are not here
        "--gin.Vocabulary.size=400",
        "--gin.Prepare.length=192",
        f"--gin.Prepare.output_dir={prepared}",
    ]
    first = iml(*prepare)
    before = modification_times(folder)
    again = iml(*prepare)
    train = iml(
        "train",
        "--cpu_devices=8",
        "--gin_file=models/opt_tiny.gin",
        *(f"--gin.Model.{name}={size}" for name, size in (("hidden", 32), ("embed_dim", 32), ("ffn", 64))),
        "--gin.Model.layers=2",
        f"--gin.Train.run_dir={run}",
        f"--gin.Train.prepared_dir={prepared}",
        f"--gin.Train.steps={TRAIN_STEPS}",
        "--gin.Train.evaluate_ends=True",
        "--gin.Train.log_every=20",
        "--gin.Loader.batch_size=8",
        "--gin.Optimizer.peak_learning_rate=2e-2",
        "--gin.Optimizer.warmup_steps=2",
        "--gin.Checkpoints.every=40",
        *MESH,
        *SHORT,
        modules=folder / "modules.json",
    )
    return Way(
        folder,
        first,
        before,
        again,
        train,
        iml("evaluate", run, "--cpu_devices=8", *SHORT, *MESH),
        iml("convert", "--to", "huggingface", run, folder / "huggingface"),
        iml("convert", "--to", "orbax", folder / "huggingface", folder / "orbax"),
        iml(
            *("evaluate", folder / "orbax", "--cpu_devices=8", *SHORT, *MESH),
            *(f"--gin.Evaluate.prepared_dir={prepared}", "--output", folder / "converted.json"),
            # A Hugging Face directory does not say how to compute; models/opt_tiny.gin does.
            *("--gin.Model.compute_dtype=float32", "--gin.Model.scan_layers=False"),
        ),
    )
