"""Checkpoints that somebody reads stay; a reader that died keeps nothing; both sides see each other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from iml_jax.checkpoints import in_use
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.checkpoints.verifying import Damaged, read_verified
from iml_jax.storage import holders, lease
from iml_jax.storage.conditional import ConditionalFile


def save(store: CheckpointStore, step: int) -> None:
    store.save(step, {"params": {"a": np.full(3, step, np.float32)}}, None, {"updates": step})
    store.wait()


def steps(run: Path) -> list[int]:
    return sorted(int(path.name) for path in (run / "checkpoints").iterdir())


def test_step_that_is_read_stays_until_it_is_not(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path, CheckpointConfig(keep=1, keep_best=False)) as store:
        save(store, 1)
        place = tmp_path / "checkpoints/1"
        with in_use.marked(place) as reason:
            assert reason == ""
            save(store, 2)
            save(store, 3)
            assert steps(tmp_path) == [1, 3]
            assert read_verified(place, lambda path: path.name) == "1"
        save(store, 4)
        assert steps(tmp_path) == [4]
    assert list((tmp_path / ".readers").iterdir()) == []


def test_reader_that_died_keeps_nothing(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path, CheckpointConfig(keep=1, keep_best=False)) as store:
        save(store, 1)
        record = json.loads(holders.this_process(60.0).line()) | {"pid": os.getppid(), "started": "1"}
        (tmp_path / ".readers").mkdir()
        (tmp_path / ".readers/1.abc.lease").write_text(json.dumps(record) + "\n")
        save(store, 2)
        assert steps(tmp_path) == [2]


def test_step_that_is_being_deleted_is_not_read(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path, CheckpointConfig(keep=2, keep_best=False)) as store:
        save(store, 1)
    (tmp_path / ".readers").mkdir(exist_ok=True)
    (tmp_path / ".readers/deleting.json").write_text("[1]")
    place = tmp_path / "checkpoints/1"
    deleting = pytest.raises(Damaged, match="the run that trains is deleting it")
    with lease.hold(tmp_path / in_use.TRAINING_LEASE, "the run"), deleting:
        read_verified(place, str)
    assert read_verified(place, str) == str(place)  # a run that was killed deletes nothing more


def test_run_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CheckpointStore(tmp_path) as store:
        save(store, 1)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    before = sorted(tmp_path.rglob("*"))
    assert read_verified(tmp_path / "checkpoints/1", lambda path: path.name) == "1"
    assert sorted(tmp_path.rglob("*")) == before


def test_marks_of_another_host_end_when_they_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "1.abc.lease"
    record = json.loads(holders.this_process(60.0).line()) | {"host": "elsewhere"}
    line = json.dumps(record) + "\n"
    file.write_text(line + "1\n")
    now = [1000.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    marks, register = lease.Sightings(), ConditionalFile(file)
    assert marks.alive(register)
    now[0] += 59
    assert marks.alive(register)
    file.write_text(line + "2\n")
    now[0] += 59
    assert marks.alive(register)
    now[0] += 61
    assert not marks.alive(register)
    file.unlink()
    assert not marks.alive(register)
