"""benchmarks/reduction_dtype.py: the emulated sums against NumPy, the model under them, the tables."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from iml_jax.models import layers, opt
from iml_jax.parallel.mesh import single_device

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import reduction_dtype as benchmark
from reduction_emulation import Reduction, emulated, to_bfloat16

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "reduction_dtype.md"


def add(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """bfloat16 as the hardware does: the exact sum, rounded."""
    return (first.astype(np.float32) + second.astype(np.float32)).astype(ml_dtypes.bfloat16)


def reduce_scatter(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Each shard's piece, by messages: at each step all shards send one chunk to the next shard."""
    size = len(arrays)
    chunks = [np.split(array, size) for array in arrays]
    travelling = {(shard, (shard - 1) % size): chunks[shard][(shard - 1) % size] for shard in range(size)}
    for _ in range(size - 1):
        arrived = {((shard + 1) % size, chunk): sent for (shard, chunk), sent in travelling.items()}
        travelling = {key: add(sent, chunks[key[0]][key[1]]) for key, sent in arrived.items()}
    assert {shard == chunk for shard, chunk in travelling} == {True}
    return [travelling[shard, shard] for shard in range(size)]


@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_ring_adds_as_messages_between_shards_do(size):
    parts = np.random.default_rng(size).standard_normal((size, 3 * size)).astype(np.float32)
    expected = np.concatenate(reduce_scatter(list(parts.astype(ml_dtypes.bfloat16))))
    found = np.asarray(Reduction(size, (size,)).sum(jnp.asarray(parts)))
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert np.any(found != parts.astype(ml_dtypes.bfloat16).astype(np.float32).sum(axis=0))


def test_two_stages_add_as_messages_between_shards_do():
    outer, inner = 3, 4
    parts = np.random.default_rng(0).standard_normal((outer * inner, 5 * outer * inner)).astype(np.float32)
    held = {
        (i, j): parts[i * inner + j].astype(ml_dtypes.bfloat16) for i in range(outer) for j in range(inner)
    }
    for j in range(inner):
        for i, piece in enumerate(reduce_scatter([held[i, j] for i in range(outer)])):
            held[i, j] = piece
    for i in range(outer):
        for j, piece in enumerate(reduce_scatter([held[i, j] for j in range(inner)])):
            held[i, j] = piece
    expected = np.concatenate([held[i, j] for i in range(outer) for j in range(inner)])
    found = np.asarray(Reduction(12, (outer, inner)).sum(jnp.asarray(parts)))
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_every_addition_is_rounded_in_the_order_of_the_ring():
    """From 256 on bfloat16 holds even numbers only: one more is lost, and seven at once are not."""
    parts = np.ones((8, 8), np.float32)
    parts[1] = 256
    found = np.asarray(jax.jit(Reduction(8, (8,)).sum)(parts))
    # Chunk 0 begins with shard 1's 256; chunk 1 ends with it (7 + 256 = 263, a tie); chunk 7 begins with
    # shard 0's 1 (257, a tie, is 256).
    assert (found[0], found[1], found[7]) == (256, 264, 256)
    assert np.all(np.asarray(Reduction(8).sum(jnp.asarray(parts))) == 263)


def test_the_shards_own_gradients_are_rounded_first():
    parts = np.array([[1 + 2**-9, 0], [-1, 0]], np.float32)
    assert np.asarray(Reduction(2, (2,)).sum(jnp.asarray(parts)))[0] == 0
    assert np.asarray(Reduction(2).sum(jnp.asarray(parts)))[0] == 2**-9


@pytest.mark.parametrize("rings", [(8,), (64,), (256,), (16, 4), (16, 16)])
def test_sums_that_bfloat16_holds_are_those_of_float32(rings):
    """Small whole numbers, for a number of elements that the shards do not divide."""
    shards = int(np.prod(rings))
    parts = np.random.default_rng(1).integers(-1, 2, (shards, 100)).astype(np.float32)
    parts[:, 50:] = np.abs(parts[:, 50:]) * (np.arange(shards)[:, None] < 200)
    np.testing.assert_array_equal(np.asarray(Reduction(shards, rings).sum(jnp.asarray(parts))), parts.sum(0))


def test_rings_have_as_many_places_as_shards():
    with pytest.raises(ValueError, match=r"rings \(16, 16\) for 64 shards"):
        Reduction(64, (16, 16))


@pytest.fixture(scope="module")
def batch():
    """Weights as after some training, and token ids."""
    random = np.random.default_rng(2)
    params = jax.tree.map(
        lambda a: (np.asarray(a) + 0.02 * random.standard_normal(a.shape)).astype(np.float32),
        opt.init_params(benchmark.MODEL, jax.random.key(2)),
    )
    shape = (benchmark.ROWS, benchmark.LENGTH + 1)
    return params, random.integers(4, benchmark.VOCABULARY, shape).astype(np.int32)


def leaves(reduction, params, ids):
    def gradient(params, ids):  # a function of its own: jit keeps what it has traced
        return benchmark.gradient(params, ids)

    with single_device(), emulated(reduction):
        loss, found = jax.jit(gradient)(params, ids)
    return float(loss), named(found)


def named(tree):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def test_a_model_sums_the_gradients_of_its_matrices_so_and_no_others(batch):
    params, ids = batch
    before = layers.product
    loss, found = leaves(Reduction(8, (8,)), params, ids)
    assert layers.product is before
    in_float32 = leaves(Reduction(8), params, ids)[1]
    with single_device():
        by_itself, own = jax.jit(benchmark.gradient)(params, ids)
        by_shard = jax.jit(jax.vmap(lambda rows: benchmark.gradient(params, rows)[1]))(
            ids.reshape(8, -1, ids.shape[1])
        )
    assert loss == pytest.approx(float(by_itself), rel=1e-5)
    own, by_shard = named(own), named(by_shard)
    for name, parts in by_shard.items():
        if "kernel" not in name:
            largest = np.abs(own[name]).max()
            np.testing.assert_allclose(found[name], own[name], rtol=1e-3, atol=1e-4 * largest)
            continue
        of_layers = np.moveaxis(parts, 1, 0).reshape(parts.shape[1], 8, -1).astype(ml_dtypes.bfloat16)
        expected = np.stack([np.concatenate(reduce_scatter(list(layer))) for layer in of_layers])
        flat = found[name].reshape(expected.shape)
        # Parts differ by float32's order of additions, here and there by one unit of bfloat16.
        assert np.mean(flat == expected.astype(np.float32)) > 0.9
        exact = parts.astype(np.float64).sum(axis=0).reshape(expected.shape)
        error, least = (np.linalg.norm(one.reshape(exact.shape) - exact) for one in (flat, in_float32[name]))
        assert error > 1.3 * least


def test_rounding_is_that_of_bfloat16():
    values = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(jax.jit(to_bfloat16)(values)), expected)


def test_the_interval_is_students():
    # t(0.975, 2) = 4.302653; the differences' deviation is 1.
    mean, low, high = benchmark.interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert np.isnan(benchmark.interval([1.0])[1])


def test_differences_are_between_runs_of_one_seed():
    def run(arm, seed, loss):
        return {"arm": arm, "seed": seed, "training_loss": loss, "held_out_loss": loss, "curve": [loss] * 20}

    ring = benchmark.ROUNDED[0].name
    losses = {0: (3.0, 3.001), 1: (2.0, 2.002), 2: (4.0, 4.003)}
    runs = [
        run(arm, seed, loss)
        for seed, pair in losses.items()
        for arm, loss in zip((benchmark.REFERENCE.name, ring), pair, strict=True)
    ]
    lines = list(benchmark.report({"runs": runs[::-1], "errors": {}}))
    assert f"| {ring} | 3.0020 | +1.00 | +2.00 | +3.00 | +2.00 | -0.48 to +4.48 |" in lines


def test_a_text_is_held_out_and_every_row_trained_on_once_a_pass():
    found = np.arange(600 * 17).reshape(600, 17)
    ids = benchmark.batches(found, 4, 0, 0)  # 1,024 rows of 600
    assert ids.shape == (4, benchmark.ROWS, 17)
    assert len(np.unique(ids.reshape(-1, 17)[:600, 0])) == 600
    assert np.array_equal(ids, benchmark.batches(found, 4, 0, 0))
    assert not np.array_equal(ids, benchmark.batches(found, 4, 0, 1))
    assert not np.array_equal(ids, benchmark.batches(found, 4, 1, 0))


def test_the_results_are_those_of_the_documentation():
    results = json.loads(benchmark.RESULTS.read_text(encoding="utf-8"))
    runs = {(run["arm"], run["seed"]) for run in results["runs"]}
    arms = (benchmark.REFERENCE, *benchmark.RINGS, *benchmark.CONTROLS)
    assert runs >= {(arm.name, seed) for arm in arms for seed in range(3)}
    assert min(run["steps"] for run in results["runs"]) >= 1000
    text = DOCUMENTATION.read_text(encoding="utf-8")
    rows = [line for line in benchmark.report(results) if re.match(r"\| (float32|bfloat16|model|\w+/)", line)]
    assert len(rows) > 20
    assert [row for row in rows if row not in text] == []
