"""The value that excludes a score from a softmax, and the scores of padded vocabulary rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.rules import on_one_device

MASKED = -1e30  # finite: a row of nothing else gets a uniform softmax instead of NaN


def mask_padded_vocab(
    config: OptConfig, scores: jax.Array, *, first: jax.Array | int = 0, axis: int = -1
) -> jax.Array:
    """Scores with ``MASKED`` at padded vocabulary rows, so that these never win and have probability 0.

    Args:
      scores: float32, the vocabulary along ``axis``.
      first: the vocabulary row of the first score: where this device's shard begins; 0 for ``axis`` 0.
      axis: the first or the last axis.

    Raises:
      RuntimeError: no mesh is set.
    """
    if config.vocab_rows == config.vocab_tokens:
        return scores
    if isinstance(first, int) and first == 0 and on_one_device():  # in place, without a pass over the array
        padded = (..., slice(config.vocab_tokens, None)) if axis else (slice(config.vocab_tokens, None),)
        return scores.at[padded].set(MASKED)
    rows = jnp.arange(scores.shape[axis])
    if axis == 0:
        rows = rows.reshape(-1, *(1,) * (scores.ndim - 1))
    elif not isinstance(first, int) or first:
        rows = first + rows
    return jnp.where(rows < config.vocab_tokens, scores, MASKED)
