"""The batch of packed rows that a training step takes."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

# np.ndarray in the loader, jax.Array in the step; a sharding or a shape where a batch is only described.
ArrayT = TypeVar("ArrayT")


class Batch(NamedTuple, Generic[ArrayT]):
    """One global batch of packed rows; every field is [batch, length] (numpy or jax.Array).

    Attributes:
      inputs: int32 token ids; 1 (``<pad>``) where ``segment_ids`` is 0.
      targets: int32, the token that follows each input within its own segment.
      loss_weights: float32, 1 on target tokens and the final ``</s>``, 0 elsewhere.
      segment_ids: int32, 1, 2, … for the examples of a row, 0 for padding.
      positions: int32, restart at 0 in every segment (OPT adds its offset 2 itself).
    """

    inputs: ArrayT
    targets: ArrayT
    loss_weights: ArrayT
    segment_ids: ArrayT
    positions: ArrayT
