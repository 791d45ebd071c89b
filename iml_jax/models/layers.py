"""OPT's modules in Flax NNX. Each weight carries its logical axis names as ``axes`` metadata.

The modules only say what a layer is; ``models/opt.py`` stacks, scans and wraps them as pure functions.
Source: OPT paper section 2; results agree with transformers' ``modeling_opt.py``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from iml_jax.models.attention import AttentionMask, attend
from iml_jax.models.embedding import look_up
from iml_jax.models.sharded_matmul import product
from iml_jax.models.sizes import LAYER_NORM_EPSILON, POSITION_OFFSET, OptConfig
from iml_jax.parallel.rules import constrain, sequence_axis

INIT_STDDEV = 0.006  # OPT paper, section 2.2
MLP_HIDDEN = "mlp_hidden"  # checkpoint names of what is expensive to recompute
POST_ATTENTION_RESIDUAL = "post_attention_residual"
Keys = dict[tuple[str, ...], jax.Array]  # by the path of the module in the parameters
# Which key draws a module's weight: children of the model's key, None for the number of the layer. Child i of
# a key is ``jax.random.split(key, n)[i]``, which for JAX's Threefry keys is ``jax.random.fold_in(key, i)``.
KEYS: dict[tuple[str, ...], tuple[int | None, ...]] = {
    ("token_embedding",): (0,),
    ("position_embedding",): (1,),
    ("layers", "attention", "query"): (2, None, 0, 0),
    ("layers", "attention", "key"): (2, None, 0, 1),
    ("layers", "attention", "value"): (2, None, 0, 2),
    ("layers", "attention", "output"): (2, None, 0, 3),
    ("layers", "mlp", "up"): (2, None, 1, 0),
    ("layers", "mlp", "down"): (2, None, 1, 1),
    ("project_in",): (3,),
    ("project_out",): (4,),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerCache:
    """Keys and values of earlier slots of one layer, and the slot that is written next.

    Attributes:
      key, value: [batch, length, heads, head_dim] in the compute dtype.
      index: int32 scalar.
    """

    key: jax.Array
    value: jax.Array
    index: jax.Array


class Start(NamedTuple):
    """How a weight begins: drawn from N(mean, stddev), or ``mean`` everywhere where ``stddev`` is 0."""

    mean: float
    stddev: float


def normal(key: jax.Array, shape: tuple[int, ...], stddev: float) -> jax.Array:
    """float32 ``shape``, drawn from N(0, stddev)."""
    return stddev * jax.random.normal(key, shape, jnp.float32)


def weight_keys(config: OptConfig, key: jax.Array) -> Keys:
    """The key of each drawn weight (``KEYS``); those of the layers' weights have a leading axis [L]."""

    def descend(key: jax.Array, children: Iterable[int]) -> jax.Array:
        return functools.reduce(jax.random.fold_in, children, key)

    def find(children: tuple[int | None, ...]) -> jax.Array:
        at = children.index(None) if None in children else len(children)
        found = descend(key, (child for child in children[:at] if child is not None))
        inside = [child for child in children[at + 1 :] if child is not None]
        if at == len(children):
            return found
        numbers = jnp.arange(config.layers)
        return jax.vmap(lambda layer: descend(jax.random.fold_in(found, layer), inside))(numbers)

    return {path: find(children) for path, children in KEYS.items()}


def _drawn(key: jax.Array, shape: tuple[int, ...], axes: tuple[str, ...], stddev: float) -> nnx.Param:
    return nnx.Param(normal(key, shape, stddev), axes=axes, start=Start(0.0, stddev))


def _constant(value: float, shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
    return nnx.Param(jnp.full(shape, value, jnp.float32), axes=axes, start=Start(value, 0.0))


def drop(array: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout; the identity without a key or at rate 0."""
    if key is None or rate == 0.0:
        return array
    keep = jax.random.bernoulli(key, 1.0 - rate, array.shape)
    return jnp.where(keep, array / (1.0 - rate), jnp.zeros((), array.dtype))


def residual(array: jax.Array) -> jax.Array:
    """The residual stream [batch, t, width] between blocks: positions sharded over ``tensor``."""
    return constrain(array, ("batch", sequence_axis(array.shape[1]), "residual"))


def whole_rows(array: jax.Array) -> jax.Array:
    """[batch, t, width] with all positions on every device of ``tensor``, as matrix products want it."""
    return constrain(array, ("batch", "length", "residual"))


class Embedding(nnx.Module):
    """Rows looked up by id; ids outside the table give NaN rather than some other row."""

    def __init__(self, rows: int, width: int, axes: tuple[str, str], key: jax.Array):
        self.axes = axes
        self.embedding = _drawn(key, (rows, width), axes, INIT_STDDEV)

    def __call__(self, ids: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """int32 [batch, t] -> [batch, t, width] in ``dtype``."""
        return look_up(self.embedding[...], ids, self.axes, dtype)


def _statistics(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and 1 / standard deviation over the last axis, kept as an axis of 1, in float32."""
    wide = array.astype(jnp.float32)
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=-1, keepdims=True)
    return mean, jax.lax.rsqrt(variance + LAYER_NORM_EPSILON)


# Both with gradients of their own, so that nothing but their input or output is kept for the backward pass:
# on a CPU fresh memory costs more than the arithmetic that it would save.
@jax.custom_vjp
def _normalise(array: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean, inverse = _statistics(array)
    return ((array.astype(jnp.float32) - mean) * inverse * scale + bias).astype(array.dtype)


def _normalise_forward(array: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, Any]:
    mean, inverse = _statistics(array)
    normal = (array.astype(jnp.float32) - mean) * inverse
    return (normal * scale + bias).astype(array.dtype), (array, scale, mean, inverse)


def _normalise_backward(residuals: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    array, scale, mean, inverse = residuals
    wide = gradient.astype(jnp.float32)
    normal = (array.astype(jnp.float32) - mean) * inverse
    rows = tuple(range(array.ndim - 1))
    scaled = wide * scale
    inner = jnp.mean(scaled * normal, axis=-1, keepdims=True)
    grad_array = inverse * (scaled - jnp.mean(scaled, axis=-1, keepdims=True) - normal * inner)
    return grad_array.astype(array.dtype), jnp.sum(wide * normal, axis=rows), jnp.sum(wide, axis=rows)


_normalise.defvjp(_normalise_forward, _normalise_backward)


@jax.custom_vjp
def relu(array: jax.Array) -> jax.Array:
    """max(array, 0); its gradient is computed from the output."""
    return jnp.maximum(array, 0)


def _relu_forward(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    output = checkpoint_name(jnp.maximum(array, 0), MLP_HIDDEN)
    return output, output


relu.defvjp(_relu_forward, lambda output, gradient: (jnp.where(output > 0, gradient, 0),))


@jax.custom_vjp
def add_bias(array: jax.Array, bias: jax.Array) -> jax.Array:
    """``array`` [..., *shape] plus a float32 bias [*shape], in the dtype of ``array``.

    The bias's gradient is a sum over all positions of the batch, taken in float32. JAX would take it in the
    dtype of ``array``, and a sum of thousands in bfloat16 loses what each adds.
    """
    return array + bias.astype(array.dtype)


def _add_bias_backward(rank: int, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = tuple(range(gradient.ndim - rank))
    return gradient, jnp.sum(gradient, axis=rows, dtype=jnp.float32)


add_bias.defvjp(lambda array, bias: (add_bias(array, bias), bias.ndim), _add_bias_backward)


class LayerNorm(nnx.Module):
    """Normalises the last axis in float32 and returns the compute dtype."""

    def __init__(self, width: int):
        self.scale = _constant(1.0, (width,), ("norm",))
        self.bias = _constant(0.0, (width,), ("norm",))

    def __call__(self, array: jax.Array) -> jax.Array:
        """Same shape and dtype as ``array``."""
        return _normalise(array, self.scale[...], self.bias[...])


class Dense(nnx.Module):
    """A matrix product over the last ``contracted`` axes, plus a bias unless ``bias_axes`` is None."""

    def __init__(
        self,
        shape: tuple[int, ...],
        axes: tuple[str, ...],
        key: jax.Array,
        *,
        contracted: int = 1,
        stddev: float = INIT_STDDEV,
        bias_axes: tuple[str, ...] | None = None,
        reduce_dtype: str = "",
    ):
        self.contracted, self.axes, self.reduce_dtype = contracted, axes, reduce_dtype
        self.kernel = _drawn(key, shape, axes, stddev)
        if bias_axes is not None:
            self.bias = _constant(0.0, shape[contracted:], bias_axes)

    def __call__(self, array: jax.Array) -> jax.Array:
        """[..., *contracted] -> [..., *rest] in the dtype of ``array``."""
        kernel = self.kernel[...].astype(array.dtype)
        result = product(array, kernel, self.axes, self.contracted, self.reduce_dtype)
        return add_bias(result, self.bias[...]) if hasattr(self, "bias") else result


class Attention(nnx.Module):
    """Multi-head self-attention; the query is scaled after its projection, bias included."""

    def __init__(self, config: OptConfig, keys: Keys):
        self.config = config
        shape = (config.hidden, config.heads, config.head_dim)
        axes = ("embed", "heads", "head_dim")
        reduce = config.reduced_in
        self.query = Dense(shape, axes, keys["attention", "query"], bias_axes=axes[1:], reduce_dtype=reduce)
        self.key = Dense(shape, axes, keys["attention", "key"], bias_axes=axes[1:], reduce_dtype=reduce)
        self.value = Dense(shape, axes, keys["attention", "value"], bias_axes=axes[1:], reduce_dtype=reduce)
        self.output = Dense(
            (config.heads, config.head_dim, config.hidden),
            ("heads", "head_dim", "embed"),
            keys["attention", "output"],
            contracted=2,
            stddev=INIT_STDDEV / math.sqrt(2 * config.layers),
            bias_axes=("norm",),
            reduce_dtype=reduce,
        )

    def __call__(
        self, array: jax.Array, attention_mask: AttentionMask, key: jax.Array | None, cache: LayerCache | None
    ) -> tuple[jax.Array, LayerCache | None]:
        """[batch, t, hidden] -> the same, and the cache with these t slots written when one is given."""
        names = ("batch", "length", "activation_heads", "activation_head_dim")
        array = whole_rows(array)
        query = constrain(self.query(array) * self.config.head_dim**-0.5, names)
        keys = constrain(self.key(array), names)
        values = constrain(self.value(array), names)
        if cache is not None:
            keys = jax.lax.dynamic_update_slice_in_dim(cache.key, keys, cache.index, axis=1)
            values = jax.lax.dynamic_update_slice_in_dim(cache.value, values, cache.index, axis=1)
            cache = LayerCache(keys, values, cache.index + array.shape[1])
        mixed = attend(
            query,
            keys,
            values,
            attention_mask,
            kernel=self.config.attention,
            dropout=self.config.attention_dropout,
            dropout_key=key,
        )
        return residual(self.output(constrain(mixed, names))), cache


class Mlp(nnx.Module):
    """hidden -> ffn -> ReLU -> hidden."""

    def __init__(self, config: OptConfig, keys: Keys):
        hidden, ffn = config.hidden, config.ffn
        reduce = config.reduced_in
        self.up = Dense(
            (hidden, ffn), ("embed", "mlp"), keys["mlp", "up"], bias_axes=("mlp",), reduce_dtype=reduce
        )
        stddev = INIT_STDDEV / math.sqrt(2 * config.layers)
        self.down = Dense(
            (ffn, hidden),
            ("mlp", "embed"),
            keys["mlp", "down"],
            stddev=stddev,
            bias_axes=("norm",),
            reduce_dtype=reduce,
        )

    def __call__(self, array: jax.Array) -> jax.Array:
        """[batch, t, hidden] -> the same."""
        wide = constrain(relu(self.up(whole_rows(array))), ("batch", "length", "activation_mlp"))
        return residual(self.down(wide))


class DecoderLayer(nnx.Module):
    """Attention and MLP, each with its residual; LayerNorm before them, or after the add in OPT-350M."""

    def __init__(self, config: OptConfig, keys: Keys):
        self.config = config
        self.attention_norm = LayerNorm(config.hidden)
        self.attention = Attention(config, keys)
        self.mlp_norm = LayerNorm(config.hidden)
        self.mlp = Mlp(config, keys)

    def __call__(
        self,
        array: jax.Array,
        attention_mask: AttentionMask,
        key: jax.Array | None,
        cache: LayerCache | None = None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """[batch, t, hidden] -> the same; ``key`` is this layer's dropout key at this step."""
        pre_norm, rate = self.config.pre_norm, self.config.dropout
        inside, first, second = (None,) * 3 if key is None else jax.random.split(key, 3)
        mixed = self.attention_norm(array) if pre_norm else array
        mixed, cache = self.attention(mixed, attention_mask, inside, cache)
        array = checkpoint_name(array + drop(mixed, rate, first), POST_ATTENTION_RESIDUAL)
        array = array if pre_norm else self.attention_norm(array)
        wide = self.mlp(self.mlp_norm(array) if pre_norm else array)
        array = array + drop(wide, rate, second)
        return (array if pre_norm else self.mlp_norm(array)), cache


class Opt(nnx.Module):
    """All weights of an OPT; its layers are one DecoderLayer whose weights have a leading layer axis."""

    def __init__(self, config: OptConfig, key: jax.Array):
        keys = weight_keys(config, key)
        self.config = config
        tokens = keys["token_embedding",]
        self.token_embedding = Embedding(config.vocab_rows, config.embed_dim, ("vocab", "embed"), tokens)
        rows = config.max_positions + POSITION_OFFSET
        places = keys["position_embedding",]
        self.position_embedding = Embedding(rows, config.hidden, ("position", "embed"), places)
        inside = {path[1:]: found for path, found in keys.items() if path[0] == "layers"}
        self.layers = nnx.vmap(DecoderLayer, in_axes=(None, 0))(config, inside)
        if config.embed_dim != config.hidden:
            shape, axes = (config.embed_dim, config.hidden), ("projected", "embed")
            reduce = config.reduced_in
            self.project_in = Dense(shape, axes, keys["project_in",], reduce_dtype=reduce)
            self.project_out = Dense(shape[::-1], axes[::-1], keys["project_out",], reduce_dtype=reduce)
        if config.pre_norm:
            self.final_norm = LayerNorm(config.hidden)

    def embed(self, inputs: jax.Array, positions: jax.Array, key: jax.Array | None) -> jax.Array:
        """int32 [batch, t] ids and positions -> [batch, t, hidden] in the compute dtype."""
        dtype = jnp.dtype(self.config.compute_dtype)
        tokens = self.token_embedding(inputs, dtype)
        if self.config.embed_dim != self.config.hidden:
            tokens = self.project_in(tokens)
        rows = jnp.where(
            positions < 0, -1, positions + POSITION_OFFSET
        )  # the rows before 0 are no position's
        places = self.position_embedding(rows, dtype)
        return residual(drop(tokens + places, self.config.embedding_dropout, key))

    def finish(self, array: jax.Array) -> jax.Array:
        """[batch, t, hidden] after the last layer -> [batch, t, embed_dim], for the table."""
        if self.config.pre_norm:
            array = self.final_norm(array)
        if self.config.embed_dim != self.config.hidden:
            array = self.project_out(array)
        return whole_rows(array)
