"""Blocked cross-entropy and its own gradient against plain float64 and plain autodiff."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iml_jax.models import cross_entropy, opt
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel import staged_collectives
from iml_jax.parallel.mesh import MeshConfig, make_mesh, single_device

CONFIG = OptConfig(
    vocab_rows=72, vocab_tokens=67, hidden=24, layers=1, heads=4, ffn=8, embed_dim=24, max_positions=64,
    compute_dtype="float32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def mesh():
    with single_device() as mesh:
        yield mesh


def _case(seed, rows=3, length=22, share=0.4):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(72, 24)).astype(np.float32)
    table[67:] *= 40  # padded rows would win every softmax that let them in
    params = {"token_embedding": {"embedding": jnp.asarray(table)}}
    hidden = rng.normal(size=(rows, length, 24)).astype(np.float32)
    targets = rng.integers(0, 67, (rows, length)).astype(np.int32)
    weights = (rng.random((rows, length)) < share).astype(np.float32)
    return params, jnp.asarray(hidden), targets, weights


def _plain(params, hidden, targets):
    table = params["token_embedding"]["embedding"][:67]
    return -jnp.take_along_axis(jax.nn.log_softmax(hidden @ table.T), targets[..., None], -1)[..., 0]


@pytest.mark.parametrize("block_tokens", [1, 12, 66, 1024])
def test_losses_are_the_plain_ones_whatever_the_block(monkeypatch, block_tokens):
    monkeypatch.setattr(cross_entropy, "BLOCK_TOKENS", block_tokens)
    params, hidden, targets, _ = _case(0)
    table = np.asarray(params["token_embedding"]["embedding"], np.float64)[:67]
    scores = np.asarray(hidden, np.float64) @ table.T
    wanted = np.log(np.exp(scores).sum(-1)) - np.take_along_axis(scores, targets[..., None], -1)[..., 0]
    got = cross_entropy.token_losses(CONFIG, params, hidden, targets)
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("block_tokens", [1, 12, 66, 1024])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_gradient_is_autodiffs(monkeypatch, block_tokens, share):
    monkeypatch.setattr(cross_entropy, "BLOCK_TOKENS", block_tokens)
    params, hidden, targets, weights = _case(1, share=share)

    def ours(params, hidden):
        return 3.0 * cross_entropy.weighted_loss_sum(CONFIG, params, hidden, targets, weights)

    def plain(params, hidden):
        return 3.0 * jnp.sum(weights * _plain(params, hidden, targets))

    value, gradient = jax.value_and_grad(ours, (0, 1))(params, hidden)
    wanted, by_hand = jax.value_and_grad(plain, (0, 1))(params, hidden)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_allclose(value, ours(params, hidden), rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, by_hand)
    assert not np.any(gradient[0]["token_embedding"]["embedding"][67:])  # exactly 0, not nearly


@pytest.mark.parametrize(("sizes", "staged"), [((1, 1, 1), False), ((2, 2, 2), False), ((1, 8, 1), True)])
def test_as_tpus_do_it(monkeypatch, sizes, staged):
    monkeypatch.setattr(cross_entropy, "platform", lambda: "tpu")  # no single elements of the logits
    monkeypatch.setattr(staged_collectives, "in_stages", lambda: staged)
    params, hidden, targets, weights = _case(2, rows=8)

    def ours(params, hidden):
        return cross_entropy.weighted_loss_sum(CONFIG, params, hidden, targets, weights)

    def plain(params, hidden):
        return jnp.sum(weights * _plain(params, hidden, targets))

    wanted, by_hand = jax.value_and_grad(plain, (0, 1))(params, hidden)
    params, hidden = jax.tree.map(np.asarray, (params, hidden))
    with jax.set_mesh(make_mesh(MeshConfig(*sizes), jax.devices()[: np.prod(sizes)])):
        value, gradient = jax.jit(jax.value_and_grad(ours, (0, 1)))(params, hidden)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, by_hand)


@pytest.mark.parametrize(
    ("sizes", "staged", "block_tokens", "share"),
    [
        ((2, 2, 2), False, 12, 0.4),
        ((1, 8, 1), True, 1024, 0.1),
        ((1, 2, 4), False, 5, 1.0),
        ((2, 4, 1), False, 5, 0.0),
    ],
)
def test_a_large_table_part_by_part(monkeypatch, sizes, staged, block_tokens, share):
    """The gathered table and its gradient are never whole on a device, and no number changes."""
    if staged:
        monkeypatch.setattr(cross_entropy, "platform", lambda: "tpu")
    monkeypatch.setattr(staged_collectives, "in_stages", lambda: staged)
    monkeypatch.setattr(cross_entropy, "BLOCK_TOKENS", block_tokens)
    params, hidden, targets, weights = _case(5, rows=8, share=share)
    targets[0, :2] = 3  # the target twice in a row of tokens

    def ours(params, hidden):
        return 3.0 * cross_entropy.weighted_loss_sum(CONFIG, params, hidden, targets, weights)

    def plain(params, hidden):
        return 3.0 * jnp.sum(weights * _plain(params, hidden, targets))

    wanted, by_hand = jax.value_and_grad(plain, (0, 1))(params, hidden)
    params, hidden = jax.tree.map(np.asarray, (params, hidden))
    with jax.set_mesh(make_mesh(MeshConfig(*sizes), jax.devices()[:8])):
        assert cross_entropy.parts(72 // sizes[2], 24) == 1
        whole = str(jax.make_jaxpr(jax.grad(ours))(params, hidden))
        monkeypatch.setattr(cross_entropy, "LARGEST_PART", 24 * 16)
        monkeypatch.setattr(cross_entropy, "LANES", 8)
        assert cross_entropy.parts(72 // sizes[2], 24) > 1
        by_parts = str(jax.make_jaxpr(jax.grad(ours))(params, hidden))
        value, gradient = jax.jit(jax.value_and_grad(ours, (0, 1)))(params, hidden)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, by_hand)
    assert not np.any(np.asarray(gradient[0]["token_embedding"]["embedding"])[67:])  # exactly 0, not nearly
    table = f"f32[24,{72 // sizes[2]}]"
    assert table in whole and table not in by_parts


def test_parts_skip_blocks_without_a_loss_token_and_keep_bfloat16(monkeypatch):
    monkeypatch.setattr(cross_entropy, "BLOCK_TOKENS", 4)
    monkeypatch.setattr(cross_entropy, "LARGEST_PART", 24 * 16)
    monkeypatch.setattr(cross_entropy, "LANES", 8)
    params, hidden, targets, weights = _case(6, rows=8, share=1.0)
    weights[:, 4:] = 0.0
    targets[:, 10] = 70  # no token, and no loss
    poisoned = jnp.where(weights[..., None] == 0, jnp.nan, hidden)
    params, hidden, poisoned = jax.tree.map(np.asarray, (params, hidden, poisoned))
    loss = lambda p, h: cross_entropy.weighted_loss_sum(CONFIG, p, h, targets, weights)  # noqa: E731
    both = jax.jit(jax.value_and_grad(loss, (0, 1)))
    with jax.set_mesh(make_mesh(MeshConfig(2, 2, 2), jax.devices()[:8])):
        value, (by_table, by_hidden) = both(params, poisoned)
        exact, (wanted, _) = both(params, hidden)
        narrow, gradient = both(params, hidden.astype(jnp.bfloat16))
        targets[0, 0] = 70
        assert np.isnan(jax.jit(loss)(params, hidden))
        assert np.isnan(jax.jit(jax.value_and_grad(loss))(params, hidden)[0])
    value, exact, narrow = float(value), float(exact), float(narrow)
    assert value == exact and np.isfinite(np.asarray(by_hidden)).all()
    by_table, wanted, by_narrow = (
        np.asarray(one["token_embedding"]["embedding"]) for one in (by_table, wanted, gradient[0])
    )
    np.testing.assert_array_equal(by_table, wanted)
    assert gradient[1].dtype == jnp.bfloat16 and narrow == pytest.approx(exact, rel=0.01)
    assert np.linalg.norm(by_narrow - wanted) < 0.02 * np.linalg.norm(wanted)


def test_blocks_without_a_loss_token_cost_no_product(monkeypatch):
    """NaN in hidden states that bear no loss reaches nothing if their blocks are skipped."""
    monkeypatch.setattr(cross_entropy, "BLOCK_TOKENS", 12)
    params, hidden, targets, weights = _case(2, share=1.0)
    weights[:, 4:] = 0.0  # one block of 3 x 4 is left
    weights = np.take_along_axis(
        weights, np.random.default_rng(0).permuted(np.tile(np.arange(22), (3, 1)), axis=1), 1
    )
    poisoned = jnp.where(weights[..., None] == 0, jnp.nan, hidden)
    loss = lambda h: cross_entropy.weighted_loss_sum(CONFIG, params, h, targets, weights)  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(poisoned)
    np.testing.assert_allclose(value, loss(hidden), rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_large_logits_and_bfloat16_stay_finite():
    params, hidden, targets, weights = _case(3)
    loss = lambda p, h: cross_entropy.weighted_loss_sum(CONFIG, p, h, targets, weights)  # noqa: E731
    for states in (hidden * 1e4, -hidden * 1e4):
        value, gradient = jax.value_and_grad(loss, (0, 1))(params, states)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    narrow = hidden.astype(jnp.bfloat16)
    gradient = jax.grad(loss, (0, 1))(params, narrow)
    exact = jax.grad(loss, (0, 1))(params, hidden)
    assert gradient[1].dtype == jnp.bfloat16
    error = jax.tree.map(
        lambda a, b: jnp.linalg.norm(a.astype(jnp.float32) - b) / jnp.linalg.norm(b), gradient, exact
    )
    assert max(jax.tree.leaves(error)) < 0.02


def test_the_softmax_of_bfloat16_logits_is_in_float32():
    """Logits of up to 40, which bfloat16 would round by up to 0.1: the loss is that of float64."""
    rng = np.random.default_rng()
    params, hidden, targets, weights = _case(5, share=0.9)
    table = (2.5 * rng.normal(size=(72, 24))).astype(jnp.bfloat16)
    params = {"token_embedding": {"embedding": jnp.asarray(table, jnp.float32)}}
    hidden = jnp.asarray(2.5 * rng.normal(size=hidden.shape), jnp.bfloat16)
    scores = np.asarray(hidden, np.float64) @ np.asarray(table, np.float64)[:67].T
    assert 30 < np.abs(scores).max() < 200
    highest = scores.max(-1, keepdims=True)
    chosen = np.take_along_axis(scores, targets[..., None], -1)[..., 0]
    wanted = np.log(np.exp(scores - highest).sum(-1)) + highest[..., 0] - chosen
    np.testing.assert_allclose(cross_entropy.token_losses(CONFIG, params, hidden, targets), wanted, atol=1e-4)
    total, _ = jax.value_and_grad(
        lambda hidden: cross_entropy.weighted_loss_sum(CONFIG, params, hidden, targets, weights)
    )(hidden)
    assert float(total) == pytest.approx((wanted * weights).sum(), rel=2e-6)


def test_a_target_that_is_no_token_is_never_a_number():
    params, hidden, targets, _ = _case(4)
    targets[0, 0], targets[0, 1] = 67, 72
    losses = cross_entropy.token_losses(CONFIG, params, hidden, targets)
    assert np.isnan(losses[0, :2]).all()
    assert np.isfinite(losses[0, 2:]).all()


def _documents(rng, sizes):
    return [rng.integers(3, 67, size + 1).astype(np.int32) for size in sizes]


def _pack(documents, length):
    fields = [np.zeros((1, length), np.int32) for _ in range(4)]
    start = 0
    for number, text in enumerate(documents, 1):
        at = slice(start, start + len(text) - 1)
        values = (text[:-1], text[1:], number, np.arange(len(text) - 1))
        for field, value in zip(fields, values, strict=True):
            field[0, at] = value
        start = at.stop
    return fields


def _losses(config, params, documents, length):
    inputs, targets, segments, positions = _pack(documents, length)
    hidden = opt.forward(config, params, inputs, positions, segments)
    return np.asarray(cross_entropy.token_losses(config, params, hidden, targets))[0], segments[0]


def test_packed_unpacked_and_alone_sum_to_the_same():
    config = dataclasses.replace(CONFIG, layers=3)
    params = jax.tree.map(lambda a: a * 12, opt.init_params(config, jax.random.key(0)))
    documents = _documents(np.random.default_rng(5), [9, 1, 14, 6, 20])
    packed, segments = _losses(config, params, documents, 53)
    packed = float(packed[segments > 0].sum(dtype=np.float64))
    unpacked = alone = 0.0
    for text in documents:
        padded, segments = _losses(config, params, [text], 24)
        unpacked += padded[segments > 0].sum(dtype=np.float64)
        single = _losses(config, params, [text], len(text) - 1)[0]
        alone += single.sum(dtype=np.float64)
    assert packed == pytest.approx(alone, rel=1e-6)
    assert unpacked == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("shape", [{}, {"pre_norm": False, "embed_dim": 16}])
def test_a_repeated_document_learns_nothing_from_its_copies(shape):
    config = dataclasses.replace(CONFIG, layers=3, **shape)
    params = jax.tree.map(lambda a: a * 12, opt.init_params(config, jax.random.key(1)))
    text = _documents(np.random.default_rng(6), [11])[0]
    row, _ = _losses(config, params, [text] * 4, 46)
    alone, _ = _losses(config, params, [text], 11)
    np.testing.assert_allclose(row[:44].reshape(4, 11), np.tile(alone, (4, 1)), rtol=1e-5, atol=1e-6)
