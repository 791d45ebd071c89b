"""Cross-entropy against the tied vocabulary table, without ever holding the logits of the whole batch.

Rows are split along their length into blocks. In training the gradient of a block is made right after its
logits, in the forward pass, so the vocabulary costs three matrix products per block and not four.
With e = exp(logits - max), s = sum(e), weight w and one-hot target y, the loss w (log s + max - logit_y) has
the gradients

  d hidden = (w / s) ((e - s y) @ table)        d table = (e - s y)^T @ ((w / s) hidden)

so the softmax is never normalised over [tokens, vocab], and y is one number added in each of its rows.
Positions with weight 0 are moved behind the others and blocks of nothing else are skipped: in instruction
tuning most tokens are source, and their vocabulary products would be multiplied by zero.

On a mesh each device does this for its rows and its part of the vocabulary: devices exchange the
highest score and the sum of each token, and once per step the gradients.

Where a device's part of the vocabulary, gathered over ``fsdp``, has more than ``LARGEST_PART`` elements
(OPT-30B and larger without ``tensor``), it is gathered and its gradient is made and scattered part by part:
once for the sums of all tokens, once more for the gradients. That is four matrix products per block again,
and a fraction of the memory: 2.3 GiB of float32 gradient and 1.15 GiB of table for OPT-175B, each held twice.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from iml_jax.models.masking import MASKED, mask_padded_vocab
from iml_jax.models.opt import Params
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import AXES, DATA, FSDP, TENSOR
from iml_jax.parallel.rules import (
    is_names,
    on_one_device,
    partition_spec,
    platform,
    sequence_axis,
)
from iml_jax.parallel.staged_collectives import gather_width, scatter_width

# Tokens of one block on one device. Fewer save memory (block x vocab_rows floats); more save passes over the
# table's gradient.
BLOCK_TOKENS = 1024
# Elements of the table's gradient that a device of a mesh holds at once: more of them are made part by part.
LARGEST_PART = 2**28
LANES = 128  # a TPU pads the last dimension to a multiple of it: a part's rows are a multiple too

_TABLE, _STATES, _ROWS = ("vocab", "embed"), ("batch", "length", "residual"), ("batch", "length")


def _cut(array: jax.Array, blocks: int, size: int) -> jax.Array:
    """[batch, t, ...] -> [blocks, batch, size, ...], zeros added at the end of each row."""
    batch, length = array.shape[:2]
    padding = [(0, 0), (0, blocks * size - length)] + [(0, 0)] * (array.ndim - 2)
    return jnp.moveaxis(jnp.pad(array, padding).reshape(batch, blocks, size, *array.shape[2:]), 1, 0)


def _join(array: jax.Array, length: int) -> jax.Array:
    """The inverse of ``_cut``."""
    blocks, batch, size = array.shape[:3]
    return jnp.moveaxis(array, 0, 1).reshape(batch, blocks * size, *array.shape[3:])[:, :length]


def _block_shape(batch: int, length: int) -> tuple[int, int]:
    """(number of blocks, positions per block), each of about BLOCK_TOKENS tokens."""
    blocks = math.ceil(batch * length / BLOCK_TOKENS)
    size = math.ceil(length / min(blocks, length))
    return math.ceil(length / size), size


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a device stands among those that share its rows, each with its own part of the vocabulary."""

    alone: bool

    def gathered(self, table: jax.Array, dtype: Any) -> jax.Array:
        """This device's table rows, replicated over ``fsdp``, cast to the compute dtype: [width, rows].

        Transposed, so that what devices gather lies one after the other: TPUs else copy the whole of it.
        """
        cast_table = table.astype(dtype).T
        return cast_table if self.alone else gather_width(cast_table, 0)

    def first_row(self, rows: int) -> jax.Array | int:
        return 0 if self.alone else jax.lax.axis_index(TENSOR) * rows

    def sum(self, array: jax.Array) -> jax.Array:
        """Added up over the parts of the vocabulary."""
        return array if self.alone else jax.lax.psum(array, TENSOR)

    def highest(self, array: jax.Array) -> jax.Array:
        """The highest over the parts of the vocabulary."""
        return array if self.alone else jax.lax.pmax(array, TENSOR)

    def anywhere(self, flags: jax.Array) -> jax.Array:
        """Whether it is so on any device: all of them must take the same branches."""
        return flags if self.alone else jax.lax.pmax(flags.astype(jnp.int32), AXES) > 0


def parts(rows: int, width: int) -> int:
    """In how many parts a device of a mesh takes ``rows`` of the vocabulary, each ``width`` features wide."""
    return math.ceil(rows * width / LARGEST_PART)


class _BlockLosses(NamedTuple):
    """What a block of tokens gives on this device, which has ``rows`` rows of the vocabulary.

    Losses [batch, size]; unnormalised probabilities [batch, size, rows] of the device's rows; their sums over
    all rows; the targets counted from the device's first row, ``rows`` where they are not among its own.
    """

    losses: jax.Array
    unnormalised: jax.Array
    sums: jax.Array
    own: jax.Array


def _block_losses(
    config: OptConfig, place: _Place, table: jax.Array, hidden: jax.Array, targets: jax.Array
) -> _BlockLosses:
    rows = table.shape[1]
    first = place.first_row(rows)
    scores = jnp.einsum("bte,ev->btv", hidden, table, preferred_element_type=jnp.float32)
    scores = mask_padded_vocab(config, scores, first=first)
    highest = place.highest(jnp.max(scores, axis=-1))
    unnormalised = jnp.exp(scores - highest[..., None])
    sums = place.sum(jnp.sum(unnormalised, axis=-1))
    own = targets - first
    own = jnp.where((own >= 0) & (own < rows), own, rows)
    chosen = _chosen(scores, own)
    chosen = jnp.where((targets >= 0) & (targets < config.vocab_tokens), place.sum(chosen), jnp.nan)
    return _BlockLosses(jnp.log(sums) + highest - chosen, unnormalised, sums, own)


def token_losses(config: OptConfig, params: Params, hidden: jax.Array, targets: jax.Array) -> jax.Array:
    """-log p(target) of every position, in nats.

    Args:
      hidden: [batch, t, embed_dim] as ``models.opt.forward`` gives it.
      targets: int32 [batch, t]; where they mean nothing (padding) so does the loss, but it is finite.

    Returns:
      float32 [batch, t], NaN where the target is no token of the vocabulary. For evaluation; training uses
      ``weighted_loss_sum``.
    """

    def local(place: _Place, table: jax.Array, hidden: jax.Array, targets: jax.Array) -> jax.Array:
        cast_table = place.gathered(table, hidden.dtype)
        blocks, size = _block_shape(*targets.shape)

        def body(_: None, block: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
            return None, _block_losses(config, place, cast_table, *block).losses

        pieces = (_cut(hidden, blocks, size), _cut(targets, blocks, size))
        return _join(jax.lax.scan(body, None, pieces)[1], targets.shape[1])

    table = params["token_embedding"]["embedding"]
    return _on_each_device(local, (_TABLE, _STATES, _ROWS), _ROWS)(table, hidden, targets)


def _on_each_device(
    local: Callable[..., Any], inputs: tuple[tuple[str, ...], ...], outputs: Any
) -> Callable[..., Any]:
    """``local(place, ...)`` over each device's part of the arguments, sharded by these logical names."""
    if on_one_device():
        return functools.partial(local, _Place(alone=True))
    return jax.shard_map(
        functools.partial(local, _Place(alone=False)),
        in_specs=tuple(partition_spec(names) for names in inputs),
        out_specs=jax.tree.map(partition_spec, outputs, is_leaf=is_names),
        check_vma=False,
    )


def _is_chosen(array: jax.Array, targets: jax.Array) -> jax.Array:
    """bool, as [batch, size, rows]: where the target is. XLA fuses it into its use."""
    return jax.lax.broadcasted_iota(jnp.int32, array.shape, array.ndim - 1) == targets[..., None]


def _chosen(scores: jax.Array, targets: jax.Array) -> jax.Array:
    """[batch, size]: the scores at the targets, 0 for one outside."""
    if platform() == "cpu":
        return jnp.take_along_axis(scores, targets[..., None], axis=-1, mode="fill", fill_value=0.0)[..., 0]
    # Reading single elements makes a TPU copy the whole array into another layout, and so does writing them.
    return jnp.sum(jnp.where(_is_chosen(scores, targets), scores, 0.0), axis=-1)


def _add_chosen(array: jax.Array, targets: jax.Array, values: jax.Array) -> jax.Array:
    """[batch, size, rows] with ``values`` added at the targets only."""
    if platform() == "cpu":  # in place, without a pass over the array
        add = jax.vmap(jax.vmap(lambda row, target, value: row.at[target].add(value, mode="drop")))
        return add(array, targets, values)
    return array + jnp.where(_is_chosen(array, targets), values[..., None], 0.0)


def weighted_loss_sum(
    config: OptConfig, params: Params, hidden: jax.Array, targets: jax.Array, weights: jax.Array
) -> jax.Array:
    """Sum over all positions of weight * -log p(target), as a float32 scalar in nats.

    Differentiable in ``params`` (the vocabulary table) and ``hidden``, not in ``weights``. Padded vocabulary
    rows get a gradient of exactly 0 from it, and so does all of it where every weight is 0.

    Args:
      hidden: [batch, t, embed_dim]; targets: int32 [batch, t]; weights: float32 [batch, t].
    """
    table = params["token_embedding"]["embedding"]
    return _loss_sum(config, table, hidden, targets, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss_sum(
    config: OptConfig, table: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array
) -> jax.Array:
    losses = token_losses(config, {"token_embedding": {"embedding": table}}, hidden, targets)
    return jnp.sum(jnp.where(weights != 0, losses * weights, 0.0))


def _loss_sum_forward(
    config: OptConfig, table: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The loss, and its gradients in hidden and table, the residuals of the backward pass."""
    states = ("batch", sequence_axis(targets.shape[1]), "residual")
    function = _on_each_device(
        functools.partial(_local_sum, config), (_TABLE, _STATES, _ROWS, _ROWS), ((), (states, _TABLE))
    )
    return function(table, hidden, targets, weights)


class _Blocks(NamedTuple):
    """A device's tokens in blocks.

    States [blocks, batch, size, width]; targets and weights [blocks, batch, size]; busy [blocks], whether a
    block has a loss token on any device.
    """

    states: jax.Array
    targets: jax.Array
    weights: jax.Array
    busy: jax.Array


def _scattered(place: _Place, transposed: jax.Array) -> jax.Array:
    """A gradient [width, rows] summed over the devices, each its part of the width."""
    if place.alone:
        return transposed
    transposed = scatter_width(transposed, 0)
    return jax.lax.psum(transposed, DATA)


def _whole_gradients(
    config: OptConfig, place: _Place, table: jax.Array, blocks: _Blocks
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(loss sum, the table's gradient [width, rows] scattered, float32 gradients of the states in blocks)."""
    cast_table = place.gathered(table, blocks.states.dtype)

    def work(total: jax.Array, gradient: jax.Array, block: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        states, wanted, weight = block
        found = _block_losses(config, place, cast_table, states, wanted)
        factors = (weight / found.sums)[..., None]
        unnormalised = _add_chosen(found.unnormalised, found.own, -found.sums).astype(states.dtype)
        inner = jnp.einsum("btv,ev->bte", unnormalised, cast_table, preferred_element_type=jnp.float32)
        scaled = (states * factors).astype(states.dtype)
        outer = jnp.einsum("bte,btv->ev", scaled, unnormalised, preferred_element_type=jnp.float32)
        total = total + jnp.sum(jnp.where(weight != 0, found.losses * weight, 0.0))
        return (total, gradient + outer), inner * factors

    def body(carry: tuple[jax.Array, jax.Array], xs: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        def skip(
            total: jax.Array, gradient: jax.Array, block: tuple[jax.Array, ...]
        ) -> tuple[Any, jax.Array]:
            return (total, gradient), jnp.zeros(block[0].shape, jnp.float32)

        block, is_busy = xs
        return jax.lax.cond(is_busy, work, skip, *carry, block)

    # The table's gradient is gathered transposed: that product takes the big array as it lies in memory,
    # where the straight one makes XLA on CPU transpose [tokens, vocab_rows] in every block. It is added up
    # over the devices once, after the last block.
    start = (jnp.zeros((), jnp.float32), jnp.zeros(cast_table.shape, jnp.float32))
    (total, transposed), pieces = jax.lax.scan(body, start, (blocks[:3], blocks.busy))
    return total, _scattered(place, transposed), pieces


def _gradients_by_parts(
    config: OptConfig, place: _Place, table: jax.Array, blocks: _Blocks
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As ``_whole_gradients``, holding one part of the gathered table and of its gradient at a time."""
    height, width = table.shape[0], blocks.states.shape[-1]
    number = parts(height, width)
    size = math.ceil(height / number / LANES) * LANES
    pieces = jnp.pad(table, ((0, number * size - height), (0, 0))).reshape(number, size, table.shape[1])
    first = place.first_row(height)
    own = blocks.targets - first
    own = jnp.where((own >= 0) & (own < height), own, number * size)

    def scores(cast_table: jax.Array, states: jax.Array, index: jax.Array) -> jax.Array:
        found = jnp.einsum("bte,ev->btv", states, cast_table, preferred_element_type=jnp.float32)
        found = mask_padded_vocab(config, found, first=first + index * size)
        return jnp.where(index * size + jnp.arange(size) < height, found, MASKED)

    def within_part(own: jax.Array, index: jax.Array) -> jax.Array:
        own = own - index * size
        return jnp.where((own >= 0) & (own < size), own, size)

    def measure(sofar: tuple[jax.Array, ...], part: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        index, cast_table = part[0], place.gathered(part[1], blocks.states.dtype)

        def work(states: jax.Array, own: jax.Array, *sofar: jax.Array) -> tuple[jax.Array, ...]:
            highest, sums, chosen = sofar
            found = scores(cast_table, states, index)
            higher = jnp.maximum(highest, jnp.max(found, axis=-1))
            sums = sums * jnp.exp(highest - higher) + jnp.sum(jnp.exp(found - higher[..., None]), axis=-1)
            return higher, sums, chosen + _chosen(found, within_part(own, index))

        def block(_: None, given: tuple[Any, ...]) -> tuple[None, Any]:
            return None, jax.lax.cond(given[0], work, lambda *rest: rest[2:], *given[1:])

        return jax.lax.scan(block, None, (blocks.busy, blocks.states, own, *sofar))[1], None

    numbers, shape = jnp.arange(number), blocks.targets.shape
    start = (
        jnp.full(shape, MASKED, jnp.float32),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros(shape, jnp.float32),
    )
    (highest, sums, chosen), _ = jax.lax.scan(measure, start, (numbers, pieces))
    top = place.highest(highest)
    sums, chosen = place.sum(sums * jnp.exp(highest - top)), place.sum(chosen)
    is_token = (blocks.targets >= 0) & (blocks.targets < config.vocab_tokens)
    losses = jnp.log(sums) + top - jnp.where(is_token, chosen, jnp.nan)
    total = jnp.sum(jnp.where(blocks.weights != 0, losses * blocks.weights, 0.0))
    factors = jnp.where(blocks.weights != 0, blocks.weights / sums, 0.0)[..., None]

    def derive(grad_states: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        index, cast_table = part[0], place.gathered(part[1], blocks.states.dtype)

        def work(
            gradient: jax.Array, grad_states: jax.Array, *given: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            states, own, top, sums, factors = given
            unnormalised = jnp.exp(scores(cast_table, states, index) - top[..., None])
            unnormalised = _add_chosen(unnormalised, within_part(own, index), -sums).astype(states.dtype)
            inner = jnp.einsum("btv,ev->bte", unnormalised, cast_table, preferred_element_type=jnp.float32)
            scaled = (states * factors).astype(states.dtype)
            outer = jnp.einsum("bte,btv->ev", scaled, unnormalised, preferred_element_type=jnp.float32)
            return gradient + outer, grad_states + inner * factors

        def block(gradient: jax.Array, given: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
            return jax.lax.cond(given[0], work, lambda *rest: rest[:2], gradient, *given[1:])

        given = (blocks.busy, grad_states, blocks.states, own, top, sums, factors)
        gradient, grad_states = jax.lax.scan(block, jnp.zeros(cast_table.shape, jnp.float32), given)
        return grad_states, _scattered(place, gradient)

    grad_states, found = jax.lax.scan(derive, jnp.zeros(blocks.states.shape, jnp.float32), (numbers, pieces))
    transposed = jnp.moveaxis(found, 0, 1).reshape(found.shape[1], number * size)[:, :height]
    return total, transposed, grad_states


def _local_sum(
    config: OptConfig, place: _Place, table: jax.Array, hidden: jax.Array, *rows: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """``_loss_sum_forward`` over this device's rows (targets, weights) and part of the vocabulary."""
    targets, weights = rows
    length = targets.shape[1]
    order = jnp.argsort(weights == 0, axis=1, stable=True)
    blocks, size = _block_shape(*targets.shape)
    moved = [
        _cut(jnp.take_along_axis(a, order.reshape(order.shape + (1,) * (a.ndim - 2)), axis=1), blocks, size)
        for a in (hidden, targets, weights)
    ]
    busy = place.anywhere(jnp.any(moved[2] != 0, axis=(1, 2)))
    whole = place.alone or parts(table.shape[0], hidden.shape[-1]) <= 1
    make = _whole_gradients if whole else _gradients_by_parts
    total, transposed, pieces = make(config, place, table, _Blocks(moved[0], moved[1], moved[2], busy))
    grad_hidden = jnp.take_along_axis(_join(pieces, length), jnp.argsort(order, axis=1)[..., None], axis=1)
    if not place.alone:
        total = jax.lax.psum(total, (DATA, FSDP))
        if sequence_axis(length) == "length":
            grad_hidden = place.sum(grad_hidden)
        else:
            grad_hidden = jax.lax.psum_scatter(grad_hidden, TENSOR, scatter_dimension=1, tiled=True)
        # Else XLA scatters the table's gradient only for the optimizer, and keeps the whole until then.
        grad_hidden, transposed = jax.lax.optimization_barrier((grad_hidden, transposed))
    return total, (grad_hidden.astype(hidden.dtype), transposed.T)


def _loss_sum_backward(
    config: OptConfig, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    grad_hidden, grad_table = residuals
    return grad_table * cotangent, grad_hidden * cotangent.astype(grad_hidden.dtype), None, None


_loss_sum.defvjp(_loss_sum_forward, _loss_sum_backward)
