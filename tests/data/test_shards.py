"""iml_jax/data/shards.py: reading ArrayRecord shards, whole and damaged."""

import hashlib
import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from support.fixtures_prepared import SyntheticTask, random_rows

from iml_jax.data import manifest as manifests
from iml_jax.data import shards
from iml_jax.data.loader import LoaderConfig, make_loader
from iml_jax.data.shards import RecordList, ShardPool, read_split
from iml_jax.foundation.errors import UserError


@pytest.fixture
def prepared(make_prepared):
    """One task of three shards: (directory, its entry, its rows in file order)."""
    rows = random_rows(np.random.default_rng(), 20)
    task = SyntheticTask("bench:one:zero_shot", {"test": rows, "train": rows[:1]}, 1.0, shards=3)
    directory = make_prepared([task])
    in_order = list(itertools.chain(*(rows[shard::3] for shard in range(3))))
    return directory, manifests.load(directory).tasks[0], in_order


def same(found, expected):
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["prompt_ids"], expected["prompt_ids"])
    np.testing.assert_array_equal(found["target_ids"], expected["target_ids"])
    assert found["example_id"] == expected["example_id"]


def test_read_split_gives_every_record_in_file_order(prepared):
    directory, task, rows = prepared
    found = list(read_split(directory, task, "test"))
    assert len(found) == len(rows)
    for a, b in zip(found, rows, strict=True):
        same(a, b)


def test_random_access_and_a_pool_smaller_than_the_shards(prepared):
    directory, task, rows = prepared
    pool = ShardPool(directory, max_open=2)
    records = RecordList(pool, task.splits["test"].files)
    assert len(records) == len(rows)
    for index in np.random.default_rng().integers(0, len(rows), 60):
        same(records[int(index)], rows[index])
    for index in (-1, len(rows)):
        with pytest.raises(IndexError):
            records[index]
    assert "record 0" in records.place(7)
    pool.close()
    same(records[3], rows[3])  # opens again


def test_open_files_stay_below_the_limit(make_prepared):
    rows = random_rows(np.random.default_rng(), 40)
    directory = make_prepared([SyntheticTask("bench:one:zero_shot", {"train": rows}, 1.0, shards=40)])
    pool = ShardPool(directory, max_open=5)
    records = RecordList(pool, manifests.load(directory).tasks[0].splits["train"].files)

    def opened():
        links = [link for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)]
        return sum(str(directory) in str(link.readlink()) for link in links)

    most = 0
    for index in range(40):
        _ = records[index]
        most = max(most, opened())
    assert most == 5
    pool.close()
    assert opened() == 0


def test_threads_share_a_pool(prepared):
    directory, task, rows = prepared
    records = RecordList(ShardPool(directory, max_open=1), task.splits["test"].files)
    wrong = []

    def work(seed):
        for index in np.random.default_rng(seed).integers(0, len(rows), 200).tolist():
            wrong.extend([index] * (records[index]["example_id"] != rows[index]["example_id"]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_missing_split_is_refused_at_once(prepared):
    directory, task, _ = prepared
    with pytest.raises(UserError, match=r"task bench:one:zero_shot has no split 'validation'"):
        read_split(directory, task, "validation")


def damage(path, kind):
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: len(content) - 10])
    elif kind == "block":  # array_record opens this one and claims that it has no records
        path.write_bytes(content[: 2**16])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "footer":
        path.write_bytes(content[: 2**16 + 64] + bytes([255] * 20) + content[2**16 + 84 :])
    else:
        at = content.index(b"template")  # inside a record: its checksum no longer holds
        path.write_bytes(content[:at] + b"TEMPLATE" + content[at + 8 :])


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("missing", "No such file"),
        ("cut", "131062 bytes where the manifest says 131072"),
        ("block", "65536 bytes where the manifest says 131072"),
        ("empty", "0 bytes where the manifest says 131072"),
        ("footer", "0 readable records where the manifest says 5"),
        ("record", "record 0 is damaged"),
    ],
)
def test_damaged_shards_are_user_errors(make_prepared, kind, reason, monkeypatch):
    monkeypatch.setattr(ShardPool, "_compare", lambda pool, shard: None)  # what the reader itself finds
    rows = random_rows(np.random.default_rng(1), 5)
    directory = make_prepared([SyntheticTask("bench:one:zero_shot", {"test": rows}, trained=False)])
    task = manifests.load(directory).tasks[0]
    path = directory / task.splits["test"].files[0].path
    damage(path, kind)
    with pytest.raises(UserError, match=reason + r".*run `iml prepare` again$") as caught:
        list(read_split(directory, task, "test"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_example_name_their_place(make_prepared, monkeypatch):
    monkeypatch.setattr(ShardPool, "_compare", lambda pool, shard: None)
    rows = random_rows(np.random.default_rng(2), 2)
    directory = make_prepared([SyntheticTask("bench:one:zero_shot", {"test": rows}, trained=False)])
    task = manifests.load(directory).tasks[0]
    shard = task.splits["test"].files[0]
    writer = ArrayRecordWriter(str(directory / shard.path), "group_size:1")
    writer.write(b"\xff\xff")
    writer.write(b"\xff\xff")
    writer.close()
    with pytest.raises(UserError, match=r"record 0 is not a serialised"):
        list(read_split(directory, task, "test"))


def _damage(prepared, split="train"):
    """Changes one bit of one shard, whose size stays; returns the shard."""
    task = manifests.load(prepared).tasks[0]
    shard = prepared / task.splits[split].files[-1].path
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 16
    shard.write_bytes(content)
    return shard


@pytest.fixture
def rows_of_many_shards(make_prepared):
    rng = np.random.default_rng()
    task = SyntheticTask("b:t:zero_shot", {"train": random_rows(rng, 60)}, rate=1.0, shards=3)
    return make_prepared([task])


def test_a_changed_bit_is_found_before_the_first_record_is_read(rows_of_many_shards):
    prepared = rows_of_many_shards
    task = manifests.load(prepared).tasks[0]
    assert len(list(read_split(prepared, task, "train"))) == 60
    shard = _damage(prepared)
    read = []
    with pytest.raises(UserError, match=r"it is not what was prepared .*`iml prepare` again") as one:
        read.extend(read_split(prepared, task, "train"))
    assert str(one.value).startswith(f"{shard}: ")
    assert len(read) <= 40


def test_a_changed_bit_stops_the_stream_and_is_never_saved(rows_of_many_shards):
    prepared = rows_of_many_shards
    shard = _damage(prepared)
    for prefetch in (0, 4):
        loader = make_loader(prepared, LoaderConfig(batch_size=4, prefetch=prefetch))
        try:
            with pytest.raises(UserError, match=r"run `iml prepare` again"):
                next(loader)  # may be read before it was compared
                loader.state()
            for _ in range(2):
                with pytest.raises(UserError, match=rf"^{shard}: "):
                    next(loader)
        finally:
            loader.close()


def test_every_shard_is_compared_once_a_process(rows_of_many_shards, monkeypatch):
    prepared, computed, sha256 = rows_of_many_shards, [], hashlib.sha256
    task = manifests.load(prepared).tasks[0]
    monkeypatch.setattr(shards.hashlib, "sha256", lambda: computed.append(1) or sha256())
    for background in (True, False):
        pool = ShardPool(prepared, max_open=1, background=background)
        records = RecordList(pool, task.splits["train"].files)
        for index in (0, 59, 0, 59, 30):  # every shard is opened again and again
            records[index]
        pool.settle()
        pool.close()
        assert len(computed) == 3
