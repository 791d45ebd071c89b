"""Pads rows of many lengths to few shapes, sharded over the mesh's batch axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from iml_jax.parallel.rules import RULES, partition_spec

SMALLEST = 32  # the shortest row length that is compiled for


def bucket(length: int, largest: int, smallest: int = SMALLEST) -> int:
    """The row length that a sequence of ``length`` is padded to: a power of two, ``largest`` at most.

    Raises:
      ValueError: ``length`` exceeds ``largest``.
    """
    if length > largest:
        raise ValueError(f"a sequence of {length} does not fit {largest}")
    return min(largest, max(smallest, 1 << max(0, length - 1).bit_length()))


def on_cpu(mesh: jax.sharding.Mesh) -> bool:
    """Whether to unroll the layers: in a scan, XLA's CPU backend copies the weights of each layer."""
    return bool(mesh.devices.flat[0].platform == "cpu")


def row_count(mesh: jax.sharding.Mesh, batch_size: int) -> int:
    """``batch_size`` rounded up to a multiple of the mesh's batch axes."""
    parts = math.prod(mesh.shape[axis] for axis in RULES["batch"])
    return -(-batch_size // parts) * parts


def batches(shapes: Sequence[Any], rows: int) -> Iterator[tuple[Any, list[int]]]:
    """Groups items of equal shape, the largest shapes first (what does not fit fails at once).

    Args:
      shapes: each item's padded shape, any sortable key.
      rows: the largest number of items per batch.

    Yields:
      The shape and the items' indices, in their order within a shape.
    """
    by_shape: dict[Any, list[int]] = {}
    for index, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(index)
    for shape in sorted(by_shape, reverse=True):
        members = by_shape[shape]
        for start in range(0, len(members), rows):
            yield shape, members[start : start + rows]


def right_aligned(sequences: Sequence[Sequence[int]], rows: int, length: int) -> np.ndarray:
    """int32 [rows, length]: sequences end at the right edge; -1 before them and in unused rows.

    Left padding lets every row's last token, which the answer follows, stand in the same column.
    """
    table = np.full((rows, length), -1, np.int32)
    for row, sequence in enumerate(sequences):
        if len(sequence):
            table[row, length - len(sequence) :] = sequence
    return table


def as_inputs(table: np.ndarray, pad: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids, positions (from 0 at each row's first token) and segment ids (1; 0 for padding)."""
    valid = table >= 0
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0).astype(np.int32)
    return np.where(valid, table, pad).astype(np.int32), positions, valid.astype(np.int32)


def on_mesh(mesh: jax.sharding.Mesh, array: np.ndarray) -> jax.Array:
    """A global array sharded along its first axis; every process holds all of ``array``."""
    spec = partition_spec(("batch", *("length",) * (array.ndim - 1)))
    sharding = jax.sharding.NamedSharding(mesh, spec)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def replicated(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    """The sharding of outputs that every process reads."""
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
