"""The monitor in a loop of its own, with several hosts played by one, and inside a real run."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
import types

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from support import forking
from support.profiles import traced_steps
from support.training_runs import make_job, run
from support.watched_steps import QUIET, SHAPE, steps

from iml_jax.checkpoints.store import CheckpointConfig
from iml_jax.foundation.errors import UserError
from iml_jax.training import goodput, monitor
from iml_jax.training.flops import flops_per_step
from iml_jax.training.loop import train
from iml_jax.training.monitor import (
    DATA,
    EVALUATION,
    SAVING,
    Monitor,
    ObservabilityConfig,
    TelemetryConfig,
    memory,
)
from iml_jax.training.profiling import ProfilerConfig


@pytest.fixture
def watched(tmp_path):
    """``watched(**config)``: a monitor that has begun; closed at the end."""
    made = []

    def make(last=4, devices=None, **config):
        one = Monitor(ObservabilityConfig(**{"watchdog": QUIET, **config}), tmp_path)
        made.append(one)
        one.begin(first=0, last=last, shape=SHAPE, devices=devices or jax.devices("cpu")[:1])
        return one

    yield make
    for one in made:
        one.close()


def test_the_account_of_a_loop_is_in_the_run_directory(tmp_path, capsys):
    with Monitor(ObservabilityConfig(watchdog=QUIET), tmp_path) as one:
        one.begin(first=0, last=4, shape=SHAPE, devices=jax.devices("cpu")[:1])
        steps(one, range(1, 5))
        for phase in (SAVING, EVALUATION):
            with one.phase(phase):
                time.sleep(0.5)  # longer than a thread needs to note the end of a step
        figures = one.log(0.5)
    assert 0 <= figures["goodput"] < 1  # of the steps whose end a thread has noted by then
    totals = goodput.read(tmp_path)
    assert totals.done
    assert {"steps", "compilation", "saving", "evaluation", "start-up"} <= totals.seconds.keys()
    summary = json.loads((tmp_path / "goodput.json").read_text())
    assert summary["steps_kept"] == 4
    assert 0 < summary["goodput"] < 1
    assert f"goodput {100 * summary['goodput']:.1f}%" in capsys.readouterr().err


def test_a_run_that_fails_leaves_its_account_and_is_not_done(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        Monitor(ObservabilityConfig(watchdog=QUIET), tmp_path) as one,
    ):
        one.begin(first=0, last=4, shape=SHAPE, devices=jax.devices("cpu")[:1])
        steps(one, range(1, 3))
        raise ZeroDivisionError
    totals = goodput.read(tmp_path)
    assert not totals.done
    assert totals.as_json()["steps_kept"] == 2
    assert (tmp_path / "goodput.json").exists()


def test_mfu_only_where_the_peak_is_known(watched):
    assert "mfu" not in watched().log(0.5)  # a CPU
    peak = 8 * flops_per_step(*SHAPE)
    given = watched(telemetry=TelemetryConfig(peak_flops=peak)).log(0.5)
    assert given["mfu"] == pytest.approx(0.25)
    assert given["mfu_full_attention"] > given["mfu"]
    known = watched(devices=[types.SimpleNamespace(device_kind="TPU v5p")] * 2).log(1e-6)
    assert known["mfu"] == pytest.approx(flops_per_step(*SHAPE) / 1e-6 / (2 * 459e12))


def test_memory_is_that_of_the_fullest_device():
    def device(used, peak):
        stats = {"bytes_in_use": used * 2**30, "peak_bytes_in_use": peak * 2**30, "bytes_limit": 16 * 2**30}
        return types.SimpleNamespace(memory_stats=lambda: stats)

    found = memory([device(3, 7), device(5, 6)])
    assert found == {"hbm_gib": 5, "hbm_peak_gib": 7, "hbm_limit_gib": 16}
    assert memory(jax.devices("cpu")) == {}
    partial = types.SimpleNamespace(memory_stats=lambda: {"bytes_in_use": 2**30})
    assert memory([partial]) == {"hbm_gib": 1}


def test_hosts_are_compared_and_a_trace_asked_of_one_is_begun_by_all(tmp_path, monkeypatch, watched):
    other = {"waits": {"data": 9.0, "dispatch": 0.0}, "memory": {"hbm_gib": 4.0}, "trace": True}
    sent = []

    def gather(value):
        sent.append(value)
        return [json.loads(json.dumps(value)), other]

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(monitor, "gather_json", gather)
    one = watched(profiler=ProfilerConfig(steps=1))
    steps(one, [1])
    found = one.log(0.5)
    assert found["data_slowest_host"] == 1
    assert found["data_seconds_max"] == 9
    assert found["dispatch_slowest_host"] == 0
    assert found["hbm_gib"] == 4
    assert len(sent) == 1  # nothing is sent between log lines
    steps(one, [2, 3])
    assert len(sent) == 1
    assert traced_steps(tmp_path / "profile") == [2]


def test_one_host_sends_nothing(watched, monkeypatch):
    def refuse(value):
        raise AssertionError("gathered")

    monkeypatch.setattr(monitor, "gather_json", refuse)
    assert "data_slowest_host" not in watched().log(0.5)


def test_the_watchdog_knows_what_may_take_long(watched):
    one = watched()
    assert one._doing() == ("the first step and its compilation", False)
    steps(one, range(1, 3))
    one._timeline.close()  # the end of step 2 has been noted
    assert one._doing() == ("step 2", True)
    with one.phase(DATA):
        assert one._doing() == ("step 2", True)
    with one.phase(EVALUATION):
        assert one._doing() == ("evaluation after step 2", False)
    one._timeline = monitor.Timeline()  # what the fixture closes
    assert one._doing() == ("start-up", False)


def test_an_impossible_peak_is_refused_by_name():
    with pytest.raises(UserError, match=r"Telemetry\.peak_flops = -1"):
        TelemetryConfig(peak_flops=-1)


def test_the_first_step_says_how_long_its_program_took_and_whether_it_was_kept(watched, tmp_path, capsys):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update(names[0], str(tmp_path / "cache"))
    jax.config.update(names[1], 0.0)
    compilation_cache.reset_cache()
    try:
        for verb in ("compiled", "loaded from the compilation cache"):
            jax.clear_caches()
            steps(watched(), (1, 2))
            told = re.findall(r"^training step (.*): [0-9]+\.[0-9] s$", capsys.readouterr().err, re.MULTILINE)
            assert told == [verb]
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@pytest.mark.slow
def test_a_run_that_dies_counts_what_it_does_again(prepared, tmp_path, capsys):
    """Saved after step 4, dead after step 6, done again from 4: two of the steps were lost."""

    def evaluator(job, mesh):
        def die(step, params, log):
            raise KeyboardInterrupt

        return die

    saves = CheckpointConfig(every=4, keep=9, keep_best=False)
    job = make_job(prepared, tmp_path / "run", train={"steps": 8, "evaluate_every": 6}, checkpoints=saves)
    with pytest.raises(KeyboardInterrupt):
        train(job, "# resolved\n", lambda *known: (), evaluator)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["goodput"] < 1
    seeing = ObservabilityConfig(profiler=ProfilerConfig(first_step=6, steps=2))
    run(make_job(prepared, tmp_path / "run", train={"steps": 8}, checkpoints=saves, observability=seeing))
    summary = json.loads((tmp_path / "run" / "goodput.json").read_text())
    assert (summary["steps_kept"], summary["steps_redone"], summary["processes"]) == (8, 2, 2)
    assert {"redone", "restoring", "saving", "compilation"} <= summary["seconds"].keys()
    assert summary["wall_seconds"] == pytest.approx(sum(summary["seconds"].values()), abs=0.1)
    told = capsys.readouterr().err
    assert "(2 steps)" in told.splitlines()[-1]
    for line in ("random parameters made", "checkpoint restored"):  # by the first and the second process
        assert len(re.findall(rf"^{line}: [0-9]+\.[0-9] s$", told, re.MULTILINE)) == 1
    assert traced_steps(tmp_path / "run" / "profile") == [6, 7]


HOST = """
import os, signal, sys
import jax
jax.config.update("jax_platforms", "cpu")
port, process, folder = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process), initialization_timeout=120)
sys.path[:0] = %r
from pathlib import Path
from iml_jax.training.monitor import Monitor, ObservabilityConfig
from iml_jax.training.profiling import ProfilerConfig
from support.watched_steps import QUIET, SHAPE, steps
with Monitor(ObservabilityConfig(watchdog=QUIET, profiler=ProfilerConfig(steps=2)), Path(folder)) as one:
    one.begin(first=0, last=6, shape=SHAPE, devices=jax.devices())
    if process == "1":
        os.kill(os.getpid(), signal.SIGUSR1)
    steps(one, [1, 2])
    found = one.log(0.5)
    steps(one, range(3, 7))
    print(sorted(found))
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    """Two hosts: figures of both, one account, and a signal to one makes both trace the same steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = [forking.Child(HOST % sys.path, [port, n, tmp_path]) for n in (0, 1)]
    told = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("data_slowest_host" in text for text in told)
    assert "goodput" in told[0]
    assert "goodput" not in told[1]
    folders = sorted(path.name for path in (tmp_path / "profile" / "plugins" / "profile").iterdir())
    assert folders == ["step_3.process_0", "step_3.process_1"]
    assert goodput.read(tmp_path).as_json()["steps_kept"] == 6
    assert np.isclose(goodput.read(tmp_path).wall, sum(goodput.read(tmp_path).seconds.values()))
