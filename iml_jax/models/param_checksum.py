"""Which weights these are: a checksum of every bit, the same on any mesh and any number of hosts."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
# Odd, so that a product loses no bit; with bits spread widely, so that neighbouring places differ much.
_PLACE, _BITS = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)


def fingerprint(params: Any) -> str:
    """SHA-256 (hex) over the path, type, shape and a 32-bit checksum of every array of a tree.

    The checksum adds, modulo 2**32, a mix of each element's bits and place: integer sums do not depend on
    their order, so neither does it on how an array is cut over devices. Equal weights have equal
    fingerprints; others differ but for one case in 2**32 for each array. Parameters stay where they are.

    Args:
      params: tree of arrays with elements of 1, 2 or 4 bytes.

    Raises:
      ValueError: an element has another size.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    sums = np.asarray(_checksums([leaf for _, leaf in leaves]))
    digest = hashlib.sha256()
    for (path, leaf), value in zip(leaves, sums.tolist(), strict=True):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape} {value}\n".encode())
    return digest.hexdigest()


@jax.jit
def _checksums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([_checksum(leaf) for leaf in leaves])


def _checksum(leaf: jax.Array) -> jax.Array:
    size = leaf.dtype.itemsize
    if size not in _UNSIGNED:
        raise ValueError(f"an array of {leaf.dtype} has elements of {size} bytes; only 1, 2 and 4 are read")
    bits = leaf if leaf.dtype == _UNSIGNED[size] else jax.lax.bitcast_convert_type(leaf, _UNSIGNED[size])

    def place(dimension: int) -> jax.Array:
        return jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, dimension)

    start = jnp.zeros(leaf.shape, jnp.uint32)
    places = functools.reduce(lambda sofar, n: sofar * _PLACE + place(n) + 1, range(leaf.ndim), start)
    mixed = (bits.astype(jnp.uint32) + 1) * _BITS ^ places * _PLACE
    mixed ^= mixed >> 15  # else the low bits of the sum would see only the low bits of each element
    return jnp.sum(mixed * _BITS, dtype=jnp.uint32)
