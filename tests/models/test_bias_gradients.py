"""What bfloat16 activations cost the gradient of a bias: no more than that of the weight beside it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from iml_jax.models.layers import add_bias
from iml_jax.parallel.mesh import MeshConfig, make_mesh

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gradient_precision


@pytest.mark.parametrize("fsdp", [1, 4])
def test_the_sum_over_positions_is_in_float32(fsdp: int) -> None:
    rng = np.random.default_rng()
    mesh = make_mesh(MeshConfig(data=2, fsdp=fsdp, tensor=1), jax.devices()[: 2 * fsdp])
    gradient = jnp.asarray(1 + rng.random((16, 640, 3, 5)), jnp.bfloat16)
    placed = jax.device_put(gradient, NamedSharding(mesh, P(("data", "fsdp"))))
    bias = jnp.asarray(rng.standard_normal((3, 5)), jnp.float32)
    array, by_bias = jax.jit(lambda g: jax.vjp(add_bias, g, bias)[1](g))(placed)
    np.testing.assert_array_equal(array, gradient)
    assert by_bias.dtype == jnp.float32
    np.testing.assert_allclose(by_bias, np.asarray(gradient, np.float64).sum(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_array_equal(add_bias(gradient, bias), gradient + bias.astype(jnp.bfloat16))


def test_every_leaf_against_float64() -> None:
    pytest.importorskip("torch")
    given = argparse.Namespace(rows=20, length=512, devices=1, seed=0)
    config, params, batch = gradient_precision.setting(given)
    exact = gradient_precision.by_torch(config, params, batch)
    errors = {}
    for dtype in ("float32", "bfloat16"):
        found = gradient_precision.gradient(given, config, params, batch, dtype)
        errors[dtype] = {
            name: gradient_precision.error(found[name], exact[name])
            for name in exact
            if not name.endswith(gradient_precision.NOTHING)
        }
    assert max(errors["float32"].values()) < 3e-3  # a ReLU close to 0 may choose otherwise
    rounded = errors["bfloat16"]
    assert max(rounded.values()) < 0.09  # ReLU's choices differ
    for name, found in rounded.items():
        if name.endswith(("_proj.bias", "fc1.bias", "fc2.bias")):
            assert found < 1.15 * rounded[name.removesuffix("bias") + "weight"], name
