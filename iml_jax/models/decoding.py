"""Decoding with a KV cache, for a batch whose rows enter and leave at different times (continuous batching).

The cache is a ring: all rows write to the same slot at the same step, which advances by one slot per step. A
prompt that enters a row has its keys and values placed right before that slot. A step therefore updates one
slice, whatever the rows hold.

This module is the only interface to decoding: ``decoding_params``, ``empty_cache``, ``prefill``, ``insert``,
``keep_rows`` and ``step``. A step reads every weight once for few rows, so memory bandwidth bounds it.
Activations have their features on the first axis, [features, rows], and on a CPU the weights are copied layer
by layer, query, key and value as one matrix: docs/decisions/decoding_layout.md has what both gain. On a mesh
activations are sharded like the weights they meet and partial products are summed, instead of gathering
weights over ``fsdp`` (the 2D weight-stationary layout of Pope et al. 2022, arXiv 2211.05102, section 3.2).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from iml_jax.models import opt
from iml_jax.models.attention import within_rows
from iml_jax.models.layers import DecoderLayer, LayerCache
from iml_jax.models.masking import MASKED, mask_padded_vocab
from iml_jax.models.sizes import LAYER_NORM_EPSILON, POSITION_OFFSET, OptConfig
from iml_jax.parallel.rules import constrain, platform

CACHE = ("batch", "activation_heads", "length", "activation_head_dim")
SHARDED_WIDTH = ("embed", "decode_batch")  # activations that meet weights sharded over fsdp
REPLICATED_WIDTH = ("residual", "decode_batch")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RingCache:
    """Keys and values of the rows being decoded.

    Attributes:
      keys, values: [batch, heads, slots, head_dim] in the compute dtype, a tuple of one per layer; or one
        array of each with the layers in front.
      valid: bool [batch, slots], the slots that hold tokens of the row's present text.
      slot: int32 scalar, where the next step writes.
    """

    keys: Any
    values: Any
    valid: jax.Array
    slot: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefill:
    """Prompts' keys and values, [layers, batch, heads, length, head_dim], and which of them are real.

    Attributes:
      valid: bool [batch, length]; prompts end at the right edge.
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array


def _arranged(layer: Any, dtype: Any) -> Any:
    """One layer's weights for ``step``: query, key and value as one matrix, outputs in front of inputs.

    The embedding tables have that form already.
    """
    attention, mlp = jax.tree.map(lambda a: a.astype(dtype), (layer["attention"], layer["mlp"]))
    three = [attention[name] for name in ("query", "key", "value")]
    return {
        "attention_norm": layer["attention_norm"],
        "mlp_norm": layer["mlp_norm"],
        # [3, heads, head_dim, hidden] and [3, heads, head_dim, 1]
        "qkv": (
            jnp.stack([jnp.moveaxis(part["kernel"], 0, -1) for part in three]),
            jnp.stack([part["bias"] for part in three])[..., None],
        ),
        "out": (jnp.moveaxis(attention["output"]["kernel"], -1, 0), attention["output"]["bias"][:, None]),
        "up": (mlp["up"]["kernel"].T, mlp["up"]["bias"][:, None]),
        "down": (mlp["down"]["kernel"].T, mlp["down"]["bias"][:, None]),
    }


def copies_params() -> bool:
    """Whether decoding works on a copy of the parameters, layer by layer: on a CPU.

    There XLA would copy every layer out of the stacked arrays at every step; on an accelerator it does not.

    Raises:
      RuntimeError: no mesh is set.
    """
    return platform() == "cpu"


def decoding_params(config: OptConfig, params: opt.Params) -> opt.Params:
    """The parameters that ``step`` takes: a copy where ``copies_params``, else ``params`` themselves.

    Args:
      params: stacked, as ``opt.init_params`` has them.

    Raises:
      RuntimeError: no mesh is set.
    """
    return _unrolled(config, params) if copies_params() else params


@functools.partial(jax.jit, static_argnums=0)
def _unrolled(config: OptConfig, params: opt.Params) -> opt.Params:
    dtype = jnp.dtype(config.compute_dtype)
    pieces = [jax.tree.map(lambda a, i=i: a[i], params["layers"]) for i in range(config.layers)]
    return {**params, "layers": tuple(_arranged(piece, dtype) for piece in pieces)}


def empty_cache(config: OptConfig, batch: int, slots: int) -> RingCache:
    """A cache without a token.

    Args:
      batch: rows.
      slots: capacity in tokens, prompt and answer, of each row.

    Raises:
      RuntimeError: no mesh is set.
    """
    shape = (batch, config.heads, slots, config.head_dim)
    dtype = jnp.dtype(config.compute_dtype)
    apart = copies_params()

    def zeros() -> Any:
        if apart:
            return tuple(constrain(jnp.zeros(shape, dtype), CACHE) for _ in range(config.layers))
        return constrain(jnp.zeros((config.layers, *shape), dtype), ("layers", *CACHE))

    return RingCache(zeros(), zeros(), jnp.zeros((batch, slots), bool), jnp.zeros((), jnp.int32))


def prefill(
    config: OptConfig, params: opt.Params, inputs: jax.Array, positions: jax.Array, segments: jax.Array
) -> tuple[jax.Array, Prefill]:
    """Each prompt's next-token logits, float32 [vocab_rows, batch] as of ``step``, and its keys and values.

    Args:
      params: stacked, as ``opt.init_params`` has them.
      inputs, positions, segments: int32 [batch, t], prompts at the right edge, segment 0 before them.
    """
    model = opt.bind(config, params)
    graph, weights = nnx.split(model.layers)
    empty = jnp.zeros((*inputs.shape, config.heads, config.head_dim), jnp.dtype(config.compute_dtype))
    cache = LayerCache(empty, empty, jnp.zeros((), jnp.int32))

    def body(array: jax.Array, layer_weights: Any) -> tuple[jax.Array, Any]:
        layer: DecoderLayer = nnx.merge(graph, layer_weights)
        array, written = layer(array, within_rows(segments), None, cache)
        assert written is not None
        found = (jnp.swapaxes(written.key, 1, 2), jnp.swapaxes(written.value, 1, 2))
        return array, tuple(constrain(part, CACHE) for part in found)

    array, (keys, values) = jax.lax.scan(body, model.embed(inputs, positions, None), weights)
    hidden = model.finish(array[:, -1:])[:, 0]
    return _logits(config, params, hidden.T), Prefill(keys, values, segments > 0)


def insert(cache: RingCache, prompts: Prefill, source: jax.Array) -> RingCache:
    """Inserts prompts into rows of the cache, right before the slot that is written next.

    Args:
      source: int32 [batch of the ring], the row of ``prompts`` that enters there; -1 leaves a row as it is.
    """
    slots, length = cache.valid.shape[1], prompts.valid.shape[1]
    if length > slots:
        raise ValueError(f"prompts of {length} tokens do not fit into a cache of {slots} slots")
    chosen = jnp.maximum(source, 0)

    def turned(array: jax.Array, axis: int) -> jax.Array:
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, slots - length)
        return jnp.roll(jnp.pad(array, widths), cache.slot - length, axis)

    def merge(old: jax.Array, new: jax.Array) -> jax.Array:
        new = turned(jnp.take(new, chosen, axis=new.ndim - 4), new.ndim - 2)
        return constrain(
            jnp.where((source >= 0)[:, None, None, None], new, old), ("layers", *CACHE)[-new.ndim :]
        )

    def all_layers(old: Any, new: jax.Array) -> Any:
        if isinstance(old, tuple):
            return tuple(merge(layer, new[index]) for index, layer in enumerate(old))
        return merge(old, new)

    valid = turned(jnp.take(prompts.valid, chosen, axis=0), 1)
    valid = jnp.where((source >= 0)[:, None], valid, cache.valid)
    return RingCache(
        all_layers(cache.keys, prompts.keys), all_layers(cache.values, prompts.values), valid, cache.slot
    )


def keep_rows(cache: RingCache, rows: jax.Array) -> RingCache:
    """A cache of only these rows, int32 [fewer]."""

    def take(array: jax.Array) -> jax.Array:
        return constrain(jnp.take(array, rows, axis=array.ndim - 4), ("layers", *CACHE)[-array.ndim :])

    keys, values = (jax.tree.map(take, part) for part in (cache.keys, cache.values))
    return RingCache(keys, values, jnp.take(cache.valid, rows, axis=0), cache.slot)


def step(
    config: OptConfig,
    params: opt.Params,
    cache: RingCache,
    *,
    tokens: jax.Array,
    positions: jax.Array,
    alive: jax.Array,
) -> tuple[jax.Array, RingCache]:
    """Reads one more token of every row.

    Args:
      params: as ``decoding_params`` gives them.
      cache: of a capacity for the longest row, prompt and answer.
      tokens, positions: int32 [batch].
      alive: bool [batch]; what other rows read is not kept in the cache.

    Returns:
      float32 logits [vocab_rows, batch], padded vocabulary rows ``MASKED``, and the cache. All NaN for a row
      whose first token is overwritten because the cache's capacity is too small.
    """
    dtype = jnp.dtype(config.compute_dtype)
    array = _embed(config, params, tokens, positions)
    new: tuple[Any, Any]
    if isinstance(cache.keys, tuple):
        found = []
        for weights, keys, values in zip(params["layers"], cache.keys, cache.values, strict=True):
            array, one = _layer(config, weights, array, (keys, values, cache.valid))
            found.append(one)
        new = (tuple(key for key, _ in found), tuple(value for _, value in found))
    else:

        def body(array: jax.Array, xs: Any) -> tuple[jax.Array, Any]:
            return _layer(config, _arranged(xs[0], dtype), array, (*xs[1:], cache.valid))

        array, new = jax.lax.scan(body, array, (params["layers"], cache.keys, cache.values))

    def write(old: jax.Array, one: jax.Array) -> jax.Array:
        names = ("layers", *CACHE)[-old.ndim :]
        return constrain(
            jax.lax.dynamic_update_slice_in_dim(old, one[..., None, :], cache.slot, old.ndim - 2), names
        )

    keys, values = (
        jax.tree.map(write, old, one) for old, one in zip((cache.keys, cache.values), new, strict=True)
    )
    valid = jax.lax.dynamic_update_slice_in_dim(cache.valid, alive[:, None], cache.slot, axis=1)
    slots = cache.valid.shape[1]
    if config.pre_norm:
        array = _norm(array, params["final_norm"])
    if config.embed_dim != config.hidden:
        kernel = params["project_out"]["kernel"].astype(dtype)
        array = constrain(jnp.einsum("he,hb->eb", kernel, constrain(array, SHARDED_WIDTH)), REPLICATED_WIDTH)
    lost = jax.lax.dynamic_slice_in_dim(cache.valid, cache.slot, 1, axis=1)[:, 0] & alive
    array = jnp.where(lost, jnp.nan, array)
    return _logits(config, params, array), RingCache(keys, values, valid, (cache.slot + 1) % slots)


def _logits(config: OptConfig, params: opt.Params, array: jax.Array) -> jax.Array:
    """[embed_dim, batch] -> float32 [vocab_rows, batch]; padded rows are ``MASKED`` and never win."""
    table = params["token_embedding"]["embedding"].astype(array.dtype)
    scores = jnp.einsum(
        "ve,eb->vb", table, constrain(array, SHARDED_WIDTH), preferred_element_type=jnp.float32
    )
    scores = constrain(scores, ("activation_vocab", "decode_batch"))
    return mask_padded_vocab(config, scores, axis=0)


def _embed(config: OptConfig, params: opt.Params, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    """[hidden, batch]; an id outside its table gives NaN."""
    dtype = jnp.dtype(config.compute_dtype)

    def look_up(name: str, ids: jax.Array) -> jax.Array:
        return jnp.take(params[name]["embedding"], ids, axis=0, mode="fill").astype(dtype).T

    array = look_up("token_embedding", tokens)
    if config.embed_dim != config.hidden:
        array = jnp.einsum("eh,eb->hb", params["project_in"]["kernel"].astype(dtype), array)
    return constrain(array + look_up("position_embedding", positions + POSITION_OFFSET), REPLICATED_WIDTH)


def _norm(array: jax.Array, weights: Any) -> jax.Array:
    """LayerNorm over the first axis, in float32."""
    wide = array.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=0, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=0, keepdims=True) + LAYER_NORM_EPSILON)
    return (centred * inverse * weights["scale"][:, None] + weights["bias"][:, None]).astype(array.dtype)


def _layer(
    config: OptConfig, weights: Any, array: jax.Array, cache: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """[hidden, batch] -> the same, and this token's key and value [batch, heads, head_dim].

    ``cache`` holds the layer's keys and values in the cache, and which of its slots are valid.
    """
    norm = config.pre_norm
    normed = constrain(_norm(array, weights["attention_norm"]) if norm else array, SHARDED_WIDTH)
    kernel, bias = weights["qkv"]
    three = _product(kernel, normed, 1) + bias
    three = constrain(three, ("qkv", "activation_heads", "activation_head_dim", "decode_batch"))
    query, key, value = (jnp.moveaxis(part, -1, 0) for part in (three[0], three[1], three[2]))
    names = ("batch", "activation_heads", "activation_head_dim")
    query, key, value = (constrain(part, names) for part in (query * config.head_dim**-0.5, key, value))
    mixed = _attend((query, key, value), cache)
    mixed = constrain(jnp.moveaxis(mixed, 0, -1), ("activation_heads", "activation_head_dim", "decode_batch"))
    kernel, bias = weights["out"]
    array = constrain(array + _product(kernel, mixed, 2) + bias, REPLICATED_WIDTH)
    array = array if norm else _norm(array, weights["attention_norm"])
    normed = constrain(_norm(array, weights["mlp_norm"]) if norm else array, SHARDED_WIDTH)
    kernel, bias = weights["up"]
    wide = constrain(jnp.maximum(_product(kernel, normed, 1) + bias, 0), ("activation_mlp", "decode_batch"))
    kernel, bias = weights["down"]
    array = constrain(array + _product(kernel, wide, 1) + bias, REPLICATED_WIDTH)
    return (array if norm else _norm(array, weights["mlp_norm"])), (key, value)


def _product(kernel: jax.Array, array: jax.Array, contracted: int) -> jax.Array:
    """[*out, *in] x [*in, batch] -> [*out, batch]."""
    return jnp.tensordot(kernel, array, axes=contracted)


def _attend(
    token: tuple[jax.Array, jax.Array, jax.Array], cache: tuple[jax.Array, jax.Array, jax.Array]
) -> jax.Array:
    """Softmax attention [batch, heads, head_dim] over the cache and the token itself, float32 inside."""
    (query, key, value), (keys, values, valid) = token, cache
    scores = jnp.einsum("bhsd,bhd->bhs", keys, query, preferred_element_type=jnp.float32)
    scores = jnp.where(valid[:, None], scores, MASKED)
    own = jnp.einsum("bhd,bhd->bh", query, key, preferred_element_type=jnp.float32)[..., None]
    highest = jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), own)
    weights, own = jnp.exp(scores - highest), jnp.exp(own - highest)
    mixed = jnp.einsum(
        "bhs,bhsd->bhd", weights.astype(values.dtype), values, preferred_element_type=jnp.float32
    )
    mixed = mixed + own * value
    return (mixed / (jnp.sum(weights, axis=-1, keepdims=True) + own)).astype(values.dtype)
