"""benchmarks/gpu.py runs without a GPU: the tiny shape, every system that a CPU can run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def benchmark(folder, *arguments):
    """Runs the script on the CPU; returns the finished process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        environment.pop(name, None)
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "gpu.py"),
        "--cache",
        str(folder / "cache"),
        *arguments,
    ]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=500, check=False, env=environment, cwd=folder
    )


@pytest.mark.nightly(seconds=28, reason="a whole run of the benchmark; GPUs are lent to few sessions")
def test_a_tiny_shape_on_the_cpu(tmp_path):
    systems = "ours,ours:remat=full,torch:attention=causal,torch:attention=sdpa:weights=bfloat16"
    done = benchmark(
        tmp_path,
        *("--shape", "tiny", "--device", "cpu", "--no_compile", "--rounds", "1", "--steps", "1"),
        *("--rows", "1", "--systems", systems, "--json", str(tmp_path / "figures.json")),
    )
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "figures.json").read_text())
    assert [record["system"] for record in records] == systems.split(",")
    assert records[0]["times_as_long_as_first"] == [1, 1, 1]
    for record in records:
        assert np.isclose(record["tokens_per_second"], 128 / record["seconds_per_step"][0])
        assert record["mfu_full_attention"] > record["mfu"] > 0
        assert record["system"] in done.stdout


@pytest.mark.slow
def test_without_a_gpu_it_says_so(tmp_path):
    done = benchmark(tmp_path, "--shape", "tiny")
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert "--device cpu works" in done.stderr


def test_it_needs_nothing_of_the_data_side():
    """A machine with a GPU may have jax, flax, torch and transformers, and nothing else."""
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import gpu, systems
        print(*sorted({"tensorflow", "seqio", "t5", "grain", "tokenizers"} & set(sys.modules)))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(ROOT / "benchmarks")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_packed_rows_are_whole_and_positions_restart(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import systems

    from iml_jax.models.sizes import OptConfig

    batch = systems.make_batch(OptConfig(vocab_rows=100, vocab_tokens=100), rows=5, length=64, segments=6)
    for ids, positions in zip(batch.segment_ids, batch.positions, strict=True):
        assert list(np.unique(ids)) == [1, 2, 3, 4, 5, 6]
        assert (np.diff(ids) >= 0).all()
        for one in range(1, 7):
            assert list(positions[ids == one]) == list(range((ids == one).sum()))
    assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
