"""Causal attention inside segments: one interface over splash attention (TPU), cuDNN (GPU) and plain XLA.

The mask is given by segment ids and slot numbers, not as a dense array, since that is what the kernels
want as well.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from iml_jax.models.blocked_attention import ATTENTION, attend_blocked, same_option
from iml_jax.models.masking import MASKED
from iml_jax.parallel.rules import constrain, on_one_device, partition_spec, platform

_BY_PLATFORM = {"tpu": "splash", "gpu": "cudnn"}


class AttentionMask(NamedTuple):
    """A query sees a key of its own segment in the same or an earlier slot.

    Attributes:
      query_segments, key_segments: int32 [batch, t] and [batch, s]. Padding has segment 0 and so sees
        padding only; an unwritten cache slot has -1, which no query has.
      query_slots, key_slots: int32 [t] and [s], the place in the row (not OPT's position).
      within_rows: queries and keys are the same whole rows, which spares what lies in the future.
      option_ids: int32 [batch, t] of whole rows, or None where segments have no options: a token of id 0
        is attended to by all of its segment that follows, one of another id by tokens of that id only.
    """

    query_segments: jax.Array
    key_segments: jax.Array
    query_slots: jax.Array
    key_slots: jax.Array
    within_rows: bool = False
    option_ids: jax.Array | None = None


def within_rows(segment_ids: jax.Array, option_ids: jax.Array | None = None) -> AttentionMask:
    """AttentionMask of packed rows, ``segment_ids`` [batch, length], whose segments may have options."""
    slots = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)
    return AttentionMask(segment_ids, segment_ids, slots, slots, within_rows=True, option_ids=option_ids)


def dense_mask(attention_mask: AttentionMask) -> jax.Array:
    """The same as a bool array [batch, t, s]."""
    same = attention_mask.query_segments[:, :, None] == attention_mask.key_segments[:, None, :]
    if attention_mask.option_ids is not None:
        same &= same_option(attention_mask.option_ids, attention_mask.option_ids)
    return same & (attention_mask.query_slots[:, None] >= attention_mask.key_slots[None, :])


def choose_kernel(
    wanted: str, attention_mask: AttentionMask, dtype: jax.typing.DTypeLike, dropout: float
) -> str:
    """Which form computes this attention: ``splash``, ``cudnn``, ``blocked`` or ``dense``.

    The kernels know whole rows without forks and without dropout, cuDNN only 16-bit numbers; the rest goes
    to XLA's forms, which give the same on every platform.

    Args:
      wanted: one of ``sizes.ATTENTION_KERNELS``; ``auto`` takes the kernel of the mesh's platform.

    Raises:
      RuntimeError: no mesh is set.
    """
    if not attention_mask.within_rows:
        return "dense"
    kernel = _BY_PLATFORM.get(platform(), "blocked") if wanted == "auto" else wanted
    if attention_mask.option_ids is not None or dropout > 0.0:
        return "blocked"
    if kernel == "cudnn" and jnp.dtype(dtype) not in (jnp.bfloat16, jnp.float16):
        return "blocked"
    return kernel


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    attention_mask: AttentionMask,
    *,
    kernel: str = "auto",
    dropout: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention with a float32 softmax.

    Args:
      query: [batch, t, heads, head_dim], already scaled by head_dim**-0.5 (as OPT does after projection).
      key, value: [batch, s, heads, head_dim].
      attention_mask: which keys each query attends to.
      kernel: one of ``sizes.ATTENTION_KERNELS``, see ``choose_kernel``.
      dropout: share of probabilities dropped, when ``dropout_key`` is given.

    Returns:
      [batch, t, heads, head_dim] in the dtype of ``value``.
    """
    rate = dropout if dropout_key is not None else 0.0
    form = choose_kernel(kernel, attention_mask, query.dtype, rate)
    segment_ids = attention_mask.query_segments
    if form == "splash":
        from iml_jax.models.splash_attention import attend_splash  # Pallas is a third of JAX's own import

        return attend_splash(query, key, value, segment_ids, interpret=platform() != "tpu")
    if form == "cudnn":
        return attend_cudnn(query, key, value, attention_mask)
    if form == "blocked":
        return attend_blocked(
            query,
            key,
            value,
            segment_ids,
            option_ids=attention_mask.option_ids,
            dropout=dropout,
            dropout_key=dropout_key,
        )
    mask = dense_mask(attention_mask)[:, None]
    return attend_dense(query, key, value, mask, dropout=dropout, dropout_key=dropout_key)


def attend_cudnn(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    attention_mask: AttentionMask,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """``attend`` of whole rows by cuDNN's fused attention, each device for its rows and heads.

    Args:
      implementation: ``xla`` computes the same where there is no GPU, for tests.
    """

    def local(query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array) -> jax.Array:
        mask = (segments[:, :, None] == segments[:, None, :])[:, None]
        return jax.nn.dot_product_attention(
            query, key, value, mask=mask, scale=1.0, is_causal=True, implementation=implementation
        )

    names = ("batch", "length", "activation_heads", "activation_head_dim")
    if not on_one_device():
        wide, narrow = partition_spec(names), partition_spec(("batch", "length"))
        local = jax.shard_map(local, in_specs=(wide, wide, wide, narrow), out_specs=wide, check_vma=False)
    query, key, value = (checkpoint_name(constrain(array, names), ATTENTION) for array in (query, key, value))
    return checkpoint_name(local(query, key, value, attention_mask.query_segments), ATTENTION)


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
