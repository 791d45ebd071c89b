"""Rows of a table looked up by id, the table sharded over the mesh, and the gradient added up where it lies.

Left to the partitioner a look-up gathers the whole table on every device, and its gradient is added up there
before it is sharded. Here the table stays: each device looks up the ids of all rows of its ``fsdp`` group
among
its own entries and columns; the results change places (all-to-all), are added up over ``tensor``, and each
device keeps its own rows and positions. What is sent is the activations, a small part of a table.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from iml_jax.parallel.mesh import DATA, FSDP, TENSOR
from iml_jax.parallel.rules import on_one_device, partition_spec, sequence_axis, shard_count


def look_up(table: jax.Array, ids: jax.Array, axes: tuple[str, str], dtype: Any) -> jax.Array:
    """Rows of ``table`` by id.

    Args:
      table: float32 [rows, width].
      ids: int32 [batch, t].
      axes: the table's logical axis names.
      dtype: of the result. The gradient is added up in float32 whatever it is: a frequent token's is a sum
        of thousands.

    Returns:
      [batch, t, width], positions sharded over ``tensor`` where it divides them. NaN for an id that no row
      has, also for one below 0.

    Raises:
      RuntimeError: no mesh is set.
    """
    # Indexing would count an id below 0 from the table's end.
    ids = jnp.where(ids < 0, table.shape[0], ids)
    if on_one_device():
        return jnp.take(table, ids, axis=0, mode="fill").astype(dtype)
    return _look_up(axes, jnp.dtype(dtype).name, table.shape[0], table, ids)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _look_up(axes: tuple[str, str], dtype: str, height: int, table: jax.Array, ids: jax.Array) -> jax.Array:
    sequence = sequence_axis(ids.shape[1])
    sharded_rows, sharded_positions = _is_sharded(axes[0]), _is_sharded(sequence)

    def local(part: jax.Array, ids: jax.Array) -> jax.Array:
        part, ids = part.astype(dtype), jax.lax.all_gather(ids, FSDP, axis=0, tiled=True)
        if not sharded_rows:
            found = jnp.take(
                part, _own_positions(ids, sequence) if sharded_positions else ids, axis=0, mode="fill"
            )
        else:
            found = jnp.take(part, _own_rows(ids, part.shape[0]), axis=0, mode="fill", fill_value=0)
            found = jnp.where(((ids >= 0) & (ids < height))[..., None], found, jnp.nan)
            if sharded_positions:
                found = jax.lax.psum_scatter(found, TENSOR, scatter_dimension=1, tiled=True)
            else:
                found = jax.lax.psum(found, TENSOR)
        return jax.lax.all_to_all(found, FSDP, split_axis=0, concat_axis=2, tiled=True)

    specs = (partition_spec(axes), partition_spec(("batch", "length")))
    out = partition_spec(("batch", sequence, "residual"))
    return jax.shard_map(local, in_specs=specs, out_specs=out, check_vma=False)(table, ids)


def _forward(
    axes: tuple[str, str], dtype: str, height: int, table: jax.Array, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return _look_up(axes, dtype, height, table, ids), ids


def _backward(
    axes: tuple[str, str], dtype: str, height: int, ids: jax.Array, gradient: jax.Array
) -> tuple[jax.Array, None]:
    sequence = sequence_axis(ids.shape[1])
    sharded_rows, sharded_positions = _is_sharded(axes[0]), _is_sharded(sequence)
    count = height // shard_count(axes[0])

    def local(gradient: jax.Array, ids: jax.Array) -> jax.Array:
        ids = jax.lax.all_gather(ids, FSDP, axis=0, tiled=True)
        gradient = jax.lax.all_to_all(gradient, FSDP, split_axis=2, concat_axis=0, tiled=True)
        if sharded_rows:
            if sharded_positions:
                gradient = jax.lax.all_gather(gradient, TENSOR, axis=1, tiled=True)
            ids = _own_rows(ids, count)
        elif sharded_positions:
            ids = _own_positions(ids, sequence)
        total = jnp.zeros((count, gradient.shape[-1]), jnp.float32)
        total = total.at[ids].add(gradient.astype(jnp.float32), mode="drop")
        return jax.lax.psum(total, DATA if sharded_rows or not sharded_positions else (DATA, TENSOR))

    specs = (partition_spec(("batch", sequence, "residual")), partition_spec(("batch", "length")))
    out = partition_spec(axes)
    return jax.shard_map(local, in_specs=specs, out_specs=out, check_vma=False)(gradient, ids), None


_look_up.defvjp(_forward, _backward)


def _is_sharded(name: str) -> bool:
    return shard_count(name) > 1


def _own_rows(ids: jax.Array, rows: int) -> jax.Array:
    """Ids counted from this device's first row; those of other devices lie behind its last one."""
    own = ids - jax.lax.axis_index(TENSOR) * rows
    return jnp.where((own >= 0) & (own < rows), own, rows)


def _own_positions(ids: jax.Array, sequence: str) -> jax.Array:
    """[batch, t] -> this device's share of the positions."""
    share = ids.shape[1] // shard_count(sequence)
    return jax.lax.dynamic_slice_in_dim(ids, jax.lax.axis_index(TENSOR) * share, share, axis=1)
