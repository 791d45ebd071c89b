"""The loop whose gradients take the weights' place, against layers that keep everything."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iml_jax.models import opt
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh

CONFIG = OptConfig(
    layers=3, hidden=32, heads=4, ffn=64, embed_dim=16, vocab_rows=64, vocab_tokens=60, max_positions=32,
    pre_norm=False, compute_dtype="float32", dropout=0.1, remat="full",
)  # fmt: skip


_OTHERS = pytest.mark.nightly(seconds=10, reason="another combination of mesh and setting")


@pytest.mark.parametrize(
    ("sizes", "forked", "remat", "scan"),
    [
        ((2, 2, 2), False, "full", True),
        ((2, 2, 2), True, "full", False),
        ((1, 1, 1), True, "offload", True),
        pytest.param((1, 1, 1), False, "full", True, marks=_OTHERS),
        pytest.param((1, 1, 1), True, "full", True, marks=_OTHERS),
        pytest.param((2, 2, 2), True, "full", True, marks=_OTHERS),
        pytest.param((1, 1, 1), True, "full", False, marks=_OTHERS),
        pytest.param((2, 2, 2), True, "offload", True, marks=_OTHERS),
    ],
)
def test_values_and_gradients_are_those_without_recomputation(sizes, forked, remat, scan):
    random = np.random.default_rng()
    params = opt.init_params(CONFIG, jax.random.key(int(random.integers(1000))))
    ids = jnp.asarray(random.integers(0, 60, (8, 12)), jnp.int32)
    positions = jnp.tile(jnp.arange(12, dtype=jnp.int32), (8, 1))
    segments = jnp.asarray(np.sort(random.integers(0, 3, (8, 12))), jnp.int32)
    option_ids = jnp.asarray(random.integers(0, 2, (8, 12)), jnp.int32) if forked else None
    slope = jnp.asarray(random.normal(size=(8, 12, 16)), jnp.float32)

    def total(config, params):
        key = jax.random.key(5)
        hidden = opt.forward(config, params, ids, positions, segments, option_ids=option_ids, dropout_key=key)
        return jnp.sum(hidden * slope)

    with jax.set_mesh(make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])):
        full = dataclasses.replace(CONFIG, remat=remat, scan_layers=scan)
        plain = dataclasses.replace(full, remat="none")
        wanted = jax.jit(jax.value_and_grad(lambda p: total(plain, p)))(params)
        found = jax.jit(jax.value_and_grad(lambda p: total(full, p)))(params)
        for one, other in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(other, one, atol=2e-5 * max(1.0, float(np.abs(one).max())))
        alone = jax.jit(lambda p: total(full, p))(params)  # without a gradient
        np.testing.assert_allclose(alone, wanted[0], rtol=1e-5, atol=1e-4)


def test_what_enters_a_layer_waits_with_the_host():
    config = dataclasses.replace(CONFIG, remat="offload")
    params, ids = opt.init_params(config, jax.random.key(0)), jnp.zeros((8, 12), jnp.int32)
    with jax.set_mesh(make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])):
        for remat, kept in (("offload", "<host>"), ("full", "")):
            chosen = dataclasses.replace(config, remat=remat)
            gradient = jax.grad(lambda p, c=chosen: opt.forward(c, p, ids, ids, ids + 1).sum())
            text = str(jax.make_jaxpr(gradient)(params))
            assert f"f32{kept}[3,8,12,32]" in text  # CPUs' compiled text does not tell
            assert ("<host>" in text) == (remat == "offload")


def test_narrow_weights_get_narrow_gradients_in_float32_scale():
    config = dataclasses.replace(CONFIG, dropout=0.0, compute_dtype="bfloat16")
    params = opt.init_params(config, jax.random.key(0))
    ids = jnp.zeros((2, 8), jnp.int32)
    positions = jnp.tile(jnp.arange(8, dtype=jnp.int32), (2, 1))

    def total(params):
        return jnp.sum(
            opt.forward(config, params, ids, positions, jnp.ones_like(ids)).astype(jnp.float32) ** 2
        )

    kernel = params["layers"]["mlp"]["up"]["kernel"]
    params["layers"]["mlp"]["up"]["kernel"] = kernel.astype(jnp.bfloat16)
    with jax.set_mesh(make_mesh(MeshConfig(), jax.devices()[:1])):
        gradient = jax.jit(jax.grad(total))(params)["layers"]["mlp"]["up"]
    assert gradient["kernel"].dtype == jnp.bfloat16 and gradient["bias"].dtype == jnp.float32
