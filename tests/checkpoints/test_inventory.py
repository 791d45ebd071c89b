"""inventory.py and verifying.py: damage of every file is found, whatever its size; the one before is read."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from support.saved_states import EVERY_STEP, MODEL, abstract, assert_equal, make_state, mesh, save

from iml_jax.checkpoints import inventory, locate, places, restore, verifying
from iml_jax.checkpoints.restore import restore_params
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.foundation.errors import Fault, UserError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A run with checkpoints 3 and 5, which no test changes."""
    place = tmp_path_factory.mktemp("pristine")
    with CheckpointStore(place, EVERY_STEP) as store:
        save(store, 3)
        save(store, 5)
    return place


@pytest.fixture
def damaged(pristine, tmp_path):
    """A copy to damage."""
    shutil.copytree(pristine, tmp_path / "copy")
    return tmp_path / "copy"


def flip(file, rng) -> None:
    """Changes one bit of a file, whose size stays."""
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)


def files(step):
    return sorted(file for file in step.rglob("*") if file.is_file())


def test_one_bit_in_any_file_is_found_and_the_checkpoint_before_is_read(damaged, capsys):
    rng, step = np.random.default_rng(), damaged / "checkpoints/5"
    kinds = {file.relative_to(step).parts[0] for file in files(step)}
    assert {"state", "data", "metadata", "inventory.json", "_CHECKPOINT_METADATA"} <= kinds
    assert len(files(step)) >= 14
    params = make_state(3).params
    for file in files(step):
        whole = file.read_bytes()
        flip(file, rng)
        if file.name == "inventory.json" and json_of(file) == json.loads(whole):
            continue  # white space
        assert restore_params(damaged)[2]["updates"] == 3, file
        said = capsys.readouterr().err
        assert said.startswith(f"checkpoint {step} is not usable (it is damaged (") and said.count("\n") == 1
        assert said.endswith("); taking the one before\n")
        with pytest.raises(UserError, match=r"checkpoints/5: not a usable checkpoint: it is damaged"):
            restore_params(step)
        file.write_bytes(whole)
    assert restore_params(damaged)[2]["updates"] == 5
    assert_equal(restore_params(damaged / "checkpoints/3")[1], params)


def json_of(file):
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


@pytest.mark.parametrize("kind", ["array", "data"])
def test_a_resume_takes_the_one_before_and_saves_the_damaged_step_again(damaged, kind, capsys):
    step = damaged / "checkpoints/5"
    names = inventory.read(step).sizes
    arrays = max((step / name for name in names), key=lambda file: file.stat().st_size)
    flip(arrays if kind == "array" else step / "data/metadata", np.random.default_rng())
    with CheckpointStore(damaged, EVERY_STEP) as store:
        assert store.latest_step() == 5  # of the right sizes
        restored = store.restore_newest(abstract(make_state(), mesh(1, 8)), MODEL)
        assert restored.metadata["updates"] == store.newest == store.latest_step() == 3
        assert_equal(restored.state, make_state(3))
        assert "does not have the checksum" in store.refused()[5]
        state = save(store, 5)
    assert_equal(restore_params(damaged)[1], state.params)
    assert locate.steps_on_disk(damaged / "checkpoints") == [3, 5]
    assert (damaged / "checkpoints/5.refused").is_dir()
    for step in ("3", "5"):
        largest = max(files(damaged / "checkpoints" / step), key=lambda file: file.stat().st_size)
        flip(largest, np.random.default_rng())
    store = CheckpointStore(damaged)
    assert store.restore_newest(abstract(make_state(), mesh(1, 8)), MODEL) is None
    assert store.refused().keys() == {3, 5}
    with pytest.raises(UserError, match=r"holds no finished checkpoint \(5: it is damaged .*; 3: it is dam"):
        restore_params(damaged)


def test_the_best_checkpoint_is_never_replaced_by_another(damaged):
    (damaged / "best.json").write_text('{"step": 5, "selection_score": 50.0}')
    assert restore_params(damaged / "best")[2]["updates"] == 5
    largest = max(files(damaged / "checkpoints/5"), key=lambda file: file.stat().st_size)
    flip(largest, np.random.default_rng())
    with pytest.raises(UserError, match=r"checkpoints/5: not a usable checkpoint: it is damaged"):
        restore_params(damaged / "best")


def test_without_checksums_it_is_read_and_a_line_says_so(damaged, capsys):
    step = damaged / "checkpoints/5"
    old = inventory.read(step).sizes
    for content in (json.dumps(old), None):
        (step / "inventory.json").unlink()
        if content:
            (step / "inventory.json").write_text(content)
        _, params, _ = restore_params(damaged)
        assert_equal(params, make_state(5).params)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"checkpoint {step} is read unverified: {len(old)} of its files have no checksum" in said
        if content:
            os.truncate(step / "data/metadata", 3)  # sizes still count
            assert "has 3 bytes of" in locate.damage(step)
            (step / "data/metadata").write_bytes((damaged / "checkpoints/3/data/metadata").read_bytes())


def test_hosts_share_the_files_and_their_parts_add_up(damaged, capsys):
    step, rng = damaged / "checkpoints/5", np.random.default_rng()
    sizes = inventory.read(step).sizes
    (step / "inventory.json").unlink()
    for host in (2, 0):
        inventory.write(step, host, 3)
    inventory.write(step, 1, 3)
    assert inventory.read(step).sizes == sizes
    assert inventory.read(step).checksums.keys() == sizes.keys()
    assert inventory.verify(step) == ("", 0)
    largest = max((step / name for name in sizes), key=lambda file: file.stat().st_size)
    flip(largest, rng)
    for hosts in (1, 2, 7):
        found = [inventory.verify(step, host, hosts).damage for host in range(hosts)]
        assert len([damage for damage in found if damage]) == 1
    (step / "inventory.1.json").unlink()  # killed before it was written
    assert inventory.verify(step).damage or inventory.verify(step).unverified


def test_every_file_is_the_share_of_exactly_one_host():
    rng = np.random.default_rng()
    for _ in range(50):
        sizes = {
            f"state/ocdbt.process_{i}/d/x": int(rng.integers(0, 10**9)) for i in range(rng.integers(1, 40))
        }
        hosts = int(rng.integers(1, 20))
        shares = [inventory.share(sizes, host, hosts) for host in range(hosts)]
        assert sorted(name for own in shares for name in own) == sorted(sizes)
    even = {f"state/ocdbt.process_{i}/d/x": 100 for i in range(12)}
    assert [inventory.share(even, host, 12) for host in (2, 10)] == [
        ["state/ocdbt.process_2/d/x"],
        ["state/ocdbt.process_10/d/x"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 2, "algorithm": "xxh3_128", "sizes": {"../../x": 1}, "checksums": {}}',
        '{"format": 2, "algorithm": "xxh3_128", "sizes": {"/etc/passwd": 1}, "checksums": {}}',
        '{"format": 2, "algorithm": "xxh3_128", "sizes": {}, "checksums": {"/etc/passwd": "0"}}',
        '{"format": 2, "algorithm": "crc", "sizes": {}, "checksums": {}}',
        '{"format": 2, "algorithm": "xxh3_128", "sizes": [], "checksums": []}',
        '{"format": 2, "algorithm": "xxh3_128", "sizes": 1180591620717411303424, "checksums": {}}',
        '{"format": 2, "algorithm": "xxh3_128", "sizes": {"x": "1"}, "checksums": {}}',
        '{"format": 2, "algorithm": "xxh3_128", "sizes": {"x": 1}, "checksums": {"x": 1}}',
        '{"format": NaN}',
        "[]",
        "",
    ],
)
def test_an_inventory_that_is_none_is_damage(damaged, text):
    (damaged / "checkpoints/5/inventory.json").write_text(text)
    assert locate.damage(damaged / "checkpoints/5") == "it is damaged (inventory.json cannot be read)"
    assert restore_params(damaged)[2]["updates"] == 3


def test_a_fifo_among_the_files_is_damage_and_never_waited_for(damaged):
    step = damaged / "checkpoints/5"
    for name in ("metadata/metadata", "data/metadata", "inventory.json", "state/_METADATA"):
        (step / name).unlink()
        os.mkfifo(step / name)
        assert "it is damaged" in (locate.damage(step) or inventory.verify(step).damage)
        assert restore_params(damaged)[2]["updates"] == 3


def test_what_reading_finds_first_is_put_down_to_the_damage(damaged):
    step = damaged / "checkpoints/5"
    (step / "metadata/metadata").write_text('{"format": 1}')
    (step / "inventory.json").unlink()
    with pytest.raises(UserError, match=r"checkpoints/5: metadata has updates = None"):
        restore_params(damaged)

    def read(place):
        raise Fault("an array cannot be read")

    with pytest.raises(Fault, match="an array cannot be read"):
        verifying.read_verified(damaged / "checkpoints/3", read)
    largest = max(files(damaged / "checkpoints/3"), key=lambda file: file.stat().st_size)
    flip(largest, np.random.default_rng())
    with pytest.raises(verifying.Damaged, match="does not have the checksum"):
        verifying.read_verified(damaged / "checkpoints/3", read)


def test_a_save_that_cannot_be_used_is_a_fault(tmp_path, monkeypatch):
    """Orbax commits it without a complaint (its glob finds no files of a process)."""
    monkeypatch.setattr(places, "check_saveable", lambda place: None)
    for call in ("wait", "save", "close"):
        store = CheckpointStore(tmp_path / "a[b]", EVERY_STEP)
        save(store, 1)
        with pytest.raises(
            Fault, match=r"checkpoints/1: saved, but it cannot be used: it is damaged \(state/m"
        ):
            save(store, 2) if call == "save" else getattr(store, call)()
        assert not list((tmp_path / "a[b]/checkpoints").glob("*/inventory.json"))
        store.close()
        shutil.rmtree(tmp_path / "a[b]")


def test_a_save_is_done_with_its_checksums_without_waiting_for_them(tmp_path):
    with CheckpointStore(tmp_path, EVERY_STEP) as store:
        save(store, 1)
        while store._pending is not None:
            store.check()
        step = tmp_path / "checkpoints/1"
        assert inventory.verify(step) == ("", 0)
        assert inventory.read(step).checksums.keys() == inventory.read(step).sizes.keys()
        assert not list(step.glob("*.tmp"))


def test_lazy_parameters_are_verified_too(damaged):
    place = damaged / "checkpoints/5"
    largest = max(files(place), key=lambda file: file.stat().st_size)
    flip(largest, np.random.default_rng())
    assert verifying.read_newest(damaged, lambda place: restore.open_params(place)[2]["updates"]) == 3
