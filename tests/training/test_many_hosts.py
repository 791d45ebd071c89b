"""Real processes with gloo collectives are hosts: they are lost, preempted and replaced in other numbers."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time

import pytest
from support import forking
from support.training_runs import MODEL, data_state, losses, make_job, run

from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.data.loader import LoaderConfig
from iml_jax.training.optimizer import OptimizerConfig

pytestmark = pytest.mark.slow
MANY = 100_000  # steps that no test waits for
OPTIMIZER = OptimizerConfig(peak_learning_rate=1e-3, warmup_steps=2, total_steps=1000)
SHAPES = (
    "vocab_rows",
    "vocab_tokens",
    "hidden",
    "layers",
    "heads",
    "ffn",
    "embed_dim",
    "max_positions",
    "compute_dtype",
)


def start(count, devices, prepared, run_dir, *flags, only=None):
    """``iml train`` on ``count`` hosts of ``devices`` each; mesh 2 x 2 x 2."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bound = {
        **{f"Model.{name}": getattr(MODEL, name) for name in SHAPES},
        "Optimizer.peak_learning_rate": OPTIMIZER.peak_learning_rate,
        "Optimizer.warmup_steps": OPTIMIZER.warmup_steps,
        "Optimizer.total_steps": OPTIMIZER.total_steps,
        "Loader.batch_size": 8,
        "Loader.seed": 3,
        "Checkpoints.every": 4,
        "Train.run_dir": str(run_dir),
        "Train.prepared_dir": str(prepared),
        "Train.steps": MANY,
        "Train.log_every": 1,
        **{f"Mesh.{axis}": 2 for axis in ("data", "fsdp", "tensor")},
        "Distributed.coordinator_address": f"127.0.0.1:{port}",
        "Distributed.num_processes": count,
        "Distributed.heartbeat_timeout": 15,
    }
    command = ["train", f"--cpu_devices={devices}"]
    command += [f"--gin.{name}={value!r}" for name, value in bound.items()]
    return [
        forking.Child(
            forking.IML,
            [*command, f"--gin.Distributed.process_id={host}", *(flags if host == only else ())],
            merged=True,
        )
        for host in range(count)
    ]


@contextlib.contextmanager
def hosts(*arguments, **named):
    processes = start(*arguments, **named)
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for_step(step, run_dir, processes):
    """Until the log knows ``step``, written since this was called: an earlier job may have come further."""
    log = run_dir / "metrics.jsonl"
    deadline, called = time.monotonic() + 900, time.time()
    while time.monotonic() < deadline:
        fresh = log.exists() and log.stat().st_mtime > called
        lines = log.read_text().splitlines() if fresh else []
        if any(json.loads(line)["step"] >= step for line in lines[:-1]):
            return
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, ended[0].communicate()[0]
        time.sleep(0.1)
    raise AssertionError(f"no step {step}")


def ends(process):
    """Exit status and what it said last."""
    said = process.communicate(timeout=900)[0]
    return process.returncode, said.strip().splitlines()[-1], said


def test_hosts_are_lost_preempted_and_others_go_on(prepared, tmp_path):
    run_dir = tmp_path / "run"
    with hosts(2, 4, prepared, run_dir) as two:
        wait_for_step(10, run_dir, two)
        two[1].kill()
        status, last, said = ends(two[0])
    assert status == 1, said
    assert "fault: host 1 of 2" in last, said
    assert "Traceback" not in said

    # The newest checkpoint is damaged as well: the one before is taken, and named.
    newest = CheckpointStore(run_dir).latest_step()
    assert newest >= 8
    (run_dir / "checkpoints" / str(newest) / "state" / "manifest.ocdbt").unlink()
    first = CheckpointStore(run_dir).latest_step()

    with hosts(4, 2, prepared, run_dir) as four:
        wait_for_step(first + 2, run_dir, four)
        four[2].send_signal(signal.SIGTERM)
        time.sleep(0.2)
        four[2].send_signal(signal.SIGTERM)
        found = [ends(process) for process in four]
    assert [status for status, _, _ in found] == [143] * 4, found
    assert len({last for _, last, _ in found}) == 1
    assert f"checkpoint {newest} is not usable (it is damaged" in found[0][2]
    assert (run_dir / "checkpoints" / f"{newest}.refused").is_dir()
    left = CheckpointStore(run_dir).latest_step()
    assert f"preempted (SIGTERM) after step {left} of {MANY}; checkpoint {left} is saved" in found[0][1]

    def alone(place, steps):
        loader, keep = LoaderConfig(batch_size=8, seed=3), CheckpointConfig(every=MANY)
        train = {"steps": steps}
        return run(
            make_job(prepared, place, train=train, optimizer=OPTIMIZER, loader=loader, checkpoints=keep)
        )

    alone(run_dir, left + 3)
    whole = alone(tmp_path / "whole", left + 3)
    assert data_state(whole, left + 3) == data_state(run_dir, left + 3)
    undisturbed, disturbed = losses(whole), losses(run_dir)
    assert list(disturbed) == list(range(1, left + 4))
    for step, loss in undisturbed.items():
        assert disturbed[step] == pytest.approx(loss, rel=1e-5), step


def test_hosts_that_differ_say_so_and_write_nothing(prepared, tmp_path):
    with hosts(2, 4, prepared, tmp_path / "run", "--gin.Train.steps=7", only=1) as two:
        found = [ends(process) for process in two]
    for status, last, said in found:
        assert status == 2, said
        assert "iml: error: hosts differ from host 0: host 1 (" in last
        assert "setting Train.steps is 7, not 100000" in last
    assert not (tmp_path / "run").exists()


def test_the_coordinator_is_lost(prepared, tmp_path):
    with hosts(2, 4, prepared, tmp_path / "run") as two:
        wait_for_step(2, tmp_path / "run", two)
        two[0].kill()
        status, last, said = ends(two[1])
    assert status == 1, said
    assert "iml: fault: host 1 of 2" in last
    assert "host 0, which coordinates" in last
