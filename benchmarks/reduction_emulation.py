"""Sums of gradients over simulated shards, rounded to bfloat16 where a TPU's reduce-scatter rounds.

XLA on a CPU adds bfloat16 collectives up in float32, so a run on simulated devices does not show what a TPU
computes. Here the shards are an axis of an array on one device, and every rounding is an explicit
``jax.lax.reduce_precision``, which XLA never leaves out (it may leave out a conversion to bfloat16 and back).

In a ring of n shards the array has n chunks. Chunk c starts at shard c + 1; each of n - 1 hops adds the next
shard's own chunk, and what travels is bfloat16, so each addition is rounded; shard c keeps the sum. Over two
stages (``parallel.staged_collectives.stages``) shard (i, j) first takes part in the ring of all (·, j), then
with the piece that it has got in the ring of all (i, ·).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from iml_jax.models import layers


@dataclasses.dataclass(frozen=True)
class Reduction:
    """How the gradient of a matrix is summed over shards.

    Attributes:
      shards: how many, each with its own rows.
      rings: the sizes of the rings, one a stage, whose product is ``shards``: each shard's gradient and each
        partial sum is rounded to bfloat16. Empty: the shards' gradients are summed in float32.
    """

    shards: int
    rings: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rings and math.prod(self.rings) != self.shards:
            raise ValueError(f"rings {self.rings} for {self.shards} shards")

    def sum(self, parts: jax.Array) -> jax.Array:
        """float32 [shards, elements] -> float32 [elements]; with ``rings`` all values are bfloat16's."""
        if not self.rings:
            return jnp.sum(parts, axis=0)
        elements = parts.shape[1]
        parts = jnp.pad(to_bfloat16(parts), ((0, 0), (0, -elements % self.shards)))
        parts = parts.reshape(*self.rings, -1)
        for _ in self.rings:
            parts = ring(parts)
        return parts.reshape(-1)[:elements]


def to_bfloat16(array: jax.Array) -> jax.Array:
    """float32 values rounded to the nearest bfloat16, ties to even; still float32."""
    return jax.lax.reduce_precision(array, exponent_bits=8, mantissa_bits=7)


def ring(parts: jax.Array) -> jax.Array:
    """The sum over the first axis in the order of a ring reduce-scatter, each addition rounded to bfloat16.

    Args:
      parts: [n, ..., elements], each shard's values; n divides the elements.

    Returns:
      [..., n, elements / n]: entry c of the axis before the last is what shard c keeps.
    """
    size = parts.shape[0]
    chunked = jnp.moveaxis(parts.reshape(*parts.shape[:-1], size, -1), -2, 1)  # [shard, chunk, ...]
    chunks = jnp.arange(size)

    def hop(number: jax.Array, total: jax.Array) -> jax.Array:
        return to_bfloat16(total + chunked[(chunks + 1 + number) % size, chunks])

    total = jax.lax.fori_loop(0, size, hop, jnp.zeros(chunked.shape[1:], parts.dtype))
    return jnp.moveaxis(total, 0, -2)


@contextlib.contextmanager
def emulated(reduction: Reduction) -> Iterator[None]:
    """Inside, models that are traced sum the gradients of their matrices in this way.

    Row r of a batch lies on shard r // (rows / shards), as on a mesh. All other gradients (tables, biases,
    norms) are summed in float32 by the program itself, whose order of additions they keep. ``jax.jit`` keeps
    what it has traced: give it another function for another reduction.
    """
    before = layers.product

    def product(
        array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str = ""
    ) -> jax.Array:
        del axes, reduce_dtype
        lead, rest = array.shape[: array.ndim - contracted], kernel.shape[contracted:]
        inner = math.prod(kernel.shape[:contracted])
        rows = array.reshape(lead[0], -1, inner)
        return _product(reduction, rows, kernel.reshape(inner, -1)).reshape(*lead, *rest)

    layers.product = product
    try:
        yield
    finally:
        layers.product = before


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(reduction: Reduction, rows: jax.Array, kernel: jax.Array) -> jax.Array:
    """[rows, t, inner] times [inner, outer]."""
    return rows @ kernel


def _backward(
    reduction: Reduction, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows, kernel = kept
    by_shard = [array.reshape(reduction.shards, -1, array.shape[-1]) for array in (rows, gradient)]
    # A TPU accumulates a product in float32 whatever comes out of it.
    parts = jnp.einsum("spi,spo->sio", *by_shard, preferred_element_type=jnp.float32)
    total = reduction.sum(parts.reshape(reduction.shards, -1)).reshape(kernel.shape)
    return gradient @ kernel.T, total.astype(kernel.dtype)


_product.defvjp(
    lambda reduction, rows, kernel: (_product(reduction, rows, kernel), (rows, kernel)), _backward
)
