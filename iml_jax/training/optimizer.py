"""AdamW: global-norm clip, linear warm-up, linear decay (OPT-IML paper, table 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from iml_jax.foundation.errors import UserError

MOMENT_DTYPES = ("float32", "bfloat16")
DECAYED = ("matrices", "all")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its schedule; gin name ``Optimizer``."""

    peak_learning_rate: float = dataclasses.field(
        default=5e-5, metadata={"help": "reached after ``warmup_steps`` updates."}
    )
    warmup_steps: int = dataclasses.field(default=60, metadata={"help": "updates of linear warm-up from 0."})
    total_steps: int = dataclasses.field(
        default=0,
        metadata={"help": "updates after which ``end_learning_rate`` is reached; 0 takes ``Train.steps``."},
    )
    end_learning_rate: float = dataclasses.field(
        default=0.0, metadata={"help": "where the linear decay ends, and stays."}
    )
    beta1: float = dataclasses.field(
        default=0.9, metadata={"help": "Adam's; epsilon is added to the root of the corrected second moment."}
    )
    beta2: float = dataclasses.field(
        default=0.95,
        metadata={"help": "Adam's; epsilon is added to the root of the corrected second moment."},
    )
    epsilon: float = dataclasses.field(
        default=1e-8,
        metadata={"help": "Adam's; epsilon is added to the root of the corrected second moment."},
    )
    weight_decay: float = dataclasses.field(
        default=0.1,
        metadata={"help": "decoupled; times the learning rate. Padded vocabulary rows never decay."},
    )
    decayed: str = dataclasses.field(
        default="matrices",
        metadata={
            "help": "what decays. ``matrices``: matrices and embedding tables; biases and LayerNorms "
            "do not. ``all``: these as well, as in metaseq's AdamW, with which OPT and "
            "OPT-IML were trained."
        },
    )
    clip_norm: float = dataclasses.field(
        default=1.0, metadata={"help": "the global gradient norm is clipped to it; 0 does not clip."}
    )
    moment_dtype: str = dataclasses.field(
        default="float32",
        metadata={
            "help": "``float32`` or ``bfloat16``, in which both of Adam's moments are kept between "
            "updates. They are computed in float32 either way; bfloat16 halves their memory "
            "and rounds them to 8 bits."
        },
    )

    def validate(self) -> OptimizerConfig:
        """Return self, or raise UserError naming the field that cannot be."""
        if self.total_steps < 1:
            raise UserError(f"Optimizer.total_steps = {self.total_steps}: must be at least 1")
        if not 0 <= self.warmup_steps <= self.total_steps:
            raise UserError(
                f"Optimizer.warmup_steps = {self.warmup_steps}: must be from 0 to "
                f"Optimizer.total_steps = {self.total_steps}"
            )
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(f"Optimizer.{name} = {getattr(self, name)}: must be in [0, 1)")
        for name in ("peak_learning_rate", "end_learning_rate", "epsilon", "weight_decay", "clip_norm"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise UserError(f"Optimizer.{name} = {getattr(self, name)}: must be at least 0 and finite")
        for name, choices in (("moment_dtype", MOMENT_DTYPES), ("decayed", DECAYED)):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"Optimizer.{name} = {getattr(self, name)!r}: must be one of {', '.join(choices)}"
                )
        return self


def learning_rate(config: OptimizerConfig) -> Callable[[Any], jax.Array]:
    """The rate of the update that follows ``done`` updates, as a function of ``done``.

    ``peak * done / warmup`` up to the warm-up's end, then a straight line to ``end_learning_rate`` at
    ``total_steps`` (metaseq's polynomial decay of power 1; equal to a torch ``LambdaLR`` over the same
    formula, whose first update also has rate 0).
    """
    peak, end, warmup = config.peak_learning_rate, config.end_learning_rate, config.warmup_steps

    def rate(done: Any) -> jax.Array:
        done = jnp.asarray(done, jnp.float32)
        decayed = jnp.clip((done - warmup) / max(config.total_steps - warmup, 1), 0.0, 1.0)
        return jnp.where(done < warmup, peak * done / max(warmup, 1), peak + (end - peak) * decayed)

    return rate


def _clip(limit: float) -> optax.GradientTransformation:
    """Scales the updates so that their global norm is at most ``limit``.

    ``optax.clip_by_global_norm`` divides every element, which XLA writes out as an array of its own; one
    factor is multiplied into the moments' updates instead.
    """

    def apply(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        norm = optax.tree.norm(updates)
        factor = jnp.where(norm < limit, 1.0, limit / norm)
        return jax.tree.map(lambda update: update * factor.astype(update.dtype), updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), apply)


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """``optax.scale_by_adam``, its moments kept in ``moment_dtype`` (optax narrows the first one only)."""
    adam = optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon)

    def as_dtype(state: optax.ScaleByAdamState, dtype: str) -> optax.ScaleByAdamState:
        mu, nu = jax.tree.map(lambda moment: moment.astype(dtype), (state.mu, state.nu))
        return state._replace(mu=mu, nu=nu)

    def init(params: Any) -> optax.ScaleByAdamState:
        return as_dtype(adam.init(params), config.moment_dtype)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        updates, state = adam.update(updates, as_dtype(state, "float32"), params)
        return updates, as_dtype(state, config.moment_dtype)

    return adam if config.moment_dtype == "float32" else optax.GradientTransformation(init, update)


def _decay_weights(rate: float, decayed: str, vocab_tokens: int) -> optax.GradientTransformation:
    """Adds ``rate * weight`` to the updates of what decays, but for padded vocabulary rows."""

    def decay(path: tuple[Any, ...], update: jax.Array, weight: jax.Array) -> jax.Array:
        names = [key.key for key in path]
        if decayed == "matrices" and names[-1] not in ("kernel", "embedding"):
            return update
        if names[0] == "token_embedding":
            real = jnp.arange(weight.shape[0])[:, None] < vocab_tokens
            return update + rate * jnp.where(real, weight, 0.0)
        return update + rate * weight

    def apply(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        return jax.tree_util.tree_map_with_path(decay, updates, params), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), apply)


def make_optimizer(config: OptimizerConfig, vocab_tokens: int) -> optax.GradientTransformation:
    """The optax chain: clip, Adam, decoupled decay, schedule.

    Args:
      vocab_tokens: rows of the token table from here on do not decay.

    Raises:
      UserError: the config is impossible.
    """
    config.validate()
    return optax.chain(
        _clip(config.clip_norm) if config.clip_norm else optax.identity(),
        _adam(config),
        _decay_weights(config.weight_decay, config.decayed, vocab_tokens),
        optax.scale_by_learning_rate(learning_rate(config)),
    )
