"""The cache job's parts: records mean what SeqIO's own writer would write; shards are cut and named."""

from __future__ import annotations

import numpy as np
import pytest
import seqio
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordReader

from iml_jax.bench import caching
from iml_jax.data.records import serialise_example
from iml_jax.foundation.errors import UserError


def test_records_equal_seqios(tmp_path):
    rng = np.random.default_rng()
    for _ in range(20):
        row = {
            "inputs": rng.integers(0, 50_000, rng.integers(1, 9), dtype=np.int32),
            "example_id": [rng.bytes(5)],
            "references": [rng.bytes(3) for _ in range(rng.integers(1, 4))],
        }
        features = caching._tensors(row)
        assert [features[name].shape.rank for name in row] == [1, 0, 1]
        assert tf.train.Example.FromString(serialise_example(row)) == seqio.dict_to_tfexample(features)


def test_features_are_described_without_a_value_too():
    features = caching._tensors({"options": [], "option_ids": np.array([], np.int32), "template": [b""]})
    assert {name: (tensor.dtype.name, tensor.shape.rank) for name, tensor in features.items()} == {
        "options": ("string", 1),
        "option_ids": ("int32", 1),
        "template": ("string", 0),
    }


def test_shards_are_cut_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "SHARD_EXAMPLES", 4)
    shards = caching._Shards(tmp_path, "train")
    for number in range(10):
        shards.write(b"%d" % number)
    entries = shards.close()
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
    assert caching._Shards(tmp_path, "test").close() == ()


def test_counts():
    counts = caching._Counts(length=5)
    for inputs, targets in ((3, 3), (4, 3), (0, 2)):
        counts.add(inputs, targets)
    assert counts.left_truncated == 1  # 6 tokens make 5 predictions and fit, 7 do not
    assert counts.loss_tokens == 3 + 3 + 1  # nothing predicts the first token of a row without a source
    assert counts.stats()["inputs_max_tokens"] == 4


def test_beam_options_are_checked(tmp_path):
    job = caching.CacheJob(str(tmp_path), str(tmp_path), 0, 8)
    with pytest.raises(UserError, match="pipeline_options"):
        caching.run(job, [], ["--runner=Nonesuch"])
