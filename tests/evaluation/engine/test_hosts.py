"""Two real processes with gloo collectives are two hosts: they find what one device finds."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from support import forking
from support.prepared_questions import make_questions
from support.random_opt import PRE_NORM, on_mesh, random_params

from iml_jax.data import manifest as manifests
from iml_jax.evaluation import results
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig, evaluate
from iml_jax.models.handle import Model

ONE_HOST = Path(__file__).parents[2] / "support" / "one_host.py"


def _run_hosts(prepared: Path, output: Path, count: int, devices: int, *more: str) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    hosts = [
        forking.Child(
            ONE_HOST.read_text(),
            [prepared, output, n, count, port, devices, *more],
            env=environment,
            merged=True,
        )
        for n in range(count)
    ]
    said = [host.communicate(timeout=540)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0] * count, "\n".join(said)
    return said


@pytest.mark.slow
def test_two_hosts_are_one_device(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    make_questions(prepared, examples=7)  # 7 questions in batches over 4 rows: uneven ends
    vocabulary = manifests.load(prepared).vocabulary
    config = dataclasses.replace(PRE_NORM, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens)
    params, mesh = on_mesh(config, random_params(config, np.random.default_rng(5)))
    asked = EvaluateConfig(batch_size=4, generate=GenerateConfig(max_new_tokens=5, batch_size=3))
    alone = evaluate(Model(config, params, mesh), prepared, asked, log=lambda text: None)
    keep = tmp_path / "kept"
    _run_hosts(prepared, tmp_path / "two.json", 2, 4, str(keep))
    together = results.load(tmp_path / "two.json", predictions=True)
    assert together.metadata["mesh"] == {"data": 2, "fsdp": 2, "tensor": 2}
    assert together.metadata["weights"] == alone.metadata["weights"]
    assert together.tasks == alone.tasks
    for one, same in zip(alone.predictions, together.predictions, strict=True):
        np.testing.assert_allclose(one.log_likelihoods, same.log_likelihoods, atol=1e-4)
        assert dataclasses.replace(one, log_likelihoods=()) == dataclasses.replace(same, log_likelihoods=())
    # What two hosts kept, one goes on with.
    said: list[str] = []
    again = evaluate(Model(config, params, mesh), prepared, asked, log=said.append, keep=keep)
    assert said == ["30 of 30 prompts were answered before; resuming with the rest"]
    assert again.predictions == together.predictions
