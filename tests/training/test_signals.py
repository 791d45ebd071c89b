"""SIGTERM and Ctrl-C, sent to real processes at known places; the same command then goes on, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import sys

import numpy as np
import pytest
from support import forking
from support.fixtures_prepared import SyntheticTask, random_rows, write_prepared
from support.prepared_questions import make_questions
from support.training_runs import assert_same_checkpoints

from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.data import manifest as manifests

pytestmark = pytest.mark.slow
STEPS = 12
# Stops at one place, says so, and goes on when the signal has come.
PARKING = """
import signal, sys, threading, time
from iml_jax import cli
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.evaluation.engine import progress, runner
from iml_jax.parallel import preemption
from iml_jax.training.step import TrainStep
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent's shell made of it
place, number = sys.argv.pop(1).split(":")
calls = 0
def parked():
    print("parked", flush=True)
def park(name):
    global calls
    calls += name == place
    if name == place and calls == int(number):
        parked()
        while not preemption._notice.received:
            time.sleep(0.02)
save, advance, update = CheckpointStore.save, progress.Meter.advance, TrainStep.__call__
def saving(self, *arguments):
    save(self, *arguments)  # it is being written now
    park("save")
def advancing(self, rows):
    park("evaluation")
    advance(self, rows)
def updating(self, state, batch):
    global calls
    if place == "compilation" and not calls:
        calls = 1
        threading.Timer(0.2, parked).start()
    return update(self, state, batch)
CheckpointStore.save, progress.Meter.advance, TrainStep.__call__ = saving, advancing, updating
runner.CHUNK = 8  # questions: of 26 there are four chunks
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Tasks to train on and tasks with questions, one vocabulary."""
    directory = tmp_path_factory.mktemp("prepared")
    make_questions(directory, examples=6)
    asked = manifests.load(directory)
    rng = np.random.default_rng(7)
    rows = random_rows(rng, 60)
    for row in rows:
        row["prompt_ids"], row["target_ids"] = (
            row["prompt_ids"] % 60 + 4,
            np.append(row["target_ids"][:-1] % 60 + 4, 2),
        )
    trained = write_prepared(directory, [SyntheticTask("bench:train:zero_shot", {"train": rows}, rate=1.0)])
    # Every process would import NLTK for Rouge-L.
    plain = tuple(dataclasses.replace(task, metric="exact_match") for task in asked.tasks)
    manifests.save(dataclasses.replace(asked, tasks=trained.tasks + plain), directory)
    return directory


@pytest.fixture(autouse=True, scope="module")
def compiled_once(tmp_path_factory):
    """The same programs are compiled by one process after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
        yield


def bound(values):
    return [f"--gin.{name}={value!r}" for name, value in values.items()]


def start(arguments, place="nowhere:0"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if place.startswith("compilation"):  # must take its time
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return forking.Child(PARKING, [place, *arguments], env=environment, merged=True)


def ends(processes, parked=None, number=signal.SIGTERM):
    """(statuses, all that was said, of each); ``parked`` gets the signal when it is at its place."""
    said = ""
    try:
        if parked is not None:
            for line in parked.stdout:
                said += line
                if line == "parked\n":
                    break
            else:
                raise AssertionError(said)
            parked.send_signal(number)
        last = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    pairs = zip(processes, last, strict=True)
    texts = [said + text if process is parked else text for process, text in pairs]
    return [process.returncode for process in processes], texts


def train(count, prepared, run_dir, place="nowhere:0", *, at=0, number=signal.SIGTERM):
    """The run on ``count`` processes, two devices in all; process ``at`` gets a signal at ``place``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {
        **{"Model.hidden": 32, "Model.layers": 2, "Model.heads": 4, "Model.ffn": 64, "Model.embed_dim": 32},
        **{"Model.vocab_rows": 0, "Model.vocab_tokens": 0, "Model.max_positions": 64},
        **{"Mesh.data": 1, "Mesh.fsdp": 2, "Mesh.tensor": 1, "Loader.batch_size": 8, "Loader.seed": 3},
        **{"Optimizer.peak_learning_rate": 1e-3, "Optimizer.warmup_steps": 2},
        **{"Model.compute_dtype": "float32"},
        **{"Checkpoints.every": 7, "Checkpoints.keep": 20, "Checkpoints.keep_best": False},
        **{"Train.steps": STEPS, "Train.log_every": 1, "Train.evaluate_every": 5},
        **{"Train.run_dir": str(run_dir), "Train.prepared_dir": str(prepared)},
        **{"Evaluate.batch_size": 2, "Generate.batch_size": 4, "Generate.max_new_tokens": 4},
    }  # fmt: skip
    if count > 1:
        values |= {"Distributed.coordinator_address": f"127.0.0.1:{port}", "Distributed.num_processes": count}
    processes = []
    for host in range(count):
        own = {"Distributed.process_id": host} if count > 1 else {}
        command = ["train", f"--cpu_devices={2 // count}", *bound(values | own)]
        processes.append(start(command, place if host == at else "nowhere:0"))
    return ends(processes, None if place == "nowhere:0" else processes[at], number)


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The run of one process that no signal reaches."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    statuses, said = train(1, prepared, run_dir)
    assert statuses == [0], said
    return run_dir


_ALONE = pytest.mark.nightly(
    seconds=32, reason="the same places in one process; two processes, compared bit for bit, are in the suite"
)


@pytest.mark.parametrize("count", [pytest.param(1, marks=_ALONE), 2])
def test_preempted_while_compiling_evaluating_and_saving(count, prepared, whole, tmp_path):
    """However many processes share the two devices, the run is that of one undisturbed process."""
    run_dir = tmp_path / "run"
    # On several hosts the last one hears of it, two or three steps before all leave.
    for place, at, steps in (
        ("compilation:1", count - 1, {1} if count == 1 else {2, 3, 4}),
        ("evaluation:2", count - 1, {5}),
        ("save:1", 0, {8} if count == 1 else {9, 10}),
    ):
        statuses, said = train(count, prepared, run_dir, place, at=at)
        assert statuses == [143] * count, said
        left = CheckpointStore(run_dir).latest_step()
        assert left in steps, said
        line = (
            f"iml: preempted (SIGTERM) after step {left} of {STEPS}; checkpoint {left} is saved; "
            "the same command resumes from there"
        )
        assert [text.splitlines()[-1] for text in said] == [line] * count
        assert "Traceback" not in "".join(said)
    statuses, said = train(count, prepared, run_dir)
    assert statuses == [0] * count, said
    assert_same_checkpoints(whole, run_dir, STEPS)
    assert losses_of(run_dir) == losses_of(whole)
    for step in (5, 10):
        one, other = (folder / "evaluation" for folder in (whole, run_dir))
        name = f"{step}.predictions.jsonl"
        assert (one / name).read_bytes() == (other / name).read_bytes()


def losses_of(run_dir):
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_an_evaluation_that_is_preempted_and_interrupted_resumes(whole, tmp_path):
    run_dir = whole

    def evaluate(output, place="nowhere:0", number=signal.SIGTERM):
        command = [
            "evaluate", str(run_dir), f"--output={tmp_path / output}.json", "--cpu_devices=2",
            "--gin.Evaluate.batch_size=2", "--gin.Generate.batch_size=4", "--gin.Generate.max_new_tokens=4",
        ]  # fmt: skip
        process = start(command, place)
        (status,), (text,) = ends([process], None if place == "nowhere:0" else process, number)
        return status, text

    status, text = evaluate("whole")
    assert status == 0, text
    status, text = evaluate("again", "evaluation:4")
    assert (status, text.splitlines()[-1]) == (
        143,
        "iml: preempted (SIGTERM); the answers so far are saved, and the same command resumes from there",
    )
    kept = tmp_path / "again.unfinished"
    first = len(list(kept.iterdir()))
    assert 0 < first < 4 and not (tmp_path / "again.json").exists()
    status, text = evaluate("again", "evaluation:2", signal.SIGINT)
    assert (status, text.splitlines()[-1]) == (130, "iml: interrupted"), text
    assert f"{8 * first} of 26 prompts were answered before" in text and "Traceback" not in text
    status, text = evaluate("again")
    assert status == 0, text
    assert not kept.exists()
    name = "{}.predictions.jsonl".format
    assert (tmp_path / name("again")).read_bytes() == (tmp_path / name("whole")).read_bytes()
    one, other = (json.loads((tmp_path / f"{output}.json").read_text()) for output in ("whole", "again"))
    assert one["tasks"] == other["tasks"]


def test_ctrl_c_during_a_step_and_a_save(prepared, tmp_path):
    run_dir = tmp_path / "run"
    for place, left in (("compilation:1", None), ("save:1", 7)):
        shutil.rmtree(run_dir, ignore_errors=True)
        statuses, said = train(1, prepared, run_dir, place, number=signal.SIGINT)
        assert statuses == [130], said
        assert said[0].splitlines()[-1] == "iml: interrupted"
        assert "Traceback" not in said[0]
        assert CheckpointStore(run_dir).latest_step() == left  # the save under way is finished
        assert not list(run_dir.glob("checkpoints/*tmp*"))
