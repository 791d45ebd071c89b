"""Causal attention inside segments: one interface, two XLA forms; kernels can take its place.

Who sees whom is told by segment ids and slot numbers, never by a dense mask, since that is what splash
attention and cuDNN want as well.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from iml_jax.models.blocked_attention import MASKED, attend_blocked, same_branch


class Visibility(NamedTuple):
    """A query sees a key of its own segment in the same or an earlier slot.

    Attributes:
      query_segments, key_segments: int32 [batch, t] and [batch, s]. Padding has segment 0 and so sees
        padding only; an unwritten cache slot has -1, which no query has.
      query_slots, key_slots: int32 [t] and [s], the place in the row (not OPT's position).
      within_rows: queries and keys are the same whole rows, which spares what lies in the future.
      branches: int32 [batch, t] of whole rows, or None where segments do not fork: a token of branch 0 is
        seen by all of its segment that follows, one of another branch by that branch only.
    """

    query_segments: jax.Array
    key_segments: jax.Array
    query_slots: jax.Array
    key_slots: jax.Array
    within_rows: bool = False
    branches: jax.Array | None = None


def within_rows(segment_ids: jax.Array, branches: jax.Array | None = None) -> Visibility:
    """Visibility of packed rows, ``segment_ids`` [batch, length], whose segments may fork."""
    slots = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)
    return Visibility(segment_ids, segment_ids, slots, slots, within_rows=True, branches=branches)


def dense_mask(visibility: Visibility) -> jax.Array:
    """The same as a bool array [batch, t, s]."""
    same = visibility.query_segments[:, :, None] == visibility.key_segments[:, None, :]
    if visibility.branches is not None:
        same &= same_branch(visibility.branches, visibility.branches)
    return same & (visibility.query_slots[:, None] >= visibility.key_slots[None, :])


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    visibility: Visibility,
    *,
    dropout: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention with a float32 softmax.

    Args:
      query: [batch, t, heads, head_dim], already scaled by head_dim**-0.5 (as OPT does after projection).
      key, value: [batch, s, heads, head_dim].
      visibility: who sees whom.
      dropout: share of probabilities dropped, when ``dropout_key`` is given.

    Returns:
      [batch, t, heads, head_dim] in the dtype of ``value``.
    """
    if visibility.within_rows:
        segment_ids = visibility.query_segments
        return attend_blocked(
            query,
            key,
            value,
            segment_ids,
            branches=visibility.branches,
            dropout=dropout,
            dropout_key=dropout_key,
        )
    mask = dense_mask(visibility)[:, None]
    return attend_dense(query, key, value, mask, dropout=dropout, dropout_key=dropout_key)


def attend_dense(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    *,
    dropout: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """``attend`` with a bool mask broadcast to [batch, heads, t, s]; finite where a row is all False."""
    scores = jnp.einsum("bthd,bshd->bhts", query, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask, scores, MASKED)
    # The softmax's denominator divides the [.., head_dim] result, not the [.., s] weights: fewer wide passes.
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
    sums = jnp.moveaxis(jnp.sum(weights, axis=-1), 1, 2)[..., None]
    if dropout_key is not None and dropout > 0.0:
        keep = jax.random.bernoulli(dropout_key, 1.0 - dropout, weights.shape)
        weights = jnp.where(keep, weights / (1.0 - dropout), 0.0)
    mixed = jnp.einsum(
        "bhts,bshd->bthd", weights.astype(value.dtype), value, preferred_element_type=jnp.float32
    )
    return (mixed / sums).astype(value.dtype)
