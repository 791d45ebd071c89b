"""Causal attention inside segments without the [t, t] scores: rows of queries in blocks, plain XLA.

A block of queries meets only the keys up to its own end, so nearly half of the products and all passes over
their results are left out, and the backward pass makes the scores of a block again instead of keeping them
(where layers are unrolled XLA on CPU finds both equal and keeps them after all).
Heads are moved in front of the positions once, so that every product is one of contiguous matrices.
With p = softmax(q k^T), output o = p v and its gradient do (FlashAttention paper, section 3.1):

  dv = p^T do        ds = p (do v^T - rowsum(do o))        dq = ds k        dk = ds^T q
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from iml_jax.models.masking import MASKED

# Queries of a block. Smaller blocks skip more masked keys; below this their products get slow on a CPU.
BLOCK_QUERIES = 128
MOST_BLOCKS = 16  # each is unrolled into the program
ATTENTION = "attention"  # checkpoint name of what the backward pass needs


def attend_blocked(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array,
    *,
    option_ids: jax.Array | None = None,
    dropout: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention of packed rows with a float32 softmax.

    Args:
      query: [batch, t, heads, head_dim], already scaled.
      key, value: [batch, t, heads, head_dim].
      segment_ids: int32 [batch, t]; a query sees the keys of its own segment up to its own position.
      option_ids: int32 [batch, t] as in ``attention.AttentionMask``, or None.
      dropout: share of probabilities dropped, when ``dropout_key`` is given.

    Returns:
      [batch, t, heads, head_dim] in the dtype of ``value``.
    """
    query, key, value = (jnp.swapaxes(array, 1, 2) for array in (query, key, value))
    rate = dropout if dropout_key is not None else 0.0
    return jnp.swapaxes(_attend(rate, _Rows(query, key, value, segment_ids, dropout_key, option_ids)), 1, 2)


def _blocks(length: int) -> list[tuple[int, int]]:
    """(first query, one past the last) of each block."""
    size = max(BLOCK_QUERIES, math.ceil(length / MOST_BLOCKS))
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def same_option(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Whether a query [batch, t] may see a key [batch, s] by their option_ids: bool [batch, t, s]."""
    return (keys[:, None, :] == 0) | (queries[:, :, None] == keys[:, None, :])


def _scores(rows: _Rows, start: int, stop: int) -> jax.Array:
    """float32 [batch, heads, stop - start, stop]; MASKED where the query may not see the key."""
    query, key, segment_ids, option_ids = rows.query, rows.key, rows.segment_ids, rows.option_ids
    scores = jnp.einsum(
        "bhtd,bhsd->bhts", query[:, :, start:stop], key[:, :, :stop], preferred_element_type=jnp.float32
    )
    same = segment_ids[:, start:stop, None] == segment_ids[:, None, :stop]
    if option_ids is not None:
        same &= same_option(option_ids[:, start:stop], option_ids[:, :stop])
    earlier = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)
    return jnp.where((same & earlier)[:, None], scores, MASKED)


def _kept(shape: tuple[int, ...], rate: float, key: jax.Array | None, start: int) -> jax.Array | float:
    """What the probabilities of the block that begins at ``start`` are multiplied by; the same every time."""
    if rate == 0.0 or key is None:
        return 1.0
    keep = jax.random.bernoulli(jax.random.fold_in(key, start), 1.0 - rate, shape)
    return keep / (1.0 - rate)


class _Rows(NamedTuple):
    """What attention reads: query, key, value [batch, heads, t, head_dim], and who sees whom."""

    query: jax.Array
    key: jax.Array
    value: jax.Array
    segment_ids: jax.Array
    dropout_key: jax.Array | None
    option_ids: jax.Array | None = None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(rate: float, rows: _Rows) -> jax.Array:
    return _forward(rate, rows)[0]


def _forward(rate: float, rows: _Rows) -> tuple[jax.Array, tuple[_Rows, jax.Array, jax.Array]]:
    """The output [batch, heads, t, head_dim], and what the backward pass needs."""
    query, key, value, dropout_key = rows.query, rows.key, rows.value, rows.dropout_key
    outputs, logs = [], []
    for start, stop in _blocks(query.shape[2]):
        scores = _scores(rows, start, stop)
        highest = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.exp(scores - highest)
        # The denominator divides the [.., head_dim] result, not the [.., s] weights: fewer wide passes.
        sums = jnp.sum(weights, axis=-1, keepdims=True)
        weights = weights * _kept(weights.shape, rate, dropout_key, start)
        mixed = jnp.einsum(
            "bhts,bhsd->bhtd",
            weights.astype(value.dtype),
            value[:, :, :stop],
            preferred_element_type=jnp.float32,
        )
        outputs.append((mixed / sums).astype(value.dtype))
        logs.append(highest + jnp.log(sums))
    arrays = (query, key, value, jnp.concatenate(outputs, axis=2), jnp.concatenate(logs, axis=2))
    query, key, value, output, log = (checkpoint_name(array, ATTENTION) for array in arrays)
    return output, (rows._replace(query=query, key=key, value=value), output, log)


def _backward(
    rate: float, residuals: tuple[_Rows, jax.Array, jax.Array], gradient: jax.Array
) -> tuple[_Rows]:
    """Gradients in query, key and value."""
    rows, output, logs = residuals
    query, key, value, dropout_key = rows.query, rows.key, rows.value, rows.dropout_key
    wide = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    inner = jnp.sum(gradient.astype(jnp.float32) * output, axis=-1, keepdims=True)
    queries: list[jax.Array] = []
    keys, values = jnp.zeros(key.shape, jnp.float32), jnp.zeros(value.shape, jnp.float32)
    for start, stop in _blocks(query.shape[2]):
        block = slice(start, stop)
        probabilities = jnp.exp(_scores(rows, start, stop) - logs[:, :, block])
        factor = _kept(probabilities.shape, rate, dropout_key, start)
        dropped = (probabilities * factor).astype(value.dtype)
        values = values.at[:, :, :stop].add(wide("bhts,bhtd->bhsd", dropped, gradient[:, :, block]))
        downstream = wide("bhtd,bhsd->bhts", gradient[:, :, block], value[:, :, :stop])
        scores = (probabilities * (downstream * factor - inner[:, :, block])).astype(query.dtype)
        queries.append(wide("bhts,bhsd->bhtd", scores, key[:, :, :stop]).astype(query.dtype))
        keys = keys.at[:, :, :stop].add(wide("bhts,bhtd->bhsd", scores, query[:, :, block]))
    by_query = jnp.concatenate(queries, axis=2)
    return (_Rows(by_query, keys.astype(key.dtype), values.astype(value.dtype), None, None),)  # type: ignore[arg-type]


_attend.defvjp(_forward, _backward)
