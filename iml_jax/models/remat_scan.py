"""All layers in a loop, each recomputed in the backward pass, gradients written over the weights.

``jax.checkpoint`` inside ``lax.scan`` does the same work, but holds all weights in the compute dtype beside
the gradients of all layers. Here the backward loop carries one array per weight: layer by layer, from the
last to the first, the weight is read for the last time and its gradient is written over it. With
``Model.remat = "offload"`` what enters each layer waits in the host's memory in between.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from iml_jax.models.attention import within_rows
from iml_jax.models.layers import DecoderLayer
from iml_jax.models.sizes import OptConfig

Rows = tuple[jax.Array | None, jax.Array, jax.Array | None]


def _layer(
    graph: nnx.GraphDef, array: jax.Array, weights: Any, key: jax.Array | None, rows: Rows
) -> jax.Array:
    layer: DecoderLayer = nnx.merge(graph, weights)
    return layer(array, within_rows(rows[1], rows[2]), key)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(config: OptConfig, graph: nnx.GraphDef, array: jax.Array, weights: Any, rows: Rows) -> jax.Array:
    """The residual stream through all layers; only what enters each of them is kept for the gradient.

    Args:
      graph: the structure of one layer.
      array: [batch, t, hidden].
      weights: one layer's weights, stacked on a leading axis of ``config.layers``.
      rows: each layer's dropout key [layers] or None; segment_ids and option_ids as ``opt.forward`` has them.

    Returns:
      [batch, t, hidden]. Gradients come in the dtypes of ``array`` and ``weights``.
    """

    def body(array: jax.Array, xs: tuple[Any, jax.Array | None]) -> tuple[jax.Array, None]:
        return _layer(graph, array, *xs, rows), None

    return jax.lax.scan(body, array, (weights, rows[0]), length=config.layers)[0]


def _forward(
    config: OptConfig, graph: nnx.GraphDef, array: jax.Array, weights: Any, rows: Rows
) -> tuple[jax.Array, tuple[jax.Array, Any, Rows]]:
    away = jax.memory.Space.Host if config.remat == "offload" else jax.memory.Space.Device

    def body(array: jax.Array, xs: tuple[Any, jax.Array | None]) -> tuple[jax.Array, jax.Array]:
        return _layer(graph, array, *xs, rows), jax.device_put(array, away)

    array, entered = jax.lax.scan(body, array, (weights, rows[0]), length=config.layers)
    return array, (entered, weights, rows)


def _backward(
    config: OptConfig, graph: nnx.GraphDef, residuals: tuple[jax.Array, Any, Rows], gradient: jax.Array
) -> tuple[jax.Array, Any, None]:
    entered, weights, rows = residuals

    def body(carry: tuple[jax.Array, Any, jax.Array], xs: tuple[jax.Array, Any]) -> tuple[Any, None]:
        gradient, stacked, index = carry
        array, key = xs
        array = jax.device_put(array, jax.memory.Space.Device)
        layer = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, index, keepdims=False), stacked)
        pull = jax.vjp(lambda array, weights: _layer(graph, array, weights, key, rows), array, layer)[1]
        gradient, grad_weights = pull(gradient)
        stacked = jax.tree.map(
            lambda all_layers, one: jax.lax.dynamic_update_index_in_dim(all_layers, one, index, 0),
            stacked,
            grad_weights,
        )
        return (gradient, stacked, index - 1), None

    start = (gradient, weights, jnp.asarray(config.layers - 1))
    (gradient, grad_weights, _), _ = jax.lax.scan(body, start, (entered, rows[0]), reverse=True)
    return gradient, grad_weights, None


run.defvjp(_forward, _backward)
