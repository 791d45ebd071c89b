"""Sampled counts: what a loader handed out, from its state alone, on one host and on several."""

import collections

import numpy as np
import pytest
from support.fixtures_prepared import SyntheticTask, random_rows

from iml_jax.data import manifest as manifests
from iml_jax.data import sampled
from iml_jax.data.loader import LoaderConfig, make_loader, merge_states
from iml_jax.foundation.errors import UserError

CONFIG = LoaderConfig(batch_size=8, virtual_shards=4, seed=3, packing_bins=3, prefetch=0)


@pytest.fixture
def prepared(make_prepared):
    rng = np.random.default_rng()
    return make_prepared(
        [
            SyntheticTask(f"bench:t{number}:zero_shot", {"train": random_rows(rng, size)}, rate)
            for number, (size, rate) in enumerate(((5, 1.0), (9, 0.0), (30, 3.0)))
        ]
    )


@pytest.mark.parametrize("hosts", [1, 2])
def test_counts_are_the_segments_handed_out(prepared, tmp_path, hosts):
    manifest = manifests.load(prepared)
    loaders = [make_loader(prepared, CONFIG, process_index=i, process_count=hosts) for i in range(hosts)]
    segments = 0
    for _ in range(7):
        segments += sum(int(next(loader).segment_ids.max(axis=1).sum()) for loader in loaders)
    state = merge_states([loader.state() for loader in loaders])
    counts = sampled.counts_of(state, manifest)
    assert sum(counts.values()) == segments
    together = collections.Counter()
    for loader in loaders:
        together.update(loader.sampled_counts())
        loader.close()
    assert counts == together
    assert list(counts) == ["bench:t0:zero_shot", "bench:t2:zero_shot"]  # t1 has rate 0
    sampled.save(tmp_path, 7, state, manifest)
    assert sampled.load(tmp_path) == sampled.SampledCounts(7, counts)
    assert sampled.load(tmp_path).total == segments


def test_counts_go_on_after_a_restore(prepared):
    manifest = manifests.load(prepared)
    straight = make_loader(prepared, CONFIG)
    for _ in range(9):
        next(straight)
    state = None
    for batches in (4, 3, 2):  # two restores, so that what was counted before the last one is there, too
        loader = make_loader(prepared, CONFIG)
        if state is not None:
            loader.restore(state)
        for _ in range(batches):
            next(loader)
        state = loader.state()
        loader.close()
    assert sampled.counts_of(merge_states([state]), manifest) == straight.sampled_counts()
    straight.close()


def test_what_cannot_be_told(prepared, tmp_path):
    with pytest.raises(UserError, match=r"sampled_counts\.json: no such file; a run writes it"):
        sampled.load(tmp_path)
    for text in ("{", "[]", '{"step": 1}', '{"step": 1, "counts": {"a": "x"}}'):
        (tmp_path / sampled.FILE_NAME).write_text(text)
        with pytest.raises(UserError, match=r"sampled_counts\.json:.*(malformed|expected|cannot be read)"):
            sampled.load(tmp_path)
    with pytest.raises(UserError, match="not of the manifest"):
        sampled.counts_of({"manifest": "other"}, manifests.load(prepared))
