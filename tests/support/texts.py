"""Texts to train a tokenizer on, and pieces that are hard to tokenize."""

from __future__ import annotations

from iml_jax.data import tokenizer as tokenizers

TEXTS = ["the cat sat on the mat. Answer: yes", "naïve café 日本語 🙂", "a\n\n b\t1234 don't"] * 40


# Pieces that meet at every kind of border: spaces, specials, contractions, joined and split unicode.
PIECES = [*tokenizers.SPECIALS, "<mask>", " ", "  ", "\n", "\t", "\r", "'s", "'LL", "0", "12"]


PIECES += ["é", "e\u0301", "日本", "🙂", "👩\u200d💻", "\u2028", "\x00", "\x85", "\xa0", "\u200b"]


PIECES += ["A", "the", "Ġ", "Ċ", "\ufeff", "\ufffd"]
