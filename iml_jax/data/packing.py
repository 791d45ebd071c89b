"""From records to packed rows: shift, left truncation, first-fit packing without splitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from iml_jax.data.batch import Batch

PAD = 1  # OPT's <pad>
# Columns of the packed feature; together they cost Grain's packer one insertion instead of three.
_INPUT, _TARGET, _WEIGHT = range(3)


def training_example(inputs: np.ndarray, targets: np.ndarray, length: int) -> np.ndarray:
    """One example as next-token predictions (see ``Batch``).

    The sequence is ``inputs + targets``; a position predicts the token after it. What exceeds
    ``length`` positions is cut off on the left, so the end of the target, ``</s>``, always survives.

    Args:
      inputs: int [source tokens], possibly none (then the first target token is predicted by nothing).
      targets: int [target tokens].
      length: positions of a row.

    Returns:
      int32 [n, 3], n <= length: input token, the token after it, 1 where that one is a target token.
    """
    tokens = np.concatenate((inputs, targets)).astype(np.int32)
    first = max(0, len(tokens) - 1 - length)
    example = np.empty((max(0, len(tokens) - 1 - first), 3), np.int32)
    example[:, _INPUT] = tokens[first:-1]
    example[:, _TARGET] = tokens[first + 1 :]
    example[:, _WEIGHT] = 0
    # Position p predicts token first + p + 1, which is a target token from len(inputs) on.
    example[max(0, len(inputs) - 1 - first) :, _WEIGHT] = 1
    return example


def pack(examples: grain.IterDataset, length: int, bins: int, seed: int) -> grain.IterDataset:
    """Packs examples into rows, none split, as Grain's ``FirstFitPackIterDataset`` does.

    The same rows in the same order with the same state; but Grain's own, which packs any structure, takes
    three times as long for an example.

    Args:
      examples: elements ``{"tokens": int32 [n, 3] of training_example, "task": int}``, 1 <= n <= length.
      length: positions of a row.
      bins: rows filled at a time. More waste less and cost more to refill on restore.
      seed: of the order in which the filled rows leave.

    Returns:
      Rows ``tokens`` [length, 3], ``tokens_segment_ids`` (0: padding) and ``tokens_positions`` [length], for
      ``batch_of_rows``; ``task`` lists the tasks of the row's examples.
    """
    return _Pack(examples, length, bins, seed)


class _Pack(grain.IterDataset):
    def __init__(self, examples: grain.IterDataset, length: int, bins: int, seed: int) -> None:
        super().__init__(examples)
        self._settings = length, bins, seed

    def __iter__(self) -> grain.DatasetIterator:
        return _PackIterator(iter(self._parents[0]), *self._settings)


class _PackIterator(grain.DatasetIterator):
    """State: the examples' own before the present rows were filled, rows of these and in all handed out."""

    def __init__(self, examples: grain.DatasetIterator, length: int, bins: int, seed: int) -> None:
        super().__init__(examples)
        self._length, self._bins, self._seed = length, bins, seed
        self._positions = np.arange(length, dtype=np.int32)
        self._begin()

    def _begin(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._held: Mapping[str, Any] | None = None  # did not fit any more; the next rows begin with it
        self._before = self._after = self._parent.get_state()
        self._next_row = self._counter = 0

    def __next__(self) -> dict[str, Any]:
        if not self._rows:
            self._rows = self._fill()
        row = self._rows[self._next_row]
        self._next_row += 1
        self._counter += 1
        if self._next_row == len(self._rows):
            self._rows, self._next_row, self._before = [], 0, self._after
        return row

    def _fill(self) -> list[dict[str, Any]]:
        """Rows filled first fit until an example fits in none of them, in the order in which they leave."""
        tokens = np.full((self._bins, self._length, 3), PAD, np.int32)
        segments, positions = np.zeros((2, self._bins, self._length), np.int32)
        ends = np.zeros(self._bins, np.int64)
        tasks: list[list[int]] = [[] for _ in range(self._bins)]
        example: Mapping[str, Any] | None = self._held if self._held is not None else next(self._parent)
        while example is not None:
            values = example["tokens"]
            if len(values) > self._length:
                raise ValueError(f"an example of {len(values)} positions in rows of {self._length}")
            fits = ends <= self._length - len(values)
            row = int(fits.argmax())
            if not fits[row]:
                break
            start = int(ends[row])
            end = ends[row] = start + len(values)
            tasks[row].append(example["task"])
            tokens[row, start:end] = values
            segments[row, start:end] = len(tasks[row])
            positions[row, start:end] = self._positions[: len(values)]
            self._after = self._parent.get_state()
            example = next(self._parent, None)
        self._held = example
        used = sum(map(bool, tasks))  # all, but at the end of the examples
        order = np.random.default_rng(self._seed + self._counter - self._next_row).permuted(range(used))
        return [
            {
                "tokens": tokens[row],
                "tokens_segment_ids": segments[row],
                "tokens_positions": positions[row],
                "task": np.array(tasks[row]),
            }
            for row in order
        ]

    def get_state(self) -> dict[str, Any]:
        return {"parent": self._before, "next_row": self._next_row, "counter": self._counter}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._parent.set_state(state["parent"])
        self._begin()
        self._next_row, self._counter = state["next_row"], state["counter"]


def batch_of_rows(rows: Sequence[Mapping[str, Any]]) -> Batch[np.ndarray]:
    """The ``Batch`` of packed rows, in their order; numpy, every field [rows, length], fresh memory."""
    tokens = np.stack([row["tokens"] for row in rows])
    segments = np.stack([row["tokens_segment_ids"] for row in rows])
    return Batch(
        inputs=np.ascontiguousarray(tokens[..., _INPUT]),
        targets=np.ascontiguousarray(tokens[..., _TARGET]),
        # The packer fills all three columns of padding with one value.
        loss_weights=np.where(segments > 0, tokens[..., _WEIGHT], 0).astype(np.float32),
        segment_ids=segments,
        positions=np.stack([row["tokens_positions"] for row in rows]),
    )
