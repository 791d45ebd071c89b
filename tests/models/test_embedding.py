"""Look-ups in a table cut over the mesh, against the plain one; and where the residual stream lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from iml_jax.models.embedding import look_up
from iml_jax.models.layers import residual
from iml_jax.parallel.mesh import MeshConfig, make_mesh, single_device
from iml_jax.parallel.rules import partition_spec


@pytest.mark.parametrize("axes", [("vocab", "embed"), ("position", "embed")])
@pytest.mark.parametrize(
    ("sizes", "length"), [((2, 2, 2), 6), ((1, 4, 2), 5), ((2, 4, 1), 6), ((1, 1, 8), 8)]
)
def test_rows_and_gradients_are_those_of_the_whole_table(axes, sizes, length):
    random = np.random.default_rng()
    table = jnp.asarray(random.normal(size=(24, 8)), jnp.float32)
    ids = jnp.asarray(random.integers(0, 24, size=(8, length)), jnp.int32)
    slope = jnp.asarray(random.normal(size=(8, length, 8)), jnp.float32)

    def found(table):
        return look_up(table, ids, axes, jnp.float32)

    results = []
    for mesh in (make_mesh(MeshConfig(), jax.devices()[:1]), make_mesh(MeshConfig(*sizes))):
        with jax.set_mesh(mesh):
            place = NamedSharding(mesh, partition_spec(axes))
            output, pull = jax.vjp(jax.jit(found), jax.device_put(table, place))
            (gradient,) = pull(slope)
            assert gradient.sharding.is_equivalent_to(place, 2)
        results.append((np.asarray(output), np.asarray(gradient)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-5)


def test_an_id_that_no_row_has_gives_nan_and_a_frequent_one_loses_nothing():
    table = jnp.ones((16, 8), jnp.float32)
    ids = jnp.zeros((8, 64), jnp.int32).at[0, 0].set(16).at[7, 63].set(-1)
    for mesh in (make_mesh(MeshConfig(), jax.devices()[:1]), make_mesh(MeshConfig(2, 2, 2))):
        with jax.set_mesh(mesh):
            function = jax.jit(lambda table: look_up(table, ids, ("vocab", "embed"), jnp.bfloat16))
            output, pull = jax.vjp(function, table)
            (gradient,) = pull(jnp.ones_like(output))
        missing = np.isnan(np.asarray(output, np.float32)).any(axis=-1)
        assert missing[0, 0] and missing[7, 63] and missing.sum() == 2
        assert gradient[0, 0] >= 510  # 16-bit sums would have stopped at 256
        assert (np.asarray(gradient[1:]) == 0).all()  # the id -1 is not the last row


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
def test_the_gradient_of_a_frequent_id_is_summed_in_float32(sizes):
    """1,024 ones for each device's rows: bfloat16 would stop at 256 on one device and on eight."""
    ids = jnp.zeros((8, 256), jnp.int32)
    with jax.set_mesh(make_mesh(MeshConfig(*sizes), jax.devices()[: np.prod(sizes)])):
        function = jax.jit(lambda table: look_up(table, ids, ("vocab", "embed"), jnp.bfloat16))
        output, pull = jax.vjp(function, jnp.ones((16, 8), jnp.float32))
        (gradient,) = pull(jnp.ones_like(output))
    assert gradient.dtype == jnp.float32
    assert gradient[0, 0] == 2048


def test_the_residual_stream_is_cut_along_its_positions_where_they_divide():
    mesh = make_mesh(MeshConfig(2, 2, 2))
    with jax.set_mesh(mesh):
        even = jax.jit(residual)(jnp.zeros((4, 6, 8)))
        odd = jax.jit(residual)(jnp.zeros((4, 5, 8)))
    assert even.sharding.is_equivalent_to(
        NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "tensor", None)), 3
    )
    assert odd.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, None)), 3)
    with single_device():
        assert jax.jit(residual)(jnp.zeros((4, 6, 8))).shape == (4, 6, 8)
