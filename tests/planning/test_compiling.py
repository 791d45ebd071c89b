from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iml_jax.foundation import libtpu
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.planning import compiling, job, topology

JOB = job.Job("train", topology.parse("cpu:8"), {"hidden": 8}, {}, {"data": 1}, 4, 8)


class Fake:
    """Stands for the worker: a Python program instead of ``iml_jax.planning.worker``."""

    def __init__(self, monkeypatch, program: str) -> None:
        self.runs = 0
        real = subprocess.Popen

        def popen(command, **keywords):
            self.runs += 1
            return real([sys.executable, "-c", program, *command[-2:]], **keywords)

        monkeypatch.setattr(compiling.subprocess, "Popen", popen)


GOOD = """
import sys, json
job = json.load(open(sys.argv[1]))
json.dump({"status": "compiled", "seconds": 1.0, "rows": job["rows"]}, open(sys.argv[2], "w"))
"""


def run(jobs, cache, workers=2):
    said: list[str] = []
    compiler = compiling.Compiler(workers, cache, said.append)
    return dict(compiler.run([(f"job {i}", one) for i, one in enumerate(jobs)])), said


def test_results_come_with_their_jobs(monkeypatch, tmp_path):
    Fake(monkeypatch, GOOD)
    jobs = [dataclasses.replace(JOB, rows=rows) for rows in (1, 2, 3, 4, 5)]
    found, said = run(jobs, None)
    assert [found[i]["rows"] for i in range(5)] == [1, 2, 3, 4, 5]
    assert "compiling job 0" in said
    done = [line for line in said if line.startswith("compiled: job 4, 1 s (")]
    assert len(done) == 1


def test_lines_are_said_one_at_a_time(monkeypatch):
    """Each by its thread: a line of one must not come between another's and its end."""
    Fake(monkeypatch, GOOD)
    saying, together = [], []

    def log(line: str) -> None:
        saying.append(line)
        time.sleep(0.05)
        together.append(len(saying))
        saying.remove(line)

    jobs = [(f"job {rows}", dataclasses.replace(JOB, rows=rows)) for rows in range(1, 9)]
    assert len(list(compiling.Compiler(4, None, log).run(jobs))) == 8
    assert together == [1] * 16


def test_the_second_time_comes_from_the_cache(monkeypatch, tmp_path):
    worker = Fake(monkeypatch, GOOD)
    first, _ = run([JOB], tmp_path)
    again, said = run([JOB], tmp_path)
    assert worker.runs == 1 and not said
    assert again[0] == {**first[0], "cached": True} and first[0]["cached"] is False
    run([dataclasses.replace(JOB, rows=5)], tmp_path)
    run([dataclasses.replace(JOB, mesh={"data": 2})], tmp_path)
    assert worker.runs == 3


def test_other_code_or_compiler_is_compiled_again(monkeypatch, tmp_path):
    worker = Fake(monkeypatch, GOOD)
    run([JOB], tmp_path)
    monkeypatch.setattr(job, "code_fingerprint", lambda: "changed")
    run([JOB], tmp_path)
    monkeypatch.setattr(job, "compiler_versions", lambda: {"libtpu": "9"})
    run([JOB], tmp_path)
    assert worker.runs == 3


def test_only_code_that_steps_depend_on_is_in_the_fingerprint(tmp_path):
    files = (
        "models/opt.py",
        "training/step.py",
        "evaluation/engine/scoring.py",
        "evaluation/pages/report.py",
    )
    files += ("evaluation/metrics/levels.py", "bench/mixtures.py", "commands/train.py", "config/registry.py")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one = 1\n")
    changed = []
    for name in files:
        before = job.code_fingerprint(tmp_path)
        (tmp_path / name).write_text("one = 1  # a comment\n")
        if job.code_fingerprint(tmp_path) != before:
            changed.append(name)
    assert changed == [*files[:3], "config/registry.py"]


def test_a_torn_file_is_compiled_again(monkeypatch, tmp_path):
    worker = Fake(monkeypatch, GOOD)
    run([JOB], tmp_path)
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text('{"status": "comp')
    found, _ = run([JOB], tmp_path)
    assert worker.runs == 2 and found[0]["status"] == "compiled"


ABORTS = """
import os, sys
print("I1121 10:00:00 starting", file=sys.stderr)
print("F1121 10:00:01.123 1 compiler.cc:12] Check failed: cores == 2", file=sys.stderr)
print("*** Check failure stack trace: ***", file=sys.stderr)
print("    @ 0x123 main", file=sys.stderr, flush=True)
os.abort()
"""


SLOW = """
import sys, time, pathlib
from iml_jax.planning import worker
answer = pathlib.Path(sys.argv[2])
worker.stage_file(answer).write_text("XLA compiles it")
time.sleep(1.0)
answer.write_text('{"status": "compiled", "seconds": 1.0}')
"""


def test_a_running_compilation_says_that_it_runs_and_what_it_does(monkeypatch):
    Fake(monkeypatch, SLOW)
    said: list[str] = []
    compiler = compiling.Compiler(1, None, said.append, beat=0.1)
    assert len(list(compiler.run([("job", JOB)]))) == 1
    assert said[0] == "compiling job" and said[-1] == "compiled: job, 1 s"
    assert said[-2].startswith("still at job, ") and said[-2].endswith(" s: XLA compiles it")


def test_an_abort_is_one_line_and_is_not_kept(monkeypatch, tmp_path):
    worker = Fake(monkeypatch, ABORTS)
    found, _ = run([JOB], tmp_path)
    assert found[0]["status"] == "failed"
    assert "killed by signal 6" in found[0]["reason"] and "Check failed: cores == 2" in found[0]["reason"]
    assert "\n" not in found[0]["reason"]
    run([JOB], tmp_path)
    assert worker.runs == 2


def test_a_worker_that_leaves_nothing_has_failed(monkeypatch, tmp_path):
    Fake(monkeypatch, "import sys; print('no room', file=sys.stderr); sys.exit(3)")
    found, _ = run([JOB], None)
    assert found[0]["reason"] == "the compiling process ended with status 3: no room"


def test_a_cache_that_cannot_be_written_is_a_fault(monkeypatch, tmp_path):
    Fake(monkeypatch, GOOD)
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="--cache=DIR"):
        run([JOB], tmp_path / "file")


def test_missing_libtpu_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'iml_jax\[tpu\]'"):
        compiling.require_libtpu("v5p")
    compiling.require_libtpu("cpu")


def test_jobs_survive_json():
    assert job.Job.from_json(JOB.to_json()) == JOB
    assert json.loads(JOB.to_json())["topology"]["kind"] == "cpu"


def test_libtpu_is_calmed_only_without_a_chip(tmp_path, monkeypatch):
    device = tmp_path / "0000:00:04.0"
    device.mkdir()
    (device / "vendor").write_text("0x1ae0\n")
    (device / "device").write_text("0x0062\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vendor").write_text("0x8086\n")
    assert libtpu.chips_on_bus(tmp_path) == 1
    (device / "device").write_text("0x0001\n")
    assert libtpu.chips_on_bus(tmp_path) == 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    variables = {"TPU_WORKER_ID": "3"}
    monkeypatch.setattr(libtpu, "chips_on_bus", lambda: 1)
    libtpu.calm_libtpu(variables)
    assert variables == {"TPU_WORKER_ID": "3"}
    monkeypatch.setattr(libtpu, "chips_on_bus", lambda: 0)
    libtpu.calm_libtpu(variables)
    assert variables["TPU_SKIP_MDS_QUERY"] == "1" and variables["TPU_WORKER_ID"] == "3"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    empty: dict[str, str] = {}
    libtpu.calm_libtpu(empty)
    assert empty == {}


WAITS = """
import os, sys
print(os.getpid(), file=open(os.environ["PIDS"], "a"), flush=True)
from iml_jax.planning import worker
worker._compile = lambda job, folder, stage: __import__("time").sleep(600)
worker.main(sys.argv[1:])
"""
COMPILES = f"""
import argparse, subprocess, sys, tempfile, time
from iml_jax import cli, config
from iml_jax.commands import plan
from iml_jax.planning import compiling, job, topology
real = subprocess.Popen
WAITS = {WAITS!r}
def popen(command, **keywords):
    return real([sys.executable, "-c", WAITS, *command[-2:]], **keywords)
compiling.subprocess.Popen = popen
one = job.Job("train", topology.parse("cpu:8"), {{"hidden": 8}}, {{}}, {{"data": 1}}, 4, 8)
def run(arguments, config):
    compiler = compiling.Compiler(2, None, lambda line: print(line, flush=True))
    for found in compiler.run([(f"job {{i}}", one) for i in range(3)]):
        raise AssertionError(found)
plan._plan = run
cli._dispatch = lambda arguments: plan.run(None, None)
sys.exit(cli.main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [
        (signal.SIGTERM, 143, "iml: ended by SIGTERM; what was compiled is kept\n"),
        (signal.SIGINT, 130, "iml: interrupted\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_workers_end_with_the_command(number, status, line, tmp_path):
    """However it ends; nothing is left in the folder of temporary files either."""
    pids, folder = tmp_path / "pids", tmp_path / "temporary"
    folder.mkdir()
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PIDS": str(pids), "TMPDIR": str(folder),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler)\n{COMPILES}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        while not pids.exists() or len(pids.read_text().split()) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        workers = [int(pid) for pid in pids.read_text().split()]
        assert all(map(alive, workers))
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (status, line)
    assert sorted(said.splitlines()) == ["compiling job 0", "compiling job 1"]
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) or any(folder.iterdir()):
        assert time.monotonic() < deadline, (workers, list(folder.iterdir()))
        time.sleep(0.1)
