"""Whether an exported or imported directory computes, in PyTorch, what our forward computes."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from iml_jax.checkpoints.layout import flatten, unflatten
from iml_jax.checkpoints.tensors import cast
from iml_jax.foundation.errors import Fault
from iml_jax.models import opt
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import single_device

Params = dict[str, Any]

TOLERANCE = 1e-3  # on logits, max abs; float32 on both sides
ROWS, LONGEST = 2, 64


def available() -> bool:
    """Whether torch and transformers are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


def compare(directory: str | Path, config: OptConfig, params: Params, dtype: str = "float32") -> float:
    """Max abs difference of the logits over the real vocabulary, same random tokens, float32, no dropout.

    Args:
      directory: what transformers loads.
      config, params: our side, float32.
      dtype: that of the weights in ``directory``, to which ours are rounded first.

    Returns:
      the difference, at most ``TOLERANCE``.

    Raises:
      Fault: it is larger or not a number, or transformers finds a tensor missing or unknown.
    """
    length = min(LONGEST, config.max_positions)
    tokens = np.random.default_rng(0).integers(4, config.vocab_tokens, (ROWS, length), np.int32)
    ours = _our_logits(config, params, tokens, dtype)
    theirs = _their_logits(Path(directory), tokens)[..., : config.vocab_tokens]
    difference = float(np.max(np.abs(ours - theirs)))
    if not difference <= TOLERANCE:  # NaN counts as a mismatch
        raise Fault(f"{directory}: logits differ from transformers' by {difference:g}, beyond {TOLERANCE:g}")
    return difference


def _our_logits(config: OptConfig, params: Params, tokens: np.ndarray, dtype: str) -> np.ndarray:
    exact = dataclasses.replace(config, compute_dtype="float32", remat="none")
    if dtype != "float32":
        rounded = {path: cast(np.asarray(leaf), dtype, path[-1]) for path, leaf in flatten(params).items()}
        params = unflatten({path: leaf.astype(np.float32) for path, leaf in rounded.items()})
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    with single_device(), jax.default_matmul_precision("highest"):
        hidden = opt.forward(exact, params, jnp.asarray(tokens), positions, jnp.ones_like(positions))
        return np.asarray(opt.logits(exact, params, hidden))[..., : config.vocab_tokens]


def _their_logits(directory: Path, tokens: np.ndarray) -> np.ndarray:
    import torch
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    loaded: Any = transformers.OPTForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    model, info = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            first = sorted(info[kind])[0]
            raise Fault(f"{directory}: transformers reports {kind.replace('_', ' ')}, first {first}")
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(tokens).long()).logits.float().numpy()
