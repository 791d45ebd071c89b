"""OPT as pure functions over (config, params).

``params`` is a nested dict of float32 arrays, the weights of the layers stacked on a leading axis whether
they are scanned or unrolled:

  token_embedding/embedding [vocab_rows, embed_dim]
  position_embedding/embedding [max_positions+2, hidden]
  layers/attention_norm, layers/mlp_norm {scale, bias} [L, hidden]
  layers/attention/{query, key, value} {kernel [L, hidden, heads, head_dim], bias [L, heads, head_dim]}
  layers/attention/output {kernel [L, heads, head_dim, hidden], bias [L, hidden]}
  layers/mlp/up {kernel [L, hidden, ffn], bias [L, ffn]}   layers/mlp/down {kernel [L, ffn, hidden], bias}
  final_norm {scale, bias} [hidden]                        (pre-norm only)
  project_in/kernel [embed_dim, hidden], project_out/kernel [hidden, embed_dim]     (OPT-350M only)

Every function that computes activations needs a mesh: ``with jax.set_mesh(mesh)`` or ``single_device()``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from iml_jax.models import remat_scan
from iml_jax.models.attention import AttentionMask, within_rows
from iml_jax.models.blocked_attention import ATTENTION
from iml_jax.models.layers import MLP_HIDDEN, POST_ATTENTION_RESIDUAL, DecoderLayer, Opt
from iml_jax.models.masking import mask_padded_vocab
from iml_jax.models.sharded_matmul import GATHERED
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.rules import shard_count

Params = dict[str, Any]

REMAT = {
    "none": jax.checkpoint_policies.save_anything_except_these_names(GATHERED),
    "selective": jax.checkpoint_policies.save_only_these_names(
        ATTENTION, POST_ATTENTION_RESIDUAL, MLP_HIDDEN
    ),
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
    "offload": jax.checkpoint_policies.nothing_saveable,
}


@functools.lru_cache(maxsize=32)
def _skeleton(config: OptConfig) -> tuple[nnx.GraphDef, Any]:
    """The structure of the model and its Params (shapes and axis names), without any array."""
    return nnx.split(nnx.eval_shape(lambda: Opt(config.validate(), jax.random.key(0))))


def bind(config: OptConfig, params: Params) -> Opt:
    """The modules with these weights in them."""
    return nnx.merge(_skeleton(config)[0], params)


def init_params(config: OptConfig, key: jax.Array) -> Params:
    """Fresh float32 weights: N(0, 0.006), output matrices divided by sqrt(2L), zero biases (OPT paper 2.2).

    The same key gives the same weights on any mesh.
    """
    return nnx.to_pure_dict(nnx.state(Opt(config.validate(), key)))


def abstract_params(config: OptConfig) -> Params:
    """The tree of ``init_params`` as ``jax.ShapeDtypeStruct``s."""
    return nnx.to_pure_dict(_skeleton(config)[1])


def logical_axes(config: OptConfig) -> Params:
    """The tree of ``init_params`` with a tuple of logical axis names for each weight."""

    def names(path: tuple[Any, ...], variable: nnx.Variable) -> tuple[str, ...]:
        axes = variable.get_metadata()["axes"]
        return ("layers", *axes) if path[0] == "layers" else axes

    return _described(config, names)


def starts(config: OptConfig) -> Params:
    """The tree of ``init_params`` with a ``layers.Start`` for each weight."""
    return _described(config, lambda _, variable: variable.get_metadata()["start"])


def _described(config: OptConfig, describe: Callable[[tuple[Any, ...], nnx.Variable], Any]) -> Params:
    flat = nnx.to_flat_state(_skeleton(config)[1])
    return nnx.traversals.unflatten_mapping({path: describe(path, variable) for path, variable in flat})


def _layer_function(
    config: OptConfig, graph: nnx.GraphDef, attention_mask: AttentionMask
) -> Callable[..., jax.Array]:
    """(activations, one layer's weights, its dropout key or None) -> activations, under the remat policy."""

    def apply(array: jax.Array, weights: Any, key: jax.Array | None) -> jax.Array:
        layer: DecoderLayer = nnx.merge(graph, weights)
        return layer(array, attention_mask, key)[0]

    policy = REMAT[config.remat]
    if config.remat == "none" and shard_count("embed") == 1:
        return apply
    # Inside a scan XLA cannot merge the recomputation with the forward pass, so no barrier is needed.
    return jax.checkpoint(apply, policy=policy, prevent_cse=not config.scan_layers)


def _unstack(weights: Any, layers: int) -> list[Any]:
    """One tree a layer. ``split``'s transpose is one concatenation; that of indexing is a sum of L pads."""
    pieces = jax.tree.map(lambda a: [p[0] for p in jax.lax.split(a, (1,) * layers, axis=0)], weights)
    return [jax.tree.map(lambda _, p, i=i: p[i], weights, pieces) for i in range(layers)]


def forward(
    config: OptConfig,
    params: Params,
    inputs: jax.Array,
    positions: jax.Array,
    segment_ids: jax.Array,
    *,
    option_ids: jax.Array | None = None,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Packed rows of token ids to the vectors that the vocabulary table is multiplied by.

    Args:
      inputs, positions, segment_ids: int32 [batch, t]; a token sees the earlier tokens of its own segment.
      option_ids: int32 [batch, t] where segments are a prompt and its options: tokens of id 0 (the prompt)
        are attended to by their whole segment, those of another id by that option only. None: no options.
      dropout_key: this step's key; without it nothing is dropped.

    Returns:
      [batch, t, embed_dim] in the compute dtype, after the final norm and ``project_out``. An id outside the
      vocabulary or a position outside the table gives NaN.

    Raises:
      UserError: the config is impossible.
      RuntimeError: no mesh is set.
    """
    model = bind(config, params)
    keys = embedding_key = None
    if dropout_key is not None:
        embedding_key, layer_key = jax.random.split(dropout_key)
        keys = jax.random.split(layer_key, config.layers)
    array = model.embed(inputs, positions, embedding_key)
    graph, weights = nnx.split(model.layers)
    apply = _layer_function(config, graph, within_rows(segment_ids, option_ids))
    if config.scan_layers and config.remat in ("full", "offload"):
        array = remat_scan.run(config, graph, array, weights, (keys, segment_ids, option_ids))
    elif config.scan_layers:
        array = jax.lax.scan(lambda a, wk: (apply(a, *wk), None), array, (weights, keys))[0]
    else:
        for index, layer in enumerate(_unstack(weights, config.layers)):
            array = apply(array, layer, None if keys is None else keys[index])
    return model.finish(array)


def logits(config: OptConfig, params: Params, hidden: jax.Array) -> jax.Array:
    """[..., embed_dim] -> float32 [..., vocab_rows]; padded rows are ``MASKED`` and never win."""
    table = params["token_embedding"]["embedding"].astype(hidden.dtype)
    scores = jnp.einsum("...e,ve->...v", hidden, table, preferred_element_type=jnp.float32)
    return mask_padded_vocab(config, scores)
