"""Blocked attention against the dense form: values, gradients, dropout, any length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iml_jax.models import blocked_attention
from iml_jax.models.attention import attend_dense, dense_mask, within_rows
from iml_jax.models.blocked_attention import attend_blocked


def _random(seed: int, length: int, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 5)
    arrays = [jax.random.normal(key, (2, length, 3, 8), dtype) for key in keys[:4]]
    segments = jnp.sort(jax.random.randint(keys[4], (2, length), 1, 4), axis=1)
    return arrays, segments.at[:, length - length // 5 :].set(0)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocked_attention, "BLOCK_QUERIES", 16)
    monkeypatch.setattr(blocked_attention, "MOST_BLOCKS", 100)


@pytest.mark.parametrize("length", [1, 7, 16, 33])
def test_equals_the_dense_form_forward_and_backward(small_blocks, length) -> None:
    (query, key, value, gradient), segments = _random(length, length)
    mask = dense_mask(within_rows(segments))[:, None]

    def pull(attend, *arrays):
        output, back = jax.vjp(attend, *arrays)
        return output, *back(gradient)

    blocked = functools.partial(attend_blocked, segment_ids=segments)
    found = jax.jit(functools.partial(pull, blocked))(query, key, value)
    wanted = pull(functools.partial(attend_dense, mask=mask), query, key, value)
    for name, one, other in zip(("output", "query", "key", "value"), found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, err_msg=name)


def test_options_of_a_question_do_not_see_each_other(small_blocks) -> None:
    """Branches: a token of option id 0 is read by all that follows in its segment, others by their branch."""
    (query, key, value, gradient), segments = _random(4, 33)
    option_ids = jnp.asarray(np.random.default_rng().integers(0, 3, (2, 33)), jnp.int32)
    blocked = functools.partial(attend_blocked, segment_ids=segments, option_ids=option_ids)
    output, back = jax.vjp(blocked, query, key, value)
    t, s = np.arange(33)[:, None], np.arange(33)[None]
    for row in range(2):
        segment, branch = np.asarray(segments[row]), np.asarray(option_ids[row])
        mask = (s <= t) & (segment[t] == segment[s]) & ((branch[s] == 0) | (branch[s] == branch[t]))
        found = [np.asarray(a[row], np.float64) for a in (query, key, value)]
        scores = np.where(mask, np.einsum("thd,shd->hts", *found[:2]), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        np.testing.assert_allclose(output[row], np.einsum("hts,shd->thd", weights, found[2]), atol=2e-5)
        wanted = np.einsum("hts,thd->shd", weights, np.asarray(gradient[row], np.float64))
        np.testing.assert_allclose(back(gradient)[2][row], wanted, atol=2e-5)
    mask = dense_mask(within_rows(segments, option_ids))[:, None]
    dense = jax.vjp(functools.partial(attend_dense, mask=mask), query, key, value)[1](gradient)
    for one, other in zip(back(gradient), dense, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_half_precision_stays_near_and_keeps_its_dtype(small_blocks) -> None:
    (query, key, value, _), segments = _random(0, 33, jnp.bfloat16)
    output = attend_blocked(query, key, value, segments)
    wanted = attend_blocked(*(a.astype(jnp.float32) for a in (query, key, value)), segments)
    assert output.dtype == jnp.bfloat16
    np.testing.assert_allclose(output.astype(jnp.float32), wanted, atol=0.05)
    gradient = jax.grad(lambda *a: attend_blocked(*a, segments).astype(jnp.float32).sum(), (0, 1, 2))
    gradients = jax.jit(gradient)(query, key, value)
    assert all(g.dtype == jnp.bfloat16 for g in gradients)


def test_the_softmax_of_bfloat16_scores_is_in_float32(small_blocks) -> None:
    """Scores of tens, which bfloat16 would round by up to 0.1, against float64 of the same inputs."""
    (query, key, value, _), segments = _random(1, 33, jnp.bfloat16)
    query = query * 8
    mask = np.asarray(dense_mask(within_rows(segments)))[:, None]
    wide = [np.asarray(array, np.float64) for array in (query, key, value)]
    scores = np.where(mask, np.einsum("bthd,bshd->bhts", *wide[:2]), -np.inf)
    assert np.max(scores) > 40
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), wide[2])
    output = np.asarray(attend_blocked(query, key, value, segments), np.float64)
    np.testing.assert_allclose(output, wanted, rtol=1e-2, atol=1e-2)


def test_dropout_is_the_same_in_both_passes(small_blocks) -> None:
    """The gradient is the slope of the output, which holds for one and the same mask only."""
    (query, key, value, direction), segments = _random(3, 33)
    drop = jax.random.key(9)

    @jax.jit
    def total(value, query):
        output = attend_blocked(query, key, value, segments, dropout=0.4, dropout_key=drop)
        return jnp.sum(output * direction)

    for place, at in enumerate((value, query)):
        step = 1e-2 * jax.random.normal(jax.random.key(place), at.shape)
        ends = [[value, query] for _ in range(2)]
        ends[0][place], ends[1][place] = at + step, at - step
        slope = (total(*ends[0]) - total(*ends[1])) / 2
        gradient = jax.jit(jax.grad(total, place))(value, query)
        np.testing.assert_allclose(jnp.sum(gradient * step), slope, rtol=2e-2, atol=1e-3)
    plain = attend_blocked(query, key, value, segments)
    assert np.abs(total(value, query) - jnp.sum(plain * direction)) > 0.1


def test_long_rows_take_no_more_blocks_than_are_compiled_quickly() -> None:
    assert len(blocked_attention._blocks(2048)) == 16
    assert len(blocked_attention._blocks(8192)) == 16
    assert blocked_attention._blocks(130) == [(0, 128), (128, 130)]
