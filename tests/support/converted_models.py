"""Small random models of both families of OPT."""

from __future__ import annotations

import random

import jax
import jax.numpy as jnp
import numpy as np

from iml_jax.checkpoints import layout
from iml_jax.data import tokenizer as tokenizers
from iml_jax.models.sizes import OptConfig


def model(tokenizer: tokenizers.Tokenizer, family: str, seed: int = 0) -> OptConfig:
    """A random small shape of one of the two families."""
    rng = random.Random(seed)
    heads = rng.choice([1, 2, 4])
    return OptConfig(
        vocab_rows=tokenizer.rows,
        vocab_tokens=tokenizer.tokens,
        hidden=32,
        layers=rng.choice([1, 2, 3]),
        heads=heads,
        ffn=rng.choice([24, 64]),
        embed_dim=32 if family == "pre_norm" else 16,
        max_positions=rng.choice([16, 20]),
        pre_norm=family == "pre_norm",
        embedding_dropout=0.0,
    )


def random_params(config: OptConfig, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape, np.float32)),
        layout.parameter_shapes(config),
    )
