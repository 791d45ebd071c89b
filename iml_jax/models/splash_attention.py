"""Causal attention inside segments by JAX's splash attention kernel for TPUs (Pallas), on a mesh.

The kernel masks by segment ids but visits every block of the causal triangle. Here the table of blocks that
it runs is made for each row from its segments, so that blocks which no segment reaches into are skipped: in
rows packed with short examples little more than the diagonal is left.
Source: ``jax.experimental.pallas.ops.tpu.splash_attention``; must agree with ``attention.attend_dense``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

from iml_jax.models.blocked_attention import ATTENTION
from iml_jax.models.masking import MASKED
from iml_jax.parallel.rules import constrain, on_one_device, partition_spec

LANES = 128  # a block is a multiple of it
MOST_BLOCK = 512  # queries and keys of a block
_NAMES = ("batch", "activation_heads", "length", "activation_head_dim")


def attend_splash(
    query: jax.Array, key: jax.Array, value: jax.Array, segment_ids: jax.Array, *, interpret: bool = False
) -> jax.Array:
    """Softmax attention of packed rows with a float32 softmax.

    Args:
      query: [batch, t, heads, head_dim], already scaled; any head_dim (below 128 the kernel pads to it).
      key, value: [batch, t, heads, head_dim].
      segment_ids: int32 [batch, t]; a query sees the keys of its own segment up to its own position.
      interpret: run the kernel's program by XLA, for tests without a TPU.

    Returns:
      [batch, t, heads, head_dim] in the dtype of ``value``.

    Raises:
      RuntimeError: no mesh is set.
    """
    length = query.shape[1]
    size, padded = _block_size(length)
    segment_ids = jnp.pad(segment_ids, ((0, 0), (0, padded - length)), constant_values=-1)

    def rows_first(array: jax.Array) -> jax.Array:
        wide = jnp.pad(array, ((0, 0), (0, padded - length), (0, 0), (0, 0)))
        return checkpoint_name(constrain(jnp.swapaxes(wide, 1, 2), _NAMES), ATTENTION)

    def local(query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array) -> jax.Array:
        # One row after the other: each has a table of its own, and one row fills the cores.
        return jax.lax.map(
            lambda row: _attend_row(*row, size=size, interpret=interpret), (query, key, value, segments)
        )

    arrays = (rows_first(query), rows_first(key), rows_first(value), segment_ids)
    if not on_one_device():
        wide, narrow = partition_spec(_NAMES), partition_spec(("batch", "length"))
        local = jax.shard_map(local, in_specs=(wide, wide, wide, narrow), out_specs=wide, check_vma=False)
    return jnp.swapaxes(local(*arrays), 1, 2)[:, :length]


def _block_size(length: int) -> tuple[int, int]:
    """(positions of a block, the row's length padded to whole blocks)."""
    padded = math.ceil(length / LANES) * LANES
    size = next(s for s in range(min(MOST_BLOCK, padded), 0, -LANES) if padded % s == 0)
    return size, padded


def _causal(queries: jax.Array, keys: jax.Array) -> jax.Array:
    return queries >= keys


def _attend_row(
    query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array, *, size: int, interpret: bool
) -> jax.Array:
    """One row: [heads, t, head_dim] and int32 [t] -> [heads, t, head_dim]."""
    by_queries, by_keys = block_tables(segments, size)
    sizes = splash.BlockSizes(
        block_q=size,
        block_kv=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_q_dq=size,
        block_kv_dq=size,
    )
    kernel = splash.SplashAttentionKernel(
        by_queries,
        by_queries,
        by_keys,
        block_sizes=sizes,
        is_mqa=False,
        save_residuals=False,
        mask_value=MASKED,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=ATTENTION,
        mask_function=_causal,
        interpret=interpret,
    )
    output = kernel(query, key, value, splash.SegmentIds(segments, segments))
    assert isinstance(output, jax.Array)  # a pair only where residuals are asked for
    return output.astype(value.dtype)


def block_tables(segments: jax.Array, size: int) -> tuple[MaskInfo, MaskInfo]:
    """Which blocks of a row's scores are computed.

    Args:
      segments: int32 [t], ``size`` dividing t.

    Returns:
      Splash's tables for the passes that walk along the keys of a block of queries (forward, and the
      gradient in the queries) and for the one that walks along the queries of a block of keys. In both,
      ``block_mask`` [1, blocks, blocks] is 1 where some query may see some key, and ``data_next`` names the
      block that is fetched: the block itself where it is computed, else the next one that is.
    """
    blocks = segments.shape[0] // size
    # Padding (ids below 1) ends a row; as the highest id it leaves the ids of the row rising.
    cut = jnp.where(segments < 1, jnp.iinfo(jnp.int32).max, segments).reshape(blocks, size)
    low, high = jnp.min(cut, axis=1), jnp.max(cut, axis=1)
    # Ids of a row rise, so two blocks share a segment exactly where their ranges meet; were they in disorder,
    # blocks would be computed for nothing but none would be missed.
    meet = (low[:, None] <= high[None, :]) & (low[None, :] <= high[:, None])
    index = jnp.arange(blocks, dtype=jnp.int32)
    runs = meet & (index[:, None] >= index[None, :])
    first_key = jnp.argmax(runs, axis=1).astype(jnp.int32)  # of each block of queries
    following = jnp.roll(first_key, -1).at[-1].set(0)
    elsewhere = jnp.where(index[None, :] < first_key[:, None], first_key[:, None], following[:, None])
    next_key = jnp.where(runs, index[None, :], elsewhere)
    # A block of keys is first seen by the queries of its own block.
    after = jnp.roll(index, -1)
    next_query = jnp.where(
        runs, index[:, None], jnp.where(index[:, None] < index[None, :], index[None, :], after[None, :])
    )
    table = runs[None].astype(jnp.int32)
    sequence = np.arange(segments.shape[0], dtype=np.int32)
    return (
        MaskInfo(next_key[None], None, table, None, sequence),
        MaskInfo(next_query[None], None, table, None, sequence),
    )
