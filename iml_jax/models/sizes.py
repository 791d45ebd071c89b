"""OPT's published shapes. Source: OPT paper (arXiv 2205.01068) table 1; transformers' ``OPTConfig``."""

from __future__ import annotations

import dataclasses

from iml_jax.foundation.errors import UserError

VOCAB_ROWS = 50272  # 50,265 tokens, padded to a multiple of 8
MAX_POSITIONS = 2048
POSITION_OFFSET = 2  # rows 0 and 1 of the learned table are never a real position
LAYER_NORM_EPSILON = 1e-5

COMPUTE_DTYPES = ("float32", "bfloat16")
REDUCE_DTYPES = ("compute", "float32")
REMAT_POLICIES = ("none", "selective", "dots", "full", "offload")
ATTENTION_KERNELS = ("auto", "splash", "cudnn", "blocked")


@dataclasses.dataclass(frozen=True)
class OptConfig:
    """The shape and numerics of one OPT model; gin name ``Model``."""

    vocab_rows: int = dataclasses.field(
        default=VOCAB_ROWS, metadata={"help": "rows of the embedding table, padding included."}
    )
    vocab_tokens: int = dataclasses.field(
        default=50265, metadata={"help": "real tokens; rows from here on never win and never learn."}
    )
    hidden: int = dataclasses.field(default=768, metadata={"help": "width of the residual stream."})
    layers: int = dataclasses.field(default=12, metadata={"help": "depth"})
    heads: int = dataclasses.field(default=12, metadata={"help": "attention heads"})
    ffn: int = dataclasses.field(default=3072, metadata={"help": "width of the MLP"})
    embed_dim: int = dataclasses.field(
        default=768,
        metadata={
            "help": "width of the token embedding; differs from ``hidden`` in OPT-350M only, which "
            "then has ``project_in`` and ``project_out``."
        },
    )
    max_positions: int = dataclasses.field(default=MAX_POSITIONS, metadata={"help": "longest sequence."})
    pre_norm: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "LayerNorm before each block and once at the end (all sizes but 350M, which has "
            "it after each residual add and no final one)."
        },
    )
    dropout: float = dataclasses.field(default=0.1, metadata={"help": "on the outputs of attention and MLP"})
    embedding_dropout: float = dataclasses.field(default=0.1, metadata={"help": "on the embeddings"})
    attention_dropout: float = dataclasses.field(
        default=0.0, metadata={"help": "on the attention probabilities."}
    )
    compute_dtype: str = dataclasses.field(
        default="bfloat16", metadata={"help": "``float32`` or ``bfloat16``; parameters are float32 always."}
    )
    reduce_dtype: str = dataclasses.field(
        default="compute",
        metadata={
            "help": "in which the gradients of matrices are summed over the devices that have other "
            "rows (the mesh's data and fsdp): ``compute``, in ``compute_dtype``, or "
            "``float32``, twice the bytes. All other gradients are summed in float32."
        },
    )
    remat: str = dataclasses.field(
        default="none",
        metadata={
            "help": "what the backward pass recomputes: ``none``, ``selective`` (norms and attention "
            "scores), ``dots`` (all but matrix products without batch axes), ``full``, or "
            "``offload``: as ``full``, and what enters each layer waits in the host's memory "
            "(with ``scan_layers`` only)."
        },
    )
    attention: str = dataclasses.field(
        default="auto",
        metadata={
            "help": "what computes the attention of training's rows: ``splash`` (Pallas, TPU), "
            "``cudnn`` (GPU, 16 bits), ``blocked`` (plain XLA, anywhere) or ``auto``, the one "
            "made for the platform. With ``attention_dropout``, which no kernel has, it is "
            "``blocked``. ``splash`` elsewhere than on a TPU is interpreted, for tests."
        },
    )
    scan_layers: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "one compiled layer looped over (short compile) or all layers unrolled (fast on CPU)."
        },
    )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def reduced_in(self) -> str:
        """The dtype in which the gradients of matrices are summed over devices."""
        return self.compute_dtype if self.reduce_dtype == "compute" else self.reduce_dtype

    def validate(self) -> OptConfig:
        """Return self, or raise UserError naming the field that cannot be."""
        positive = (
            "vocab_rows",
            "vocab_tokens",
            "hidden",
            "layers",
            "heads",
            "ffn",
            "embed_dim",
            "max_positions",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise UserError(f"Model.{name} = {getattr(self, name)}: must be at least 1")
        if self.vocab_tokens > self.vocab_rows:
            raise UserError(
                f"Model.vocab_tokens = {self.vocab_tokens} exceeds Model.vocab_rows = {self.vocab_rows}"
            )
        if self.hidden % self.heads:
            raise UserError(f"Model.hidden = {self.hidden} is not a multiple of Model.heads = {self.heads}")
        for name in ("dropout", "embedding_dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(f"Model.{name} = {getattr(self, name)}: must be in [0, 1)")
        for name, allowed in (
            ("compute_dtype", COMPUTE_DTYPES),
            ("reduce_dtype", REDUCE_DTYPES),
            ("remat", REMAT_POLICIES),
            ("attention", ATTENTION_KERNELS),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"Model.{name} = {getattr(self, name)!r}: must be one of {', '.join(allowed)}"
                )
        if self.remat == "offload" and not self.scan_layers:
            raise UserError("Model.remat = 'offload' needs Model.scan_layers = True")
        if self.attention in ("splash", "cudnn") and self.attention_dropout > 0.0:
            raise UserError(
                f"Model.attention = {self.attention!r} has no dropout; set Model.attention_dropout = 0.0 "
                "(OPT's own) or Model.attention = 'blocked'"
            )
        return self


def _published(layers: int, heads: int, hidden: int) -> OptConfig:
    return OptConfig(hidden=hidden, layers=layers, heads=heads, ffn=4 * hidden, embed_dim=hidden)


SIZES: dict[str, OptConfig] = {
    "opt_125m": _published(12, 12, 768),
    # Trained post-LN by accident (metaseq issue 388), with 512-wide word embeddings.
    "opt_350m": dataclasses.replace(_published(24, 16, 1024), embed_dim=512, pre_norm=False),
    "opt_1.3b": _published(24, 32, 2048),
    "opt_2.7b": _published(32, 32, 2560),
    "opt_6.7b": _published(32, 32, 4096),
    "opt_13b": _published(40, 40, 5120),
    "opt_30b": _published(48, 56, 7168),
    "opt_66b": _published(64, 72, 9216),
    "opt_175b": _published(96, 96, 12288),
}


def count_params(config: OptConfig) -> int:
    """Number of parameters, the tied output table counted once (padded vocabulary rows included)."""
    hidden, ffn = config.hidden, config.ffn
    attention = 4 * (hidden * hidden + hidden)
    mlp = 2 * hidden * ffn + ffn + hidden
    norms = 2 * 2 * hidden
    total = config.vocab_rows * config.embed_dim + (config.max_positions + POSITION_OFFSET) * hidden
    total += config.layers * (attention + mlp + norms)
    if config.embed_dim != hidden:
        total += 2 * config.embed_dim * hidden
    if config.pre_norm:
        total += 2 * hidden
    return total
