"""The bytes that a chip has to send in a step, by the rule of the parallelism; docs/plan.md has it in words.

Sources: ZeRO-3 (arXiv 1910.02054, section 7); Megatron's sequence parallelism (arXiv 2205.05198, 4.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from iml_jax.models.cross_entropy import parts
from iml_jax.models.sizes import OptConfig
from iml_jax.planning.job import PREFILL, SCORE, TRAIN


@dataclasses.dataclass(frozen=True)
class Need:
    """What one line of the rule asks for.

    Attributes:
      kind: the collective; ``axis``: the mesh axis.
      bytes: a device sends in a step.
      why: the rule in a few words.
    """

    kind: str
    axis: str
    bytes: float
    why: str


def _matrices(model: OptConfig) -> tuple[float, float]:
    """(elements of all layers' matrices, of the vocabulary's and projections')."""
    layers = model.layers * (4 * model.hidden**2 + 2 * model.hidden * model.ffn)
    rest = model.vocab_rows * model.embed_dim
    if model.embed_dim != model.hidden:
        rest += 2 * model.embed_dim * model.hidden
    return float(layers), float(rest)


def needs(
    program: str, model: OptConfig, mesh: Mapping[str, int], rows: int, length: int, *, accumulation: int = 1
) -> list[Need]:
    """The bytes that a step must send.

    Args:
      program: ``train``, ``score`` or ``prefill``; others have no rule and give none.
      mesh: sizes of ``data``, ``fsdp`` and ``tensor``.
      rows, length: of the global batch, all micro-batches.
      accumulation: micro-batches; each gathers the weights anew and scatters its gradients.
    """
    if program not in (TRAIN, SCORE, PREFILL):
        return []
    data, fsdp, tensor = mesh["data"], mesh["fsdp"], mesh["tensor"]
    width = 4 if model.compute_dtype == "float32" else 2
    layers, rest = (one / tensor * width for one in _matrices(model))
    around_fsdp, around_tensor = (fsdp - 1) / fsdp, (tensor - 1) / tensor
    own = rows / (data * fsdp) * length * model.hidden * width
    stream, looked_up = own * around_tensor, own / tensor * around_fsdp
    found = []
    if program == TRAIN:
        times = accumulation
        gradients = layers * (4 / width if model.reduced_in == "float32" else 1) + rest
        in_parts = parts(model.vocab_rows // tensor, model.embed_dim) > 1
        again = model.vocab_rows * model.embed_dim / tensor * width * in_parts
        found = [
            Need(
                "all-gather",
                "fsdp",
                times * (2 * layers + rest + again) * around_fsdp,
                "the layers' weights, forward and backward; the vocabulary's "
                + ("twice, part by part" if again else "once"),
            ),
            Need("reduce-scatter", "fsdp", times * gradients * around_fsdp, "gradients of the weights"),
            Need("all-to-all", "fsdp", 4 * looked_up, "tokens' and positions' vectors, and their gradients"),
            Need(
                "all-reduce",
                "data",
                2 * gradients / fsdp * (data - 1) / data,
                "gradients, each chip its part",
            ),
        ]
        gathers = 2 + 2 + 2  # forward; backward of the scatters; the weights' gradients or the recomputation
        scatters = 2 + 2 + (model.remat in ("full", "offload"))  # recomputed: the attention's, not the MLP's
        found += [
            Need(
                "all-gather", "tensor", (gathers * model.layers + 3) * stream, f"{gathers} a layer, 3 outside"
            ),
            Need(
                "reduce-scatter", "tensor", (scatters * model.layers + 2) * stream,
                f"{scatters} a layer, 2 outside",
            ),
        ]  # fmt: skip
    else:
        found = [
            Need("all-gather", "fsdp", (layers + rest) * around_fsdp, "weights, once"),
            Need("all-to-all", "fsdp", 2 * looked_up, "tokens' and positions' vectors"),
            Need("all-gather", "tensor", (2 * model.layers + 1) * stream, "2 a layer, 1 outside"),
            Need("reduce-scatter", "tensor", (2 * model.layers + 1) * stream, "2 a layer, 1 outside"),
        ]
    return [need for need in found if need.bytes > 0]
