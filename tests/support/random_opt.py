"""Small random OPT models of both families, here and in transformers."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from iml_jax.checkpoints import layout
from iml_jax.models.opt import logical_axes
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.parallel.rules import shardings

PRE_NORM = OptConfig(
    vocab_rows=96, vocab_tokens=91, hidden=32, layers=2, heads=4, ffn=64, embed_dim=32, max_positions=64,
    compute_dtype="float32",
)  # fmt: skip
POST_NORM = dataclasses.replace(PRE_NORM, pre_norm=False, embed_dim=16, layers=3)
FAMILIES = {"pre_norm": PRE_NORM, "350m_shape": POST_NORM}


def random_params(config: OptConfig, rng: np.random.Generator) -> Any:
    """Weights large enough for answers that differ."""

    def draw(path: Any, leaf: Any) -> np.ndarray:
        # Large enough that an answer is not one token repeated (the output table is the input's).
        spread = 0.3 if path[0].key == "layers" else 0.5
        values = rng.normal(0, spread, leaf.shape).astype(np.float32)
        return values + 1 if path[-1].key == "scale" else values

    return jax.tree_util.tree_map_with_path(draw, layout.parameter_shapes(config))


def on_mesh(config: OptConfig, params: Any, data: int = 1, fsdp: int = 1, tensor: int = 1) -> tuple[Any, Any]:
    """(parameters, mesh) over the first devices."""
    mesh = make_mesh(MeshConfig(data, fsdp, tensor), jax.devices()[: data * fsdp * tensor])
    return jax.device_put(params, shardings(mesh, logical_axes(config))), mesh


def in_transformers(config: OptConfig, params: Any) -> Any:
    """The same model as transformers' PyTorch OPT, float32."""
    import torch
    import transformers

    model = transformers.OPTForCausalLM(
        transformers.OPTConfig(
            vocab_size=config.vocab_rows,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            ffn_dim=config.ffn,
            max_position_embeddings=config.max_positions,
            word_embed_proj_dim=config.embed_dim,
            do_layer_norm_before=config.pre_norm,
        )
    )
    tensors = {name: torch.tensor(value) for name, value in layout.to_huggingface(config, params)}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model.eval()
