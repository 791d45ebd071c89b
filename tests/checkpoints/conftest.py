"""A small vocabulary for the tests that write and read model directories."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.saved_states import run  # noqa: F401

from iml_jax.data import tokenizer as tokenizers


@pytest.fixture(scope="session")
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.train(["The cat sat on the mat.", "def f(x):\n    return x"] * 4, 300)


@pytest.fixture(scope="session")
def tokenizer_directory(tokenizer, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(directory)
    return directory
