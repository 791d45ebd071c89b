"""The cache job: slices merge to the same bytes whatever their number; shards are named and counted."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import cache_folders, caching, mixtures
from iml_jax.bench.record_encoding import EncodedExample
from iml_jax.bench.variants import FewShot
from iml_jax.data import tokenizer as tokenizers
from iml_jax.foundation.errors import UserError


def test_shards_are_split_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "SHARD_EXAMPLES", 4)
    with caching._Shards(tmp_path, "train") as shards:
        for number in range(10):
            shards.write(b"%d" % number)
    entries = shards.entries
    assert [(e.path, e.records) for e in entries] == [
        (f"train.array_record-0000{i}-of-00003", count) for i, count in enumerate((4, 4, 2))
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [entry.path for entry in entries]
    found = []
    for entry in entries:
        assert (tmp_path / entry.path).stat().st_size == entry.bytes
        reader = ArrayRecordReader(str(tmp_path / entry.path))
        found += reader.read_all()
        reader.close()
    assert found == [b"%d" % number for number in range(10)]
    with caching._Shards(tmp_path, "test") as shards:
        pass
    assert shards.entries == ()


def test_counts():
    counts = caching.SplitCounts()
    for prompt, target in ((3, 3), (4, 3), (0, 2)):
        counts.add(EncodedExample(b"", prompt, target), length=5)
    assert counts.left_truncated == 1  # 6 tokens make 5 predictions and fit, 7 do not
    assert counts.loss_tokens == 3 + 3 + 1  # nothing predicts the first token of a row without a prompt
    other = caching.SplitCounts(examples=2, tokens=5, dropped=collections.Counter(a=1))
    counts.merge(other)
    counts.merge(other)
    assert (counts.examples, counts.tokens, counts.dropped) == (7, 15 + 10, {"a": 2})
    assert other == caching.SplitCounts(examples=2, tokens=5, dropped=collections.Counter(a=1))


def test_beam_options_are_checked(tmp_path):
    job = caching.CacheJob(str(tmp_path), str(tmp_path), 0, 8)
    with pytest.raises(UserError, match="pipeline_options"):
        caching.run(job, [], ["--runner=Nonesuch"])


@pytest.fixture
def planned(tmp_path):
    """A task with 70 training rows, some of them of no use, 50 of them sampled, and 33 test rows."""
    rows = simple_rows(70)
    for number in (0, 5, 17, 69):
        rows[number] |= {"skip": True}
    rows[30] |= {"references": [" "]}
    write_rows(tmp_path / "src", "a", "train", rows)
    write_rows(tmp_path / "src", "a", "test", simple_rows(33))
    tokenizers.train(["What is the colour of 1? Answer: deep blue red green"] * 9, 300).save(
        tmp_path / "tokenizer"
    )
    config = mixtures.MixtureConfig(
        "m", (FakeSource(str(tmp_path / "src")),), evaluation_prompts=(FewShot(2),)
    )
    return [
        dataclasses.replace(task, caps={split: 50 if split == "train" else 0 for split in task.caps})
        for task in mixtures.plan(config)
    ]


def written(tmp_path, planned, slices, block_examples, order=None):
    """Bytes of all files of the tasks' cache folders, by path."""
    out = tmp_path / f"out-{slices}-{block_examples}-{order}"
    job = caching.CacheJob(str(out), str(tmp_path / "tokenizer"), 3, 40, block_examples)
    for task in planned:
        work = caching.Work(task, "key", slices)
        if slices == 1:
            caching.cache_task(job, work)
        else:
            parts = {number: caching.cache_slice(job, work, number) for number in order or range(slices)}
            caching.merge_task(job, work, [parts[number] for number in range(slices)])
    assert not list(out.rglob("*.tmp"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("slices", "block_examples"), [(2, 16), (3, 1), (5, 7), (4, 256)])
def test_the_bytes_are_the_same_for_every_number_of_slices_and_block_size(
    tmp_path, planned, slices, block_examples
):
    whole = written(tmp_path, planned, 1, 256)
    assert sum(path.endswith("prepared.json") for path in whole) == len(planned) == 2
    assert written(tmp_path, planned, slices, block_examples) == whole
    shuffled = tuple(np.random.default_rng().permutation(slices).tolist())
    assert written(tmp_path, planned, slices, block_examples, shuffled) == whole


def test_a_failed_slice_fails_the_task_and_leaves_no_part(tmp_path, planned):
    path = tmp_path / "src" / "a.test.jsonl"
    out = tmp_path / "out"
    cache_folders.start(out)
    job = caching.CacheJob(str(out), str(tmp_path / "tokenizer"), 3, 40, 4)
    # The slices of the training task succeed; those of the evaluated one read the damaged line.
    path.write_text(path.read_text() + "{broken\n")
    caching.run(job, [caching.Work(task, "key", 2) for task in planned], ["--runner=DirectRunner"])
    with pytest.raises(UserError, match=r"a\.test\.jsonl:34"):
        cache_folders.finish(out, len(planned))
    assert [bool(cache_folders.read(out, task.name, "key")) for task in planned] == [
        "test" not in task.caps for task in planned
    ]
    assert not list(out.rglob("*.tmp")) and [path.name for path in out.iterdir()] == ["cache"]
