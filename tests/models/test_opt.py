"""OPT against transformers' PyTorch OPT, packed rows, and what must not change a result."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_opt import torch_opt

from iml_jax.models import layers, opt
from iml_jax.models.sizes import OptConfig, count_params
from iml_jax.parallel.mesh import single_device

TINY = OptConfig(
    vocab_rows=72, vocab_tokens=67, hidden=24, layers=3, heads=4, ffn=40, embed_dim=24, max_positions=40,
    compute_dtype="float32",
)  # fmt: skip
POST = dataclasses.replace(TINY, pre_norm=False, embed_dim=16)


@pytest.fixture(autouse=True)
def mesh():
    with single_device() as mesh:
        yield mesh


def random_params(config, seed):
    """Weights large enough that every part matters, biases and scales included."""
    params = opt.init_params(config, jax.random.key(seed))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    new = [a + 0.15 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, new)


def packed_row(rng, config, lengths, length):
    """One row of segments with these lengths, then padding: inputs, positions, segment ids [1, length]."""
    inputs = np.full((1, length), 1, np.int32)
    positions, segments, start = np.zeros_like(inputs), np.zeros_like(inputs), 0
    for number, size in enumerate(lengths, 1):
        stop = start + size
        inputs[0, start:stop] = rng.integers(3, config.vocab_tokens, size)
        positions[0, start:stop], segments[0, start:stop] = np.arange(size), number
        start = stop
    return inputs, positions, segments


def run(config, params, inputs, positions, segments, **kwargs):
    hidden = opt.forward(config, params, inputs, positions, segments, **kwargs)
    return np.asarray(opt.logits(config, params, hidden))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("pre_norm", "projected"), [(True, False), (False, True), (True, True)], ids=["opt", "350m", "projected"]
)
def test_logits_agree_with_pytorch_alone_and_packed(seed, pre_norm, projected):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    heads, head_dim = rng.integers(1, 5), 4 * rng.integers(1, 6)
    hidden, tokens = int(heads * head_dim), int(rng.integers(40, 200))
    config = OptConfig(
        vocab_rows=-(-tokens // 8) * 8, vocab_tokens=tokens, hidden=hidden, layers=int(rng.integers(1, 5)),
        heads=int(heads), ffn=int(rng.integers(8, 80)), embed_dim=hidden // 2 if projected else hidden,
        max_positions=32, pre_norm=pre_norm, compute_dtype="float32",
    )  # fmt: skip
    params = random_params(config, seed)
    model = torch_opt(config, params).eval()
    lengths = [int(n) for n in rng.integers(1, 11, 3)]
    inputs, positions, segments = packed_row(rng, config, lengths, 32)
    ours = run(config, params, inputs, positions, segments)
    assert (ours[..., tokens:] < -1e29).all()
    for number in range(1, 4):
        at = segments[0] == number
        with torch.no_grad():
            alone = torch.from_numpy(inputs[:, at]).long()
            theirs = model(alone, position_ids=torch.from_numpy(positions[:, at]).long()).logits.numpy()
        assert np.abs(ours[0, at, :tokens] - theirs[0, :, :tokens]).max() <= 1e-4
    mask = torch.from_numpy((segments[0][:, None] == segments[0][None]) & np.tril(np.ones((32, 32), bool)))
    with torch.no_grad():  # the packed row in one go, by a 4-dimensional mask
        packed = model(
            torch.from_numpy(inputs).long(),
            attention_mask=torch.where(mask, 0.0, -1e30)[None, None],
            position_ids=torch.from_numpy(positions).long(),
        ).logits.numpy()
    assert np.abs(ours[0, :, :tokens] - packed[0, :, :tokens]).max() <= 1e-4


@pytest.mark.parametrize("config", [TINY, POST])
def test_trees_agree(config):
    params, abstract = opt.init_params(config, jax.random.key(0)), opt.abstract_params(config)
    axes = opt.logical_axes(config)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), params) == jax.tree.map(
        lambda a: (a.shape, a.dtype), abstract
    )
    ranks = jax.tree.map(len, axes, is_leaf=lambda node: isinstance(node, tuple))
    assert ranks == jax.tree.map(jnp.ndim, params)
    assert sum(a.size for a in jax.tree.leaves(params)) == count_params(config)


def test_initialisation_follows_the_paper():
    config = dataclasses.replace(TINY, hidden=128, ffn=512, embed_dim=128, vocab_rows=2000, vocab_tokens=1999)
    params = opt.init_params(config, jax.random.key(3))
    layers = params["layers"]
    for weight, wanted in (
        (params["token_embedding"]["embedding"], 0.006),
        (layers["attention"]["query"]["kernel"], 0.006),
        (layers["attention"]["output"]["kernel"], 0.006 / np.sqrt(6)),
        (layers["mlp"]["down"]["kernel"], 0.006 / np.sqrt(6)),
    ):
        assert np.std(weight) == pytest.approx(wanted, rel=0.03)
    assert not np.any(layers["mlp"]["up"]["bias"])
    kernels = layers["mlp"]["up"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])


_POST = pytest.mark.nightly(
    seconds=16, reason="the same of OPT-350M's layer, whose forward pass is compared above"
)


@pytest.mark.parametrize("config", [TINY, pytest.param(POST, marks=_POST)])
def test_scan_unroll_and_remat_change_neither_result_nor_gradient(config):
    config = dataclasses.replace(config, dropout=0.2, embedding_dropout=0.1, attention_dropout=0.1)
    params, rng = random_params(config, 5), np.random.default_rng(5)
    row = packed_row(rng, config, [7, 4], 13)

    def loss(params, config):
        hidden = opt.forward(config, params, *row, dropout_key=jax.random.key(9))
        return jnp.sum(jnp.sin(hidden))

    results = [
        jax.value_and_grad(loss)(params, dataclasses.replace(config, scan_layers=scan, remat=remat))
        for scan, remat in (
            (True, "none"),
            (False, "none"),
            (True, "full"),
            (True, "dots"),
            (False, "full"),
            (True, "selective"),
        )
    ]
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), results[0], other)


def test_every_place_of_dropout_has_a_key_of_its_own(monkeypatch):
    """Embedding, and in each layer attention's and the MLP's residual: no mask is drawn twice."""
    drawn, drop = [], layers.drop

    def recorded(array, rate, key):
        jax.debug.callback(
            lambda data: drawn.append(tuple(np.asarray(data).tolist())), jax.random.key_data(key)
        )
        return drop(array, rate, key)

    monkeypatch.setattr(layers, "drop", recorded)
    config = dataclasses.replace(TINY, dropout=0.3, embedding_dropout=0.3, attention_dropout=0.0)
    params, rng = random_params(config, 6), np.random.default_rng(6)
    run(config, params, *packed_row(rng, config, [10], 10), dropout_key=jax.random.key(1))
    jax.effects_barrier()
    assert len(drawn) == 1 + 2 * config.layers and len(set(drawn)) == len(drawn)


def test_dropout_differs_by_layer_step_and_site():
    params, rng = random_params(TINY, 6), np.random.default_rng(6)
    row = packed_row(rng, TINY, [10], 10)
    quiet = dataclasses.replace(TINY, dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)
    plain = run(quiet, params, *row)
    np.testing.assert_array_equal(run(quiet, params, *row, dropout_key=jax.random.key(1)), plain)
    for site in ("dropout", "embedding_dropout", "attention_dropout"):
        config = dataclasses.replace(quiet, **{site: 0.3})
        first, second = (run(config, params, *row, dropout_key=jax.random.key(k)) for k in (1, 2))
        assert np.abs(first - plain).max() > 1e-3
        assert np.abs(first - second).max() > 1e-3
        np.testing.assert_array_equal(run(config, params, *row), plain)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_of_padding_is_finite(dtype):
    config = dataclasses.replace(TINY, compute_dtype=dtype)
    params = random_params(config, 7)
    blank = np.zeros((2, 12), np.int32)

    def loss(params):
        return jnp.sum(opt.forward(config, params, blank + 1, blank, blank).astype(jnp.float32) ** 2)

    value, gradient = jax.value_and_grad(loss)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_an_id_outside_the_table_is_never_another_row():
    params = random_params(TINY, 8)
    good = packed_row(np.random.default_rng(8), TINY, [5], 5)
    assert np.isnan(opt.forward(TINY, params, np.full((1, 5), 72, np.int32), *good[1:])).all()
    assert np.isnan(opt.forward(TINY, params, good[0], np.full((1, 5), 40, np.int32), good[2])).all()
    for below in (-1, -2, -3, -(2**31)):
        wrong = np.full((1, 5), below, np.int32)
        assert np.isnan(opt.forward(TINY, params, wrong, *good[1:])).all()
        assert np.isnan(opt.forward(TINY, params, good[0], wrong, good[2])).all()


def test_no_mesh_is_an_error(mesh):
    params = random_params(TINY, 12)
    row = packed_row(np.random.default_rng(0), TINY, [4], 4)
    with (
        jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())),
        pytest.raises(RuntimeError, match="no mesh is set"),
    ):
        opt.forward(TINY, params, *row)
