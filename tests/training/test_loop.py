"""The loop: a run that is killed and resumed is the run that was never killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct

import jax
import numpy as np
import pytest
from support import forking
from support.training_runs import (
    MODEL,
    STEPS,
    assert_same_checkpoints,
    data_state,
    losses,
    make_job,
    no_evaluation,
    run,
)
from tensorboardX.proto import event_pb2

from iml_jax.checkpoints import best
from iml_jax.checkpoints.in_use import TRAINING_LEASE
from iml_jax.checkpoints.restore import restore_params
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.data import manifest as manifests
from iml_jax.data import sampled
from iml_jax.data.loader import LoaderConfig
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.parallel.mesh import MeshConfig
from iml_jax.storage import holders, lease
from iml_jax.training.job import complete
from iml_jax.training.loop import train
from iml_jax.training.optimizer import OptimizerConfig


def test_learns_and_leaves_a_run_directory(prepared, tmp_path):
    run_dir = run(make_job(prepared, tmp_path / "run"))
    seen = losses(run_dir)
    assert list(seen) == list(range(1, STEPS + 1))
    assert seen[STEPS] < seen[1] - 0.1
    for name in ("config.gin", "environment.json", "manifest.json", "tensorboard", "checkpoints/12"):
        assert (run_dir / name).exists(), name
    record = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0.5 < record["packing_fill"] <= 1
    assert record["loss_tokens_per_second"] < record["tokens_per_second"]
    assert record["learning_rate"] == pytest.approx(1e-2 * 1 / 10)  # one update before the decay's end
    counts = sampled.load(run_dir)
    assert counts.step == STEPS
    assert list(counts.counts.values()) == data_state(run_dir, STEPS)["sampled"]
    assert list(counts.counts) == [task.name for task in manifests.load(prepared).trained]


def test_resumes_where_it_stopped_bit_for_bit(prepared, tmp_path):
    whole = run(make_job(prepared, tmp_path / "whole"))
    optimizer = OptimizerConfig(peak_learning_rate=1e-2, warmup_steps=2, total_steps=STEPS)
    for stop in (5, 8, STEPS):
        run(make_job(prepared, tmp_path / "parts", train={"steps": stop}, optimizer=optimizer))
    assert_same_checkpoints(whole, tmp_path / "parts", STEPS)
    assert losses(whole) == losses(tmp_path / "parts")
    assert sampled.load(whole) == sampled.load(tmp_path / "parts")


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(prepared, tmp_path, capsys):
    """Damage that keeps the size of the file: a bit of an array, which no reader notices."""
    whole = run(make_job(prepared, tmp_path / "whole"))
    shutil.copytree(whole, tmp_path / "copy")
    for step in (12, 10):
        arrays = (file for file in (tmp_path / f"copy/checkpoints/{step}/state").rglob("*") if file.is_file())
        file = max(arrays, key=lambda file: file.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 4
        file.write_bytes(content)
    capsys.readouterr()
    run(make_job(prepared, tmp_path / "copy"))
    said = capsys.readouterr().err
    for step in (12, 10):
        assert f"checkpoint {step} is not usable (it is damaged (state/" in said
        assert (tmp_path / f"copy/checkpoints/{step}.refused").is_dir()
    assert "resumed at step 8 of 12" in said
    assert_same_checkpoints(whole, tmp_path / "copy", STEPS)


def test_a_run_directory_that_cannot_hold_checkpoints_is_refused_before_the_first_step(prepared, tmp_path):
    for name in ("opt[lr=3e-5]", "a\\b", "a*b"):
        with pytest.raises(UserError, match="choose a"):
            run(make_job(prepared, tmp_path / name))
        assert not (tmp_path / name).exists()


def test_resumes_on_another_mesh(prepared, tmp_path):
    whole = run(make_job(prepared, tmp_path / "whole"))
    optimizer = OptimizerConfig(peak_learning_rate=1e-2, warmup_steps=2, total_steps=STEPS)
    for stop, mesh in ((4, (2, 2, 2)), (8, (1, 4, 2)), (STEPS, (8, 1, 1))):
        job = make_job(
            prepared, tmp_path / "moved", train={"steps": stop}, optimizer=optimizer, mesh=MeshConfig(*mesh)
        )
        run(job)
    assert data_state(whole, STEPS) == data_state(tmp_path / "moved", STEPS)
    first, second = losses(whole), losses(tmp_path / "moved")
    assert first.keys() == second.keys()
    for step, loss in first.items():
        assert second[step] == pytest.approx(loss, rel=1e-5)


CHILD = """
import jax, sys
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
from support.training_runs import make_job, run
run(make_job(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_three_times_it_is_the_run_that_was_never_killed(prepared, tmp_path):
    whole = run(make_job(prepared, tmp_path / "whole"))
    killed = tmp_path / "killed"
    for stop in sorted(np.random.default_rng().choice(range(2, STEPS), 3, replace=False)):
        with forking.Child(CHILD, [prepared, killed]) as child:
            for line in child.stderr:
                if line.startswith("step ") and int(line.split("/")[0].split()[1]) >= stop:
                    child.kill()
                    break
            assert child.wait(timeout=120) == -signal.SIGKILL
    last = forking.run(CHILD, [prepared, killed])
    assert last.returncode == 0, last.stderr
    assert_same_checkpoints(whole, killed, STEPS)
    assert losses(whole) == losses(killed)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(prepared, tmp_path):
    job = make_job(
        prepared,
        tmp_path / "run",
        optimizer=OptimizerConfig(peak_learning_rate=1e30, warmup_steps=0, clip_norm=0),
        checkpoints=CheckpointConfig(every=1, keep=20),
    )
    with pytest.raises(Fault, match=r"step \d+: loss"):
        run(job)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        _, params, _ = restore_params(path)
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in _leaves(params)) or path.name == "1"


def _leaves(tree):
    return jax.tree.leaves(tree)


def test_initial_checkpoint_is_where_it_begins_and_nothing_random_is_made(prepared, tmp_path, monkeypatch):
    first = run(make_job(prepared, tmp_path / "first"))
    monkeypatch.delattr("iml_jax.models.initial.make_params")
    job = make_job(
        prepared,
        tmp_path / "second",
        train={"initial_checkpoint": str(first), "steps": 1},
        optimizer=OptimizerConfig(peak_learning_rate=0.0, warmup_steps=0),
    )
    second = run(job)
    _, expected, _ = restore_params(first)
    _, found, _ = restore_params(second)
    for one, other in zip(_leaves(expected), _leaves(found), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_config_json_of_initial_weights_goes_with_the_run(prepared, tmp_path):
    """So that an export of what was trained has the vocabulary rows and the fields of its origin."""
    _, params, metadata = restore_params(run(make_job(prepared, tmp_path / "first")))
    with CheckpointStore(tmp_path / "converted") as store:
        store.save(0, {"params": params}, None, {**metadata, "updates": 0, "huggingface": {"prefix": "</s>"}})
    for steps in (2, 3):  # begun, then resumed
        trained = {"initial_checkpoint": str(tmp_path / "converted"), "steps": steps}
        place = run(make_job(prepared, tmp_path / "run", train=trained))
        metadata = restore_params(place)[2]
        assert (metadata["updates"], metadata["huggingface"]) == (steps, {"prefix": "</s>"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": MODEL.__class__(vocab_rows=50272)}, "vocabulary has 1000 tokens"),
        ({"loader": LoaderConfig(batch_size=8, length=128)}, r"Loader.length is 128"),
        ({"train": {"accumulation": 3}}, "Train.accumulation 3 does not divide"),
        ({"train": {"steps": 0}}, "Train.steps is 0"),
        ({"mesh": MeshConfig(3, 1, 1)}, "3"),
        ({"loader": LoaderConfig(batch_size=6)}, "Train.accumulation: batch is 6 wide"),
        ({"train": {"accumulation": 4}}, "Train.accumulation: batch is 2 wide"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(prepared, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        run(make_job(prepared, tmp_path / "run", **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_to_its_data_and_its_model(prepared, prepare, tmp_path):
    run(make_job(prepared, tmp_path / "run", train={"steps": 2}))
    saved = (tmp_path / "run" / "config.gin").read_text()
    with pytest.raises(UserError, match="was begun on prepared data"):
        run(make_job(prepare(seed=8), tmp_path / "run"))
    with pytest.raises(UserError, match="ffn"):
        run(make_job(prepared, tmp_path / "run", model=MODEL.__class__(**{**vars(MODEL), "ffn": 128})))
    with pytest.raises(UserError, match="seed"):
        run(make_job(prepared, tmp_path / "run", loader=LoaderConfig(batch_size=8, seed=4)))
    assert (tmp_path / "run" / "config.gin").read_text() == saved
    (tmp_path / "not_a_run").mkdir()
    (tmp_path / "not_a_run" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        run(make_job(prepared, tmp_path / "not_a_run"))


def test_complete_takes_what_the_prepared_data_decides(prepared, tmp_path):
    job, _ = complete(make_job(prepared, tmp_path / "run"))
    assert (job.model.vocab_rows, job.model.vocab_tokens) == (1000, 1000)
    assert job.loader.length == 64
    assert job.optimizer.total_steps == STEPS
    job, _ = complete(make_job(prepared, tmp_path / "run", train={"accumulation": 2}))
    assert job.optimizer.total_steps == STEPS  # updates, whatever the number of micro-batches


def test_the_best_checkpoint_stays_and_an_evaluation_cut_short_is_made_up_for(prepared, tmp_path):
    """Points fall after step 4; the process is killed while it evaluates step 8."""
    points = {4: 50.0, 8: 40.0, 12: 30.0}
    evaluated: list[int] = []

    def evaluator(kill_at):
        def make(job, mesh):
            def at_step(step, params, log):
                if step == kill_at:
                    raise KeyboardInterrupt
                evaluated.append(step)
                folder = tmp_path / "run" / "evaluation"
                folder.mkdir(exist_ok=True)
                (folder / f"{step}.json").write_text("{}")
                return {"selection": points[step]}

            return at_step

        return make

    job = make_job(
        prepared,
        tmp_path / "run",
        train={"evaluate_every": 4},
        checkpoints=CheckpointConfig(every=6, keep=1),
    )
    with pytest.raises(KeyboardInterrupt):
        train(job, "# resolved\n", lambda *known: (), evaluator(8))
    train(job, "# resolved\n", lambda *known: (), evaluator(None))
    assert evaluated == [4, 8, 12]
    assert sorted(
        int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdecimal()
    ) == [
        4,
        12,
    ]
    assert best.read(tmp_path / "run") == best.Best(4, 50.0)
    train(job, "# resolved\n", lambda *known: (), evaluator(None))  # nothing is left to do
    assert evaluated == [4, 8, 12]


def board_steps(run_dir, name="train/loss"):
    """Steps with a point of ``name`` in the event files, as they are on disk now."""
    found = set()
    for file in (run_dir / "tensorboard").iterdir():
        data, place = file.read_bytes(), 0
        while place + 12 <= len(data):  # TFRecord: length, its checksum, the event, its checksum
            (size,) = struct.unpack("<Q", data[place : place + 8])
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + size])
            place += 16 + size
            found |= {event.step for value in event.summary.value if value.tag == name}
    return sorted(found)


def test_points_reach_tensorboard_with_every_save(prepared, tmp_path):
    """kill -9 loses no point of a step that is kept: what is saved is in the event file."""
    on_disk = {}

    def evaluator(job, mesh):
        def at_step(step, params, log):
            on_disk[step] = board_steps(tmp_path / "run")
            return {"selection": float(step)}

        return at_step

    job = make_job(prepared, tmp_path / "run", train={"evaluate_every": 4, "steps": 9})
    train(job, "# resolved\n", lambda *known: (), evaluator)
    assert on_disk == {4: [1, 2, 3, 4], 8: [1, 2, 3, 4, 5, 6, 7, 8]}
    assert board_steps(tmp_path / "run") == list(range(1, 10))
    assert board_steps(tmp_path / "run", "evaluation/selection") == [4, 8]


def test_the_last_step_is_logged_whatever_log_every_is(prepared, tmp_path):
    run(make_job(prepared, tmp_path / "run", train={"steps": 7, "log_every": 5}))
    assert sorted(losses(tmp_path / "run")) == board_steps(tmp_path / "run") == [1, 5, 7]


def test_second_job_on_a_run_is_refused_and_changes_nothing(prepared, tmp_path):
    run_dir = tmp_path / "run"
    with lease.hold(run_dir / TRAINING_LEASE, "the run"):
        before = {path: path.read_bytes() for path in run_dir.rglob("*")}
        with pytest.raises(UserError, match=rf"the run .*run is in use: host .*, pid {os.getpid()}, since"):
            run(make_job(prepared, run_dir))
        assert {path: path.read_bytes() for path in run_dir.rglob("*")} == before


def test_names_of_a_run_do_not_make_a_directory_ours(prepared, tmp_path):
    mine = {"manifest.json": "mine", "tokenizer/vocab.json": "mine", "checkpoints/7/weights": "mine"}
    run_dir = tmp_path / "run"
    for name, text in mine.items():
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_text(text)
    with pytest.raises(UserError, match="is not empty and not a run of iml_jax"):
        run(make_job(prepared, run_dir))
    left = {str(path.relative_to(run_dir)): path.read_text() for path in run_dir.rglob("*") if path.is_file()}
    assert left == mine
    with pytest.raises(UserError, match=r"Train\.run_dir is empty"):
        run(make_job(prepared, ""))


def test_job_whose_run_was_taken_over_saves_nothing(prepared, tmp_path):
    """As after a pause that was longer than the lease's time."""
    run_dir = tmp_path / "run"
    file = run_dir / TRAINING_LEASE

    def take_over(previous_job, mesh):
        other = json.loads(holders.this_process(60.0).line())
        file.unlink()
        file.write_text(json.dumps(other) + "\n0\n")
        return no_evaluation(previous_job, mesh)

    with pytest.raises(Fault, match=r"took it over\); nothing more is written"):
        train(make_job(prepared, run_dir), "resolved = 1\n", lambda *_: None, take_over)
    assert not any((run_dir / "checkpoints").glob("[0-9]*"))
    assert losses(run_dir) == {}
    assert file.exists()  # the other's
