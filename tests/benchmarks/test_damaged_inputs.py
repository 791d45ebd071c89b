"""benchmarks/damaged_inputs.py: what it takes for right, and a small run of it without a failure."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import damaged_inputs  # noqa: E402
from damage import kinds, server, world  # noqa: E402

FILE = Path("ni/tasks/one.json")
GOLDEN = server.Ended(0, "dropped nothing\n", "", 1.0, 1 << 20, {"a": "1"}, False)


def ended(**changes) -> server.Ended:
    return dataclasses.replace(GOLDEN, **changes)


@pytest.mark.parametrize(
    ("done", "outcome"),
    [
        (ended(), "identical"),
        (ended(status=2, stderr="iml: error: ni/tasks/one.json:3: malformed\n"), "refused"),
        (ended(status=1, stderr="iml: fault: one.json: reading failed\n"), "refused"),
        (ended(digest={"a": "2"}, stderr="note: ni/tasks/one.json is passed over\n"), "repaired"),
        (ended(digest={"a": "2"}, stdout="x | skipped before these: 3 no column 'a', 1 empty\n"), "repaired"),
        (ended(digest={"a": "2", world.DROPPED: "1"}), "repaired"),
        (ended(digest={"a": "2"}), "FAILED"),
        (ended(digest={"b": "1"}, stdout="more\n"), "FAILED"),
        (ended(status=2, stderr="iml: error: malformed\n"), "FAILED"),
        (ended(status=2, stderr="usage: one.json\niml: error: a\niml: one.json\n"), "FAILED"),
        (ended(status=1, stderr="Traceback (most recent call last):\niml: one.json\n"), "FAILED"),
        (ended(status=-9), "FAILED"),
        (ended(hung=True), "FAILED"),
        (ended(peak_bytes=3 << 30), "FAILED"),
    ],
)
def test_what_is_right(done: server.Ended, outcome: str):
    assert damaged_inputs.judge(done, GOLDEN, FILE)[0] == outcome


def test_a_checkpoint_is_named_by_its_step():
    path = Path("run/checkpoints/6/state/d/0af3")
    assert damaged_inputs.names("checkpoint 6 is not usable (damaged)", path)
    assert not damaged_inputs.names("checkpoint 4 is not usable (damaged)", path)


def test_damage_is_repeatable_and_values_are_changed_at_least_as_often_as_bytes(tmp_path: Path):
    content = json.dumps({"a": [1, "two", {"b": None}], "c": 1.5})
    found = []
    for seed in range(200):
        path = tmp_path / f"{seed}.json"
        made = []
        for _ in range(2):
            path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
            path.write_text(content)
            done = kinds.damage(path, "json", True, random.Random(seed))
            is_file = path.is_file() and not path.is_symlink()
            made.append((*done, path.read_bytes() if is_file else b""))
        assert made[0] == made[1]
        found.append(made[0][0])
    assert found.count(kinds.VALUE) >= found.count(kinds.BYTES) > 20
    assert found.count(kinds.FILE) > 3


@pytest.mark.parametrize(
    "cases",
    [
        6,
        pytest.param(
            24, marks=pytest.mark.nightly(seconds=94, reason="more cases of what the suite runs six of")
        ),
    ],
)
def test_a_small_run_finds_no_failure(cases: int, tmp_path: Path):
    script = ROOT / "benchmarks" / "damaged_inputs.py"
    options = (
        "--cases",
        str(cases),
        "--workers",
        "1",
        "--seconds",
        "120",
        "--folder",
        str(tmp_path / "cases"),
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True, text=True, timeout=1200, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    assert f"{cases} cases, 0 failures" in done.stdout
