"""Gathers and scattered sums over one mesh axis, for the inside of ``jax.shard_map``.

Where the group of a collective is every chip of a TPU slice, libtpu (0.0.42) makes a reduce-scatter, and on
a 3D torus an all-gather too, an all-reduce of the whole array, zero but for one piece: twice the bytes, and
memory for it. In two stages, each over a part of the axis, they stay what they are and send the same bytes
together as one would: (n - 1) / n of the array.
"""

from __future__ import annotations

import math

import jax

from iml_jax.parallel.mesh import FSDP, TENSOR
from iml_jax.parallel.rules import mesh_size, platform

# Below this an axis seldom is a whole slice, and one collective has less to start than two.
SMALLEST = 16


def in_stages() -> bool:
    """Whether collectives over ``fsdp`` run in two stages on the mesh in force.

    On TPU, where ``fsdp`` may be a whole slice: nothing is sharded over ``tensor``. (Sharded over ``data``
    as well, inside of a slice, it would not need to; the stages cost nothing then.)

    Raises:
      RuntimeError: no mesh is set.
    """
    size = mesh_size(FSDP)
    return platform() == "tpu" and mesh_size(TENSOR) == 1 and size >= SMALLEST and len(stages(size)) > 1


def stages(size: int) -> tuple[int, ...]:
    """(outer, inner) with outer x inner = ``size``; (size,) for a prime.

    A device is number outer_index x inner + inner_index of the axis. For powers of two the outer stage has
    4 ** (log2(size) // 3) devices, whole planes of a slice of 4 x 4 x n or 8 x 8 x n chips and of 16 x 16.
    """
    power = size.bit_length() - 1
    if size == 1 << power and power >= 3:
        outer = 4 ** (power // 3)
    else:
        outer = max((n for n in range(1, math.isqrt(size) + 1) if size % n == 0), default=1)
    return (outer, size // outer) if outer > 1 else (size,)


def _groups(size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of the outer and of the inner stage, as ``axis_index_groups``."""
    outer, inner = stages(size)
    across = [[i * inner + j for i in range(outer)] for j in range(inner)]
    within = [[i * inner + j for j in range(inner)] for i in range(outer)]
    return across, within


def gather_width(part: jax.Array, dimension: int) -> jax.Array:
    """Each device's shard of a weight -> the weight replicated over ``fsdp``, inside of ``shard_map``.

    Args:
      part: sharded along ``dimension`` only.
    """
    if not in_stages():
        return jax.lax.all_gather(part, FSDP, axis=dimension, tiled=True)
    across, within = _groups(mesh_size(FSDP))
    part = jax.lax.all_gather(part, FSDP, axis=dimension, tiled=True, axis_index_groups=within)
    return jax.lax.all_gather(part, FSDP, axis=dimension, tiled=True, axis_index_groups=across)


def scatter_width(array: jax.Array, dimension: int) -> jax.Array:
    """The sum of an array over ``fsdp``, each device its part of ``dimension``, inside of ``shard_map``."""
    if not in_stages():
        return jax.lax.psum_scatter(array, FSDP, scatter_dimension=dimension, tiled=True)
    across, within = _groups(mesh_size(FSDP))
    array = jax.lax.psum_scatter(
        array, FSDP, scatter_dimension=dimension, tiled=True, axis_index_groups=across
    )
    return jax.lax.psum_scatter(
        array, FSDP, scatter_dimension=dimension, tiled=True, axis_index_groups=within
    )
