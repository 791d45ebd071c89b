"""iml_jax/data/mixing.py: rates, shares, epochs, and the hash and permutation they rest on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.data.mixing import MixtureOrder, mix_bits, permute


def splitmix(words):
    """The hash in plain Python integers."""
    mask, state = 2**64 - 1, 0
    for word in words:
        state = ((state ^ word) + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_hash_is_splitmix(words):
    assert int(mix_bits(*[np.uint64(word) for word in words])) == splitmix(words)


@settings(deadline=None)
@given(size=st.integers(1, 400), seed=st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size, seed):
    found = permute(np.arange(size), np.full(size, size), np.full(size, seed, np.uint64))
    np.testing.assert_array_equal(np.sort(found), np.arange(size))


def test_permutations_are_uniform_enough():
    """Each value goes everywhere equally often over seeds (chi-square with 63 x 64 cells)."""
    size, seeds = 64, 6400
    places = np.tile(np.arange(size), seeds)
    found = permute(
        places, np.full(len(places), size), mix_bits(np.repeat(np.arange(seeds), size).astype("u8"))
    )
    counts = np.bincount(places * size + found, minlength=size * size)
    chi = np.sum((counts - 100) ** 2 / 100)
    free = (size - 1) ** 2
    assert abs(chi - free) < 6 * np.sqrt(2 * free)


def take(order, count):
    return np.array([order[index] for index in range(count)])


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=40),
    seed=st.integers(0, 2**40),
    shards=st.sampled_from([1, 2, 8]),
    data=st.data(),
)
def test_rates_hold_from_the_first_block_on(weights, seed, shards, data):
    """At every block boundary each task was taken rate x time, to within one."""
    sizes = np.array(data.draw(st.lists(st.integers(1, 30), min_size=len(weights), max_size=len(weights))))
    shard = data.draw(st.integers(0, shards - 1))
    rates = np.array(weights) / np.sum(weights)
    taken = take(MixtureOrder(np.array(weights), sizes, seed, shard, shards), 2500)
    order = MixtureOrder(np.array(weights), sizes, seed, shard, shards)
    for blocks in (1, 2):
        end = int(order._visits(blocks).sum())
        assert abs(end - blocks * 1024) <= len(weights)
        counts = np.bincount(taken[:end, 0], minlength=len(weights))
        assert np.all(np.abs(counts - blocks * 1024 * rates) <= 1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), shards=st.sampled_from([1, 2, 4, 8]))
def test_shards_together_visit_every_record_once_an_epoch(seed, shards):
    """A task smaller than the number of shards included."""
    sizes = np.array([3, 50, 400])
    rates = np.array([0.1, 0.3, 0.6])
    visits = [[[] for _ in sizes] for _ in range(shards)]
    for shard in range(shards):
        for task, record in take(MixtureOrder(rates, sizes, seed, shard, shards), 2000).tolist():
            visits[shard][task].append(record)
    for task, size in enumerate(sizes):
        depth = min(len(visits[shard][task]) for shard in range(shards))
        stream = [visits[shard][task][place] for place in range(depth) for shard in range(shards)]
        epochs = [stream[start : start + size] for start in range(0, len(stream) - size + 1, size)]
        assert epochs
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        if size == 50:
            assert epochs[0] != epochs[1]  # every epoch has its own order


def test_random_access_equals_reading_on():
    rates, sizes = np.array([5.0, 1.0, 0.2]), np.array([7, 1000, 2])
    ahead = take(MixtureOrder(rates, sizes, 3, 1, 4), 5000)
    order = MixtureOrder(rates, sizes, 3, 1, 4)
    for index in np.random.default_rng(0).permutation(5000)[:300]:
        assert order[int(index)] == tuple(ahead[index])


def test_far_ahead_is_reached_at_once():
    order = MixtureOrder(np.ones(5), np.full(5, 10), 0, 0, 1)
    task, record = order[10**12]
    assert 0 <= task < 5
    assert 0 <= record < 10


def test_a_rare_task_is_not_favoured_at_the_start():
    """One in 100,000 appears in the first block of about 1% of seeds, not of all."""
    rates = np.array([1 - 1e-5, 1e-5])
    first = [1 in take(MixtureOrder(rates, np.array([9, 9]), seed, 0, 1), 1024)[:, 0] for seed in range(300)]
    assert sum(first) < 20


def test_shards_and_seeds_differ():
    orders = [MixtureOrder(np.ones(9), np.full(9, 99), seed, shard, 2) for seed in (0, 1) for shard in (0, 1)]
    taken = [take(order, 100).tobytes() for order in orders]
    assert len(set(taken)) == 4


@pytest.mark.parametrize(
    "rates, sizes", [([], []), ([0.0, 1.0], [1, 1]), ([1.0], [0]), ([np.nan], [1]), ([1.0], [1, 2])]
)
def test_impossible_mixtures_are_refused(rates, sizes):
    with pytest.raises(ValueError):
        MixtureOrder(np.array(rates), np.array(sizes), 0, 0, 1)


def test_a_rare_task_comes_at_another_time_in_each_shard():
    """Else eight shards would all draw it in the same global batches; order is drawn by blocks of 1,024."""
    rates, records = np.array([1 - 1e-4, 1e-4]), np.array([1000, 1000])
    blocks = []
    for shard in range(8):
        order = MixtureOrder(rates, records, seed=5, shard=shard, shards=8)
        blocks.append(next(index for index in range(20_000) if order[index][0] == 1) // 1024)
    assert len(set(blocks)) >= 4
