"""Chooses the next token: greedy, or sampled with temperature, top-k and top-p."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from iml_jax.foundation.errors import UserError

BROKEN = -1  # instead of a token where the logits hold NaN
REMOVED = -1e30


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a token is chosen.

    Attributes:
      temperature: logits are divided by it; 0 is greedy, and the other fields then have no effect.
      top_k: only the k most likely tokens; 0 for all.
      top_p: of these only the most likely that together have this probability; 1 for all.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def check(self, name: str) -> None:
        """Raise UserError unless the values are possible; ``name`` is the owner of the fields."""
        if not self.temperature >= 0:
            raise UserError(f"{name}.temperature is {self.temperature}; it must be 0 (greedy) or more")
        if self.top_k < 0:
            raise UserError(f"{name}.top_k is {self.top_k}; it must be 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"{name}.top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.temperature == 0 and (self.top_k or self.top_p < 1):
            raise UserError(
                f"{name}.top_k and top_p need a {name}.temperature above 0; at 0 decoding is greedy"
            )


def filtered(logits: jax.Array, sampling: Sampling) -> jax.Array:
    """float32 [batch, vocab] divided by the temperature, -1e30 for what top-k and then top-p leave out.

    As transformers' temperature, top-k and top-p warpers one after the other, but that tokens exactly as
    likely as the last one kept are kept too.
    """
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, sampling.top_k)[0][:, -1:]
        logits = jnp.where(logits < least, REMOVED, logits)
    if sampling.top_p < 1:
        # With top-k nothing else can be kept.
        count = sampling.top_k or logits.shape[-1]
        ordered = jax.lax.top_k(logits, min(count, logits.shape[-1]))[0]
        chances = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(chances, axis=-1) - chances  # the probability of what is likelier
        kept = jnp.where(before < sampling.top_p, ordered, jnp.inf)
        logits = jnp.where(logits < jnp.min(kept, axis=-1, keepdims=True), REMOVED, logits)
    return logits


def pick(
    logits: jax.Array, sampling: Sampling, seed: jax.Array, prompts: jax.Array, counts: jax.Array
) -> jax.Array:
    """The next token of every row, int32 [batch]; BROKEN where a logit is NaN.

    A sample depends on the seed, the prompt's number and the token's index in the answer, and not on the
    batch, the mesh or the number of processes. Of equally likely tokens the lowest id wins.

    Args:
      logits: float32 [vocab, batch].
      seed: int32 or uint32 scalar.
      prompts, counts: int32 [batch], the prompt's number and how many tokens its answer already has.
    """
    if sampling.temperature == 0:
        # Two plain reductions: XLA's argmax, a reduction of pairs, is slow on a CPU.
        highest = jnp.max(logits, axis=0, keepdims=True)
        rows = jnp.arange(logits.shape[0], dtype=jnp.int32)[:, None]
        best = jnp.min(jnp.where(logits == highest, rows, logits.shape[0]), axis=0)
        return jnp.where(jnp.isnan(highest[0]), BROKEN, best).astype(jnp.int32)

    def sample(row: jax.Array, prompt: jax.Array, count: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), prompt), count)
        return jax.random.categorical(key, row)

    chosen = jax.vmap(sample)(filtered(logits.T, sampling), prompts, counts)
    return jnp.where(jnp.isnan(logits).any(axis=0), BROKEN, chosen).astype(jnp.int32)
