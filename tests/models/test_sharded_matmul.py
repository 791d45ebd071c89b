"""The product with a cut weight: value and gradients against float64, in one stage and in two."""

import jax
import numpy as np
import pytest

from iml_jax.models import sharded_matmul
from iml_jax.parallel import staged_collectives
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.parallel.rules import partition_spec

SHAPES = {
    ("embed", "heads", "head_dim"): ((16, 4, 6), 1),
    ("heads", "head_dim", "embed"): ((4, 6, 16), 2),
    ("mlp", "embed"): ((24, 16), 1),
    ("embed", "mlp"): ((16, 24), 1),
}


def check(mesh, axes, shape, contracted):
    """Returns the compiled text of value and gradients."""
    rng = np.random.default_rng()
    array = rng.normal(size=(8, 5, *shape[:contracted]))
    kernel, weight = rng.normal(size=shape), rng.normal(size=(8, 5, *shape[contracted:]))

    def loss(array, kernel):
        result = sharded_matmul.product(array, kernel, axes, contracted)
        return (result * weight).sum(), result

    with jax.set_mesh(mesh):
        placed = (
            jax.device_put(array.astype(np.float32), jax.NamedSharding(mesh, partition_spec(("batch",)))),
            jax.device_put(kernel.astype(np.float32), jax.NamedSharding(mesh, partition_spec(axes))),
        )
        function = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        ((_, result), (by_array, by_kernel)) = function(*placed)
        text = function.lower(*placed).compile().as_text()
    np.testing.assert_allclose(result, np.tensordot(array, kernel, contracted), rtol=1e-4, atol=1e-4)
    flat = weight.reshape(40, -1)
    by_flat = flat @ kernel.reshape(-1, flat.shape[1]).T
    np.testing.assert_allclose(by_array, by_flat.reshape(array.shape), rtol=1e-4, atol=1e-4)
    expected = (array.reshape(40, -1).T @ flat).reshape(shape)
    np.testing.assert_allclose(by_kernel, expected, rtol=1e-4, atol=1e-4)
    assert by_kernel.sharding.is_equivalent_to(placed[1].sharding, len(shape))
    return text


@pytest.mark.parametrize(("axes", "of"), SHAPES.items())
@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_on_any_mesh(axes, of, sizes):
    check(make_mesh(MeshConfig(*sizes), jax.devices()[: np.prod(sizes)]), axes, *of)


@pytest.mark.parametrize(("axes", "of"), SHAPES.items())
@pytest.mark.parametrize("sizes", [(1, 8, 1), (2, 4, 1)])
def test_in_stages(axes, of, sizes, monkeypatch):
    for module in (sharded_matmul, staged_collectives):
        monkeypatch.setattr(module, "in_stages", lambda: True)
    text = check(make_mesh(MeshConfig(*sizes)), axes, *of)
    assert text.count("all-gather(") == 2  # the weight's, once for both passes
