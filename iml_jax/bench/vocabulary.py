"""OPT's byte-level BPE as a seqio.Vocabulary (TensorFlow lives here, not in data/tokenizer.py)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from iml_jax.data import tokenizer as bpe


@functools.lru_cache(maxsize=4)
def load_cached(directory: str) -> bpe.Tokenizer:
    """``tokenizer.load``, once per process (Beam workers ask for it once per task)."""
    return bpe.load(directory)


class OptVocabulary(seqio.Vocabulary):
    """Ids as ``data.tokenizer``: no special id ever comes out of a text; the caller adds ``</s>`` (2).

    SeqIO pads with 0 whatever a vocabulary says, and 0 is ``<s>`` here, OPT's pad being 1: batches are
    padded by our own loader. Holds a directory, not the merges, so that it pickles small.
    """

    def __init__(self, directory: str) -> None:
        super().__init__(extra_ids=0)
        self._directory = directory

    @property
    def tokenizer(self) -> bpe.Tokenizer:
        """The tokenizer itself.

        Raises:
          UserError: the directory does not hold OPT's BPE.
        """
        return load_cached(self._directory)

    @property
    def bos_id(self) -> int:
        """The id that begins a text."""
        return bpe.BOS

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return bpe.PAD

    @property
    def eos_id(self) -> int:
        """The id that ends a text."""
        return bpe.EOS

    @property
    def unk_id(self) -> int:
        """The id that stands for nothing else; OPT's BPE never gives it."""
        return bpe.UNK

    @property
    def _base_vocab_size(self) -> int:
        return self.tokenizer.tokens

    def _encode(self, s: str) -> list[int]:
        return self.tokenizer.encode(s)

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        def encode(text: Any) -> np.ndarray:  # bytes in a graph, an array of one when eager
            return np.asarray(self._encode(np.asarray(text).item().decode("utf-8", "replace")), np.int32)

        ids = tf.numpy_function(encode, [s], tf.int32, stateful=False)
        ids.set_shape([None])
        return ids

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        rank = ids.shape.rank

        def decode(rows: np.ndarray) -> np.ndarray:
            flat = rows.reshape(-1, rows.shape[-1]) if rows.ndim > 1 else rows[None]
            texts = np.asarray([self._decode(row.tolist()).encode() for row in flat], object)
            return texts.reshape(rows.shape[:-1]) if rows.ndim > 1 else texts[0]

        text = tf.numpy_function(decode, [ids], tf.string, stateful=False)
        text.set_shape([None] * (rank - 1) if rank is not None else None)
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OptVocabulary) and (
            self._directory == other._directory or self.tokenizer.fingerprint == other.tokenizer.fingerprint
        )

    def __hash__(self) -> int:
        return hash(self.tokenizer.fingerprint)
