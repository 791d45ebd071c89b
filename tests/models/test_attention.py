"""Attention against jax.nn's own, rows that see nothing, and which form is chosen where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iml_jax.models.attention import (
    AttentionMask,
    attend,
    attend_cudnn,
    attend_dense,
    choose_kernel,
    dense_mask,
    within_rows,
)
from iml_jax.parallel.mesh import MeshConfig, make_mesh, single_device


@pytest.fixture(autouse=True)
def mesh():
    with single_device() as mesh:
        yield mesh


def _random(seed, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 3)
    return [jax.random.normal(key, (2, 9, 3, 8), dtype) for key in keys]


def test_agrees_with_jax_nn():
    query, key, value = _random(0)
    segments = jnp.asarray([[1, 1, 1, 2, 2, 2, 2, 3, 0], [1, 1, 1, 1, 1, 2, 0, 0, 0]])
    mask = np.zeros((2, 9, 9), bool)
    for b, t, s in np.ndindex(*mask.shape):
        mask[b, t, s] = segments[b, t] == segments[b, s] and s <= t
    attention_mask = within_rows(segments)
    np.testing.assert_array_equal(dense_mask(attention_mask), mask)
    wanted = jax.nn.dot_product_attention(query, key, value, mask=jnp.asarray(mask)[:, None], scale=1.0)
    np.testing.assert_allclose(attend(query, key, value, attention_mask), wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_rows_that_see_nothing_are_finite_forward_and_backward(dtype):
    inputs = _random(1, dtype=dtype)
    mask = jnp.ones((2, 1, 9, 9), bool).at[:, :, 4:].set(False)

    def total(inputs):
        return jnp.sum(attend_dense(*inputs, mask).astype(jnp.float32) ** 2)

    value, gradients = jax.value_and_grad(total)(inputs)
    assert np.isfinite(value)
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)


def test_dropout_keeps_the_mean_and_needs_a_key():
    query, key, value = _random(2)
    attention_mask = within_rows(jnp.ones((2, 9), jnp.int32))
    plain = attend(query, key, value, attention_mask)
    np.testing.assert_array_equal(attend(query, key, value, attention_mask, dropout=0.5), plain)
    draws = [
        attend(query, key, value, attention_mask, dropout=0.5, dropout_key=jax.random.key(i))
        for i in range(400)
    ]
    assert np.abs(np.mean(draws, axis=0) - plain).mean() < 0.1
    assert np.abs(np.asarray(draws[0]) - plain).mean() > 0.1


@pytest.mark.parametrize("axes", [(1, 1, 1), (2, 2, 2)])
def test_the_form_given_to_cudnn_is_the_dense_one(axes):
    # The kernel itself needs a GPU; what it is asked for is computed by XLA here.
    random = np.random.default_rng()
    query, key, value, slope = random.normal(size=(4, 4, 24, 4, 8)).astype(np.float32)
    segments = np.repeat([[1, 2, 0], [1, 1, 2], [1, 2, 3], [0, 0, 0]], 8, axis=1)
    attention_mask = within_rows(segments)._replace(query_slots=np.arange(24), key_slots=np.arange(24))

    def wanted(*arrays):
        return attend_dense(*arrays, dense_mask(attention_mask)[:, None])

    def found(*arrays):
        return attend_cudnn(*arrays, attention_mask, implementation="xla")

    devices = jax.devices()[: int(np.prod(axes))]
    results = []
    with jax.set_mesh(make_mesh(MeshConfig(*axes), devices)):
        for function in (wanted, found):
            output, pull = jax.vjp(jax.jit(function), query, key, value)
            results.append((output, *pull(slope)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, atol=5e-6 * np.abs(one).max())


def test_the_kernel_is_the_platforms_where_it_can_do_the_work(monkeypatch):
    segments = jnp.ones((2, 9), jnp.int32)
    rows, forked = within_rows(segments), within_rows(segments, jnp.zeros((2, 9), jnp.int32))
    slots = jnp.arange(9)
    cached = AttentionMask(segments, segments, slots, slots)
    for name, kernel in (("cpu", "blocked"), ("tpu", "splash"), ("gpu", "cudnn")):
        monkeypatch.setattr("iml_jax.models.attention.platform", lambda name=name: name)
        assert choose_kernel("auto", rows, jnp.bfloat16, 0.0) == kernel
        assert choose_kernel("auto", rows, jnp.bfloat16, 0.1) == "blocked"
        assert choose_kernel("auto", forked, jnp.bfloat16, 0.0) == "blocked"
        assert choose_kernel("auto", cached, jnp.bfloat16, 0.0) == "dense"
        assert choose_kernel("blocked", rows, jnp.bfloat16, 0.0) == "blocked"
    assert choose_kernel("auto", rows, jnp.float32, 0.0) == "blocked"  # cuDNN has 16 bits only
    assert choose_kernel("splash", rows, jnp.float32, 0.0) == "splash"
