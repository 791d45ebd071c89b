"""The dtype in which gradients of matrices are summed over devices that have other rows."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.models import sharded_matmul
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh

AXES = {
    "up": (("embed", "mlp"), 1, (16, 24)),
    "output": (("heads", "head_dim", "embed"), 2, (2, 8, 16)),
}


def gradients(mesh, kind: str, staged: bool, reduce_dtype: str, monkeypatch, *, lower: bool = False):
    """The gradient of a bfloat16 kernel, or the program that computes it before XLA changes it."""
    axes, contracted, shape = AXES[kind]
    random = np.random.default_rng(5)
    kernel = jnp.asarray(random.normal(size=shape), jnp.bfloat16)
    array = jnp.asarray(random.normal(size=(16, 6, *shape[:contracted])), jnp.bfloat16)
    slope = jnp.asarray(random.normal(size=(16, 6, *shape[contracted:])), jnp.bfloat16)
    monkeypatch.setattr(sharded_matmul, "in_stages", lambda: staged)

    def loss(kernel):
        found = sharded_matmul.product(array, kernel, axes, contracted, reduce_dtype)
        return jnp.sum((found * slope).astype(jnp.float32))

    with jax.set_mesh(mesh):
        function = jax.jit(jax.grad(loss))
        if lower:
            return function.lower(kernel).as_text()
        found = np.asarray(function(kernel), np.float64)
    exact = np.tensordot(np.asarray(array, np.float64), np.asarray(slope, np.float64), axes=((0, 1), (0, 1)))
    return found, exact


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("reduce_dtype", ["bfloat16", "float32"])
def test_gradients_are_those_of_float64(kind, staged, reduce_dtype, monkeypatch):
    sizes = MeshConfig(2, 4, 1) if staged else MeshConfig(2, 2, 2)
    found, exact = gradients(make_mesh(sizes), kind, staged, reduce_dtype, monkeypatch)
    assert np.abs(found - exact).max() <= 2**-7 * np.abs(exact).max()


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("reduce_dtype", ["bfloat16", "float32"])
def test_the_sum_over_rows_has_that_dtype(staged, reduce_dtype, monkeypatch):
    """In the program that XLA gets: the product that is summed over devices, and its collectives."""
    sizes = MeshConfig(2, 4, 1) if staged else MeshConfig(2, 2, 2)
    text = gradients(make_mesh(sizes), "up", staged, reduce_dtype, monkeypatch, lower=True)
    short = {"bfloat16": "bf16", "float32": "f32"}[reduce_dtype]
    by_kernel = [
        line
        for line in text.splitlines()
        if "stablehlo.dot_general" in line and re.search(r"contracting_dims = \[0, 1\] x \[0, 1\]", line)
    ]
    assert len(by_kernel) == 1 and by_kernel[0].rstrip().endswith(f"x{short}>")
    if staged:
        scattered = re.findall(r"stablehlo\.reduce_scatter.*?-> tensor<[\dx]*x(\w+)>", text, re.DOTALL)
        assert scattered and set(scattered) == {short}


def test_a_model_computes_the_same_loss_and_nearer_gradients():
    config = OptConfig(hidden=32, layers=2, heads=2, ffn=64, embed_dim=32, vocab_rows=64, vocab_tokens=60)
    assert config.reduced_in == "bfloat16"
    assert dataclasses.replace(config, reduce_dtype="float32").reduced_in == "float32"
    assert dataclasses.replace(config, compute_dtype="float32").reduced_in == "float32"
    with pytest.raises(UserError, match=r"Model\.reduce_dtype = 'bfloat16': must be one of compute, float32"):
        dataclasses.replace(config, reduce_dtype="bfloat16").validate()
