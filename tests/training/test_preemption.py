"""SIGTERM at any moment: nothing but the step in flight is lost, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support.training_runs import (
    STEPS,
    assert_same_checkpoints,
    losses,
    make_job,
    no_evaluation,
    prepare,
    prepared,
    run,
)

from iml_jax import cli
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.foundation.errors import Preempted
from iml_jax.parallel import preemption
from iml_jax.training import loop
from iml_jax.training.optimizer import OptimizerConfig
from iml_jax.training.step import TrainStep

__all__ = ["prepare", "prepared"]  # fixtures
OPTIMIZER = OptimizerConfig(peak_learning_rate=1e-2, warmup_steps=2, total_steps=STEPS)
RARELY = CheckpointConfig(every=100, keep=20, keep_best=False)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def saved(run_dir):
    return CheckpointStore(run_dir).latest_step()


@pytest.mark.slow
def test_sigterm_at_every_stage_of_a_run(prepared, tmp_path, monkeypatch):
    """One run, preempted five times, is bit for bit the run that was left alone."""
    whole = run(make_job(prepared, tmp_path / "whole", optimizer=OPTIMIZER))
    target = tmp_path / "run"
    evaluated = []

    def go(evaluator=no_evaluation, **train):
        job = make_job(prepared, target, optimizer=OPTIMIZER, checkpoints=RARELY, train=train)
        return loop.train(job, "resolved = 1\n", lambda *known: (), evaluator)

    # 1. while the process starts
    def while_starting(job, mesh):
        terminate()
        return no_evaluation(job, mesh)

    with pytest.raises(Preempted, match=f"after step 0 of {STEPS}; nothing was done yet"):
        go(while_starting)
    assert saved(target) is None

    # 2. while it compiles; 3. in the middle of a step, and again while it saves because of that
    update, save = TrainStep.__call__, CheckpointStore.save
    moments = iter((True, False, False, True))  # the first step of one process, the third of the next

    def interrupted(self, state, batch):
        if next(moments):
            terminate()
        return update(self, state, batch)

    def save_and_terminate(self, *arguments):
        terminate()
        save(self, *arguments)
        terminate()

    monkeypatch.setattr(TrainStep, "__call__", interrupted)
    with pytest.raises(Preempted, match=r"after step 1 of 12; checkpoint 1 is saved; the same command"):
        go()
    assert saved(target) == 1
    monkeypatch.setattr(CheckpointStore, "save", save_and_terminate)
    with pytest.raises(Preempted, match="checkpoint 4 is saved"):
        go()
    assert saved(target) == 4
    monkeypatch.undo()

    # 4. while it evaluates: the state, which no save was due for, is saved too
    def evaluating(interrupt):
        def make(job, mesh):
            def at_step(step, params, log):
                if interrupt:
                    terminate()
                    preemption.check()
                evaluated.append(step)
                return {}

            return at_step

        return make

    with pytest.raises(Preempted, match="after step 6 of 12; checkpoint 6 is saved"):
        go(evaluating(True), evaluate_every=6)
    assert (saved(target), evaluated) == (6, [])
    go(evaluating(False), evaluate_every=6)
    assert evaluated == [6, 12]
    assert_same_checkpoints(whole, target, STEPS)
    lines = map(json.loads, (target / "metrics.jsonl").read_text().splitlines())
    seen = {line["step"]: line["loss"] for line in lines if "loss" in line}  # the others are evaluations
    assert seen == losses(whole)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_notice_during_the_last_step_is_a_finished_run(prepared, tmp_path, monkeypatch):
    update = TrainStep.__call__

    def interrupted(self, state, batch):
        terminate()
        return update(self, state, batch)

    monkeypatch.setattr(TrainStep, "__call__", interrupted)
    run(make_job(prepared, tmp_path / "run", train={"steps": 1}, optimizer=OPTIMIZER, checkpoints=RARELY))
    assert saved(tmp_path / "run") == 1


def test_the_command_exits_143(monkeypatch, capsys):
    def preempted(arguments):
        raise Preempted("preempted (SIGTERM) after step 3")

    monkeypatch.setattr(cli, "_dispatch", preempted)
    assert cli.main([]) == 143
    assert capsys.readouterr().err == "iml: preempted (SIGTERM) after step 3\n"
