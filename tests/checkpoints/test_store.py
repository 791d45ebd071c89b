"""store.py: what is saved comes back on any mesh; a failure is heard; a crash costs nothing older."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import warnings

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from support.saved_states import (
    EVERY_STEP,
    MODEL,
    abstract,
    assert_equal,
    make_state,
    mesh,
    metadata,
    on,
    save,
)

from iml_jax.checkpoints import layout, locate, restore
from iml_jax.checkpoints import store as store_module
from iml_jax.checkpoints.restore import restore_params
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.foundation.errors import Fault, UserError


def test_a_state_comes_back_bit_for_bit_on_another_mesh(run):
    store = CheckpointStore(run)
    assert store.latest_step() == 5
    target = abstract(make_state(), mesh(1, 8))
    restored = store.restore(5, target, MODEL)
    assert_equal(restored.state, make_state(5))
    assert restored.data == {"position": 5}
    assert restored.metadata == metadata(5)
    kernel = restored.state.params["layers"]["mlp"]["up"]["kernel"]
    assert kernel.sharding == target.params["layers"]["mlp"]["up"]["kernel"].sharding
    assert restored.state.rng.dtype == jax.random.key(0).dtype


def test_only_the_newest_are_kept_and_due_follows_every(tmp_path):
    with CheckpointStore(tmp_path, CheckpointConfig(every=4, keep=2)) as store:
        assert [step for step in range(1, 13) if store.due(step)] == [4, 8, 12]
        for step in (4, 8, 11, 12):  # 11: a save that no policy asked for is made all the same
            save(store, step)
    assert locate.steps_on_disk(tmp_path / "checkpoints") == [11, 12]


def test_steps_are_ordered_as_numbers(tmp_path):
    with CheckpointStore(tmp_path, CheckpointConfig(every=1, keep=2)) as store:
        for step in (8, 9, 10):
            save(store, step)
    assert CheckpointStore(tmp_path).latest_step() == 10
    assert locate.steps_on_disk(tmp_path / "checkpoints") == [9, 10]  # not 8, which is kept by text


def test_saving_is_silent(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CheckpointStore(tmp_path, EVERY_STEP) as store:
            save(store, 1)
        CheckpointStore(tmp_path).restore(1, abstract(make_state(), mesh(2, 2)), MODEL)
        restore_params(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/3"])
def test_parameters_alone_by_every_kind_of_path(run, name):
    config, params, meta = restore_params(run / name)
    assert config == MODEL
    step = 3 if name.endswith("3") else 5
    assert meta["updates"] == step
    assert_equal(params, make_state(step).params)


def test_parameters_alone_take_shardings_and_the_config_given(run):
    wanted = dataclasses.replace(MODEL, dropout=0.0, compute_dtype="float32")
    shardings = on(mesh(2, 4), layout.parameter_shapes(MODEL))
    config, params, _ = restore_params(run, wanted, shardings)
    assert config == wanted
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == shardings
    replicated = NamedSharding(mesh(2, 2), P())
    _, params, _ = restore_params(run, None, replicated)
    assert all(leaf.sharding == replicated for leaf in jax.tree.leaves(params))


def test_parameters_alone_do_not_read_the_optimizer_state(tmp_path):
    params = make_state(1).params
    with CheckpointStore(tmp_path) as store:
        store.save(1, {"params": params}, None, metadata(1))
    assert_equal(restore_params(tmp_path)[1], params)
    with pytest.raises(UserError, match=r"checkpoints/1: has no (step|opt_state.*); it "):
        CheckpointStore(tmp_path).restore(1, abstract(make_state(), mesh(1, 1)))


def test_lazy_parameters_equal_restored_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNKED_BYTES", 0)  # as if the parameters were large
    with CheckpointStore(tmp_path / "run", EVERY_STEP) as store:
        save(store, 5)
    place = locate.resolve(tmp_path / "run")
    model, lazy, meta = restore.open_params(place)
    assert (model, meta["updates"], place.name) == (MODEL, 5, "5")
    expected = layout.flatten(make_state(5).params)
    for path, leaf in layout.flatten(lazy).items():
        assert leaf.shape == expected[path].shape
        np.testing.assert_array_equal(leaf[1], expected[path][1])
        if path[0] == "layers" and len(leaf.shape) > 2:  # a layer can be read without the others
            assert leaf._array.chunk_layout.read_chunk.shape[0] == 1
        np.testing.assert_array_equal(np.asarray(leaf), expected[path])


def test_another_model_is_refused_naming_the_first_difference(run):
    other = dataclasses.replace(MODEL, ffn=128, heads=2)
    with pytest.raises(UserError, match=r"is another model: Model\.heads = 4 there, 2 here"):
        restore_params(run, other)
    with pytest.raises(UserError, match=r"Model\.heads = 4 there, 2 here"):
        CheckpointStore(run).restore(5, abstract(make_state(), mesh(1, 1)), other)
    wider = dataclasses.replace(MODEL, ffn=128)
    with pytest.raises(UserError, match=r"params\.layers\.mlp\..* has another shape"):
        CheckpointStore(run).restore(5, abstract(make_state(model=wider), mesh(1, 1)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("commit_success.txt", "never finished"),
        ("state/commit_success.txt", "damaged .state/commit_success.txt is missing"),
        ("state/manifest.ocdbt", "damaged .state/manifest.ocdbt is missing"),
        ("metadata/metadata", "damaged .metadata/metadata is missing or no JSON"),
        ("state/_METADATA", "damaged .state/_METADATA is missing or no JSON"),
    ],
)
def test_an_unfinished_or_damaged_checkpoint_does_not_count(run, name, reason):
    (run / "checkpoints/5" / name).unlink()
    store = CheckpointStore(run)
    assert store.latest_step() == 3
    assert store.refused().keys() == {5}
    with pytest.raises(UserError, match=reason):
        store.restore(5, abstract(make_state(), mesh(1, 1)))
    with pytest.raises(UserError, match=reason):
        restore_params(run / "checkpoints/5")
    assert restore_params(run)[2]["updates"] == 3


def test_a_truncated_array_file_is_noticed_before_and_without_the_inventory(run):
    step = run / "checkpoints/5"
    victim = max((step / "state/d").iterdir(), key=lambda file: file.stat().st_size)
    os.truncate(victim, victim.stat().st_size // 2)
    store = CheckpointStore(run)
    assert store.latest_step() == 3
    assert "bytes of" in store.refused()[5]
    (step / "inventory.json").unlink()
    assert store.latest_step() == 5
    with pytest.raises(Fault, match=r"checkpoints/5: (its list of arrays )?cannot be read"):
        store.restore(5, abstract(make_state(), mesh(1, 1)))


@pytest.mark.parametrize("content", ['{"position": NaN}', '{"position": ', "[" * 100_000, "\xff", None])
def test_a_damaged_data_state_is_a_line_that_names_the_file(run, content):
    """With its checksum the checkpoint before is taken; without (saved by an older version) it is refused."""
    step = run / "checkpoints/5"
    (step / "data/metadata").unlink()
    if content is None:
        os.mkfifo(step / "data/metadata")
    else:
        (step / "data/metadata").write_text(content, encoding="latin-1")
    restored = CheckpointStore(run).restore_newest(abstract(make_state(), mesh(1, 1)))
    assert restored is not None and restored.data == {"position": 3}
    for file in step.glob("inventory*.json"):
        file.unlink()
    with pytest.raises(UserError, match=r"checkpoints/5/data/metadata") as caught:
        CheckpointStore(run).restore_newest(abstract(make_state(), mesh(1, 1)))
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_to_find_is_one_clear_line(tmp_path, run):
    assert CheckpointStore(tmp_path / "new").latest_step() is None
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="no such run or checkpoint"):
        restore_params(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither a run"):
        restore_params(tmp_path / "empty")
    shutil.move(run / "checkpoints/5", run / "checkpoints/5.orbax-checkpoint-tmp")
    with pytest.raises(UserError, match=r"not a usable checkpoint: .*unfinished"):
        restore_params(run / "checkpoints/5.orbax-checkpoint-tmp")
    for step in ("3", "7"):
        shutil.rmtree(run / "checkpoints" / step, ignore_errors=True)
        (run / "checkpoints" / step).mkdir()
    with pytest.raises(UserError, match=r"holds no finished checkpoint \(7: .*; 3: "):
        restore_params(run)


def test_metadata_of_another_version_is_refused(tmp_path):
    for change, message in [
        ({"format": 99}, "metadata format 99, this iml reads 1"),
        ({"model": {"hiden": 3}}, "unknown model field 'hiden'"),
        ({"model": {"hidden": "3"}}, "hidden = '3' is no int"),
        ({"model": {"hidden": 3}}, "lacks the model field"),
        ({"model": None}, "names no model"),
    ]:
        with CheckpointStore(tmp_path / message) as store:
            store.save(1, {"params": make_state().params}, None, metadata(1) | change)
        with pytest.raises(UserError, match=message):
            restore_params(tmp_path / message)


def test_what_stands_in_the_way_is_moved_aside_if_unusable_and_refused_if_not(run):
    (run / "checkpoints/5/commit_success.txt").unlink()
    with CheckpointStore(run, EVERY_STEP) as store:
        state = save(store, 5)
    assert_equal(restore_params(run)[1], state.params)
    assert locate.steps_on_disk(run / "checkpoints") == [3, 5]
    assert (run / "checkpoints/5.refused").is_dir()
    with CheckpointStore(run, EVERY_STEP) as store, pytest.raises(Fault, match=r"5 exists already"):
        save(store, 5)


@pytest.mark.parametrize("call", ["check", "save", "wait", "close"])
def test_a_failed_save_is_heard_at_the_next_call_and_leaves_nothing(tmp_path, monkeypatch, call):
    store = CheckpointStore(tmp_path, EVERY_STEP)
    save(store, 1)
    store.wait()
    handler = restore.ocp.PyTreeCheckpointHandler

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handler, "finalize", full)
    save(store, 2)  # returns: the failure comes from the background
    deadline = time.monotonic() + 60
    while store._manager.is_saving_in_progress() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(Fault, match=r"could not save checkpoint .*/2; the disk is full: .*No space left"):
        if call == "save":
            save(store, 3)
        else:
            getattr(store, call)()
    monkeypatch.undo()
    assert store.latest_step() == 1
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["1"]
    if call != "close":
        save(store, 4)
        store.close()
        assert store.latest_step() == 4


def test_a_place_that_cannot_be_written_is_a_fault(tmp_path):
    (tmp_path / "checkpoints").write_text("a file, no directory")
    with pytest.raises(Fault, match=r"could not (save|open) checkpoint"), CheckpointStore(tmp_path) as store:
        save(store, 1)


def test_milestones_stay_and_time_makes_a_save_due(tmp_path, monkeypatch):
    config = CheckpointConfig(every=100, every_minutes=10, keep=1, keep_every=2)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with CheckpointStore(tmp_path, config) as store:
        for step in range(1, 6):
            assert store.due(step) == (step % 2 == 0)
            save(store, step)
        now[0] += 599
        assert not store.due(7)
        now[0] += 2
        assert store.due(7)
        save(store, 7)
        assert not store.due(9)
        assert store.due(100)
    assert locate.steps_on_disk(tmp_path / "checkpoints") == [2, 4, 7]


def test_with_one_kept_the_older_stays_until_the_newer_is_verified(tmp_path, monkeypatch):
    config = CheckpointConfig(every=1, keep=1, keep_best=False)
    with CheckpointStore(tmp_path, config) as store:
        save(store, 1)
        save(store, 2)
        store.wait()
        assert locate.steps_on_disk(tmp_path / "checkpoints") == [2]
        monkeypatch.setattr(locate, "damage", lambda place: f"{place.name} is damaged")
        save(store, 3)
        with pytest.raises(Fault, match="3: saved, but it cannot be used"):
            store.wait()
    assert locate.steps_on_disk(tmp_path / "checkpoints") == [2, 3]


def test_config_is_validated():
    with pytest.raises(UserError, match=r"Checkpoints\.every_minutes = -1"):
        CheckpointConfig(every_minutes=-1)
    with pytest.raises(UserError, match=r"Checkpoints\.keep_every = -1"):
        CheckpointConfig(keep_every=-1)
    with pytest.raises(UserError, match=r"Checkpoints\.every = 0"):
        CheckpointConfig(every=0)
    with pytest.raises(UserError, match=r"Checkpoints\.keep = -1"):
        CheckpointConfig(keep=-1)
