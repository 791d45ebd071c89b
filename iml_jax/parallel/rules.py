"""Logical axis names of every weight and activation, and where the mesh puts them.

The model names its axes; only this table knows the mesh. A constraint that could do nothing because no
mesh is set, or because a name is misspelt, is an error here (flax's
``with_logical_constraint`` ignores both).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from iml_jax.foundation.errors import UserError

Names = tuple[str, ...]

RULES: dict[str, tuple[str, ...]] = {
    # weights
    "layers": (),
    "vocab": ("tensor",),
    "embed": ("fsdp",),  # the residual width, in matrices
    "heads": ("tensor",),
    "head_dim": (),
    "mlp": ("tensor",),
    "position": (),
    "norm": (),  # vectors of the residual width: small, replicated
    "projected": (),  # the word-embedding width inside OPT-350M's project_in and project_out
    # activations
    "batch": ("data", "fsdp"),
    "decode_batch": ("data",),  # single tokens, whose width is sharded over fsdp in place of their rows
    "replicated_batch": (),  # rows that every process reads
    "qkv": (),  # query, key and value
    "micro": (),  # micro-batches, one after the other
    "length": (),
    "sequence": ("tensor",),  # the residual stream between blocks (Megatron's sequence parallelism)
    "residual": (),
    "activation_heads": ("tensor",),
    "activation_head_dim": (),
    "activation_mlp": ("tensor",),
    "activation_vocab": ("tensor",),
}


def partition_spec(names: Names) -> PartitionSpec:
    """The PartitionSpec of an array whose axes bear these logical names.

    Raises:
      ValueError: a name that the table does not hold, or one mesh axis used twice.
    """
    entries = []
    for name in names:
        if name not in RULES:
            raise ValueError(f"unknown logical axis {name!r} in {names}; known: {', '.join(RULES)}")
        axes = RULES[name]
        entries.append(axes if len(axes) > 1 else axes[0] if axes else None)
    used = [axis for name in names for axis in RULES[name]]
    if len(used) != len(set(used)):
        raise ValueError(f"logical axes {names} put one mesh axis on two dimensions: {entries}")
    return PartitionSpec(*entries)


def is_names(node: Any) -> bool:
    """Whether a node of a tree is a tuple of logical axis names, and so one array's."""
    return isinstance(node, tuple) and all(isinstance(name, str) for name in node)


def shardings(mesh: Mesh, logical: Any) -> Any:
    """A tree of NamedShardings from a tree of logical-name tuples (``models.opt.logical_axes``)."""
    return jax.tree.map(lambda names: NamedSharding(mesh, partition_spec(names)), logical, is_leaf=is_names)


def check_divisible(mesh: Mesh, logical: Any, shapes: Any) -> None:
    """Refuse a mesh that cannot shard these weights evenly.

    Args:
      logical: tree of logical-name tuples.
      shapes: the same tree of arrays or ShapeDtypeStructs.

    Raises:
      UserError: names the weight, the dimension, and the axis it does not divide by.
    """
    named = jax.tree_util.tree_flatten_with_path(logical, is_leaf=is_names)[0]
    for (path, names), array in zip(named, jax.tree.leaves(shapes), strict=True):
        where = "/".join(str(getattr(key, "key", key)) for key in path)
        for name, size in zip(names, array.shape, strict=True):
            check_axis(mesh, name, size, where)


def check_axis(mesh: Mesh, name: str, size: int, where: str) -> None:
    """Raise UserError unless ``size`` divides evenly over the mesh axes of logical axis ``name``."""
    axes = RULES[name]
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if size % parts:
        raise UserError(
            f"{where}: {name} is {size} wide and cannot be cut over mesh axis {' x '.join(axes)} "
            f"of size {parts}; choose a size of Mesh.{'/'.join(axes)} that divides {size}"
        )


def _current_mesh() -> jax.sharding.AbstractMesh:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        raise RuntimeError(
            "no mesh is set: call the model inside `with jax.set_mesh(mesh):` "
            "(or `with iml_jax.parallel.mesh.single_device():`)"
        )
    return mesh


def constrain(array: jax.Array, names: Sequence[str]) -> jax.Array:
    """Fix an activation's sharding by its logical axis names, under ``jax.set_mesh``.

    Raises:
      RuntimeError: no mesh is set, so that the constraint would silently do nothing.
      ValueError: an unknown name, or another number of names than dimensions.
    """
    spec = partition_spec(tuple(names))
    if len(names) != array.ndim:
        raise ValueError(f"{len(names)} logical axes {tuple(names)} for an array of shape {array.shape}")
    mesh = _current_mesh()
    if mesh.size == 1:
        return array
    return jax.lax.with_sharding_constraint(array, spec)


def shard_count(name: str) -> int:
    """Over how many devices the mesh that is set shards logical axis ``name``.

    Raises:
      RuntimeError: no mesh is set.
    """
    mesh = _current_mesh()
    return math.prod(mesh.shape[axis] for axis in RULES[name])


def mesh_size(axis: str) -> int:
    """The size of a mesh axis (``mesh.AXES``) of the mesh that is set.

    Raises:
      RuntimeError: no mesh is set.
    """
    return _current_mesh().shape[axis]


def sharded_dimension(names: Names, axis: str) -> int | None:
    """The dimension, of an array with these logical axes, that mesh axis ``axis`` shards; None: none."""
    return next((number for number, name in enumerate(names) if axis in RULES[name]), None)


def sequence_axis(length: int) -> str:
    """The logical name of the positions of a residual stream of so many of them.

    ``sequence``, sharded over ``tensor``, where that divides them; else ``length``: single tokens and odd
    prompts are replicated.

    Raises:
      RuntimeError: no mesh is set.
    """
    return "length" if length % shard_count("sequence") else "sequence"


def on_one_device() -> bool:
    """Whether the mesh in force is a single device, so that no array is sharded.

    Raises:
      RuntimeError: no mesh is set.
    """
    return _current_mesh().size == 1


def platform() -> str:
    """``tpu``, ``gpu`` or ``cpu``: what the devices of the mesh in force are.

    Raises:
      RuntimeError: no mesh is set.
    """
    name = _current_mesh().abstract_device.platform
    return "gpu" if name in ("cuda", "rocm") else name
