"""Constraints that act or raise, never neither."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from iml_jax.foundation.errors import UserError
from iml_jax.parallel.mesh import MeshConfig, make_mesh, single_device
from iml_jax.parallel.rules import (
    RULES,
    check_axis,
    check_divisible,
    constrain,
    partition_spec,
    shard_count,
    shardings,
)


def test_spec_follows_the_table():
    assert partition_spec(("batch", "length")) == PartitionSpec(("data", "fsdp"), None)
    assert partition_spec(("embed", "heads", "head_dim")) == PartitionSpec("fsdp", "tensor", None)
    with pytest.raises(ValueError, match="unknown logical axis 'embedd'"):
        partition_spec(("embedd",))
    with pytest.raises(ValueError, match="one mesh axis on two dimensions"):
        partition_spec(("heads", "mlp"))


def test_constrain_shards():
    mesh = make_mesh(MeshConfig(2, 2, 2))
    with jax.set_mesh(mesh):
        out = jax.jit(lambda a: constrain(a * 2, ("batch", "activation_mlp")))(jnp.ones((8, 6)))
        assert shard_count("batch") == 4
    assert out.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "tensor")), 2)


@pytest.mark.parametrize("jit", [False, True])
def test_constrain_without_a_mesh_raises(jit):
    function = lambda a: constrain(a, ("batch", "length"))  # noqa: E731
    with pytest.raises(RuntimeError, match="no mesh is set"):
        (jax.jit(function) if jit else function)(jnp.ones((2, 2)))


def test_constrain_checks_names_even_on_one_device():
    with single_device():
        with pytest.raises(ValueError, match="unknown logical axis 'lenght'"):
            constrain(jnp.ones((2, 2)), ("batch", "lenght"))
        with pytest.raises(ValueError, match="2 logical axes"):
            constrain(jnp.ones((2, 2, 2)), ("batch", "length"))


def test_a_weight_that_does_not_divide_is_named():
    mesh = make_mesh(MeshConfig(1, 2, 4))
    logical = {"layers": {"kernel": ("embed", "heads")}}
    check_divisible(mesh, logical, {"layers": {"kernel": jnp.ones((6, 8))}})
    with pytest.raises(UserError, match=r"layers/kernel: heads is 6 wide .* tensor of size 4"):
        check_divisible(mesh, logical, {"layers": {"kernel": jnp.ones((6, 6))}})
    with pytest.raises(UserError, match="rows: batch is 3 wide"):
        check_axis(mesh, "batch", 3, "rows")


def test_shardings_keep_the_tree():
    mesh = make_mesh(MeshConfig(8, 1, 1))
    assert shardings(mesh, {"a": ("vocab",), "b": {"c": ()}}) == {
        "a": NamedSharding(mesh, PartitionSpec("tensor")),
        "b": {"c": NamedSharding(mesh, PartitionSpec())},
    }
    assert all(set(axes) <= set(mesh.axis_names) for axes in RULES.values())
