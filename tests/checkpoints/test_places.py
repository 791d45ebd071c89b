"""places.py: exactly the paths at which Orbax and TensorStore fail are refused; all others work."""

from __future__ import annotations

import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from support.saved_states import EVERY_STEP, metadata

from iml_jax.checkpoints import locate, places
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.foundation.errors import Fault, UserError

WORK = ["a b", "a[b", "a]b", "a]b[", "[[", "a[]b", "x[1/y]", "{a,b}", "%20", "#", "a:b", "gs:x", "~", "$HOME"]
WORK += ["\u00fc\u4e2d\u0301", "a\nb\x1b[c", "'\"", "-a", "x" * 255, "\U0001f600"]
FAIL = ["a[b]", "[a]", "a[!b]", "a[b-c]d", "x/a[b]c/y", "a\\b"]


def save(run, value=1.0):
    with CheckpointStore(run, EVERY_STEP) as store:
        store.save(1, {"params": {"w": jnp.full((2, 3), value)}}, None, metadata(1))


@pytest.mark.parametrize("name", WORK)
def test_what_is_allowed_works(tmp_path, name):
    places.check_saveable(tmp_path / name)
    save(tmp_path / name)
    target = {"params": {"w": jnp.zeros((2, 3))}}
    restored = CheckpointStore(tmp_path / name).restore(1, target)
    np.testing.assert_array_equal(restored.state["params"]["w"], np.ones((2, 3)))


@pytest.mark.parametrize("name", FAIL)
def test_what_is_refused_would_not_work(tmp_path, name, monkeypatch):
    with pytest.raises(UserError, match="choose a"), CheckpointStore(tmp_path / name, EVERY_STEP) as store:
        store.due(1)
    assert not (tmp_path / name).exists()
    monkeypatch.setattr(places, "check_saveable", lambda place: None)
    with pytest.raises(Fault):
        save(tmp_path / name)


def test_a_star_or_question_mark_would_take_in_another_runs_files(tmp_path, monkeypatch):
    save(tmp_path / "axb")
    folder = tmp_path / "axb/checkpoints"
    under_way = folder / "1.orbax-checkpoint-tmp/state.orbax-checkpoint-tmp"  # its save of the same step
    shutil.copytree(folder / "1/state/ocdbt.process_0", under_way / "ocdbt.process_7")
    for name in ("a*b", "a?b"):
        with pytest.raises(UserError, match=r"a pattern \(\* \? \[...\]\) to Orbax"):
            places.check_saveable(tmp_path / name)
        monkeypatch.setattr(places, "check_saveable", lambda place: None)
        with pytest.raises(Fault, match="could not save"):
            save(tmp_path / name)
        monkeypatch.undo()


def test_no_path_at_all_is_one_line(tmp_path):
    for place in (tmp_path / "a\0b", tmp_path / os.fsdecode(b"\xff")):
        for check in (places.check_saveable, places.check_readable, locate.resolve):
            with pytest.raises(UserError, match=r"null byte|not UTF-8"):
                check(place)
    for place in (tmp_path / ("x" * 256), tmp_path / "/".join(["x" * 200] * 20)):
        with pytest.raises(UserError, match="too long to save"):
            places.check_saveable(place)


def test_a_run_copied_below_brackets_can_still_be_read(tmp_path):
    save(tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", tmp_path / "a[b]*")
    restored = CheckpointStore(tmp_path / "a[b]*").restore(1, {"params": {"w": jnp.zeros((2, 3))}})
    np.testing.assert_array_equal(restored.state["params"]["w"], np.ones((2, 3)))
    assert locate.resolve(tmp_path / "a[b]*").name == "1"
