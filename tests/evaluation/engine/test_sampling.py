"""Top-k and top-p against transformers' warpers; draws follow the filtered distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iml_jax.evaluation.engine.sampling import BROKEN, Sampling, filtered, pick
from iml_jax.foundation.errors import UserError

CASES = [(0.7, 0, 1.0), (1.0, 5, 1.0), (1.3, 0, 0.8), (0.5, 40, 0.9), (2.0, 200, 0.3), (1.0, 1, 0.5)]


@pytest.mark.parametrize("case", CASES)
def test_equals_transformers(case: tuple[float, int, float]) -> None:
    import torch
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = np.random.default_rng().normal(0, 3, (16, 120)).astype(np.float32)
    expected = TemperatureLogitsWarper(case[0])(None, torch.from_numpy(logits))
    if case[1]:
        expected = TopKLogitsWarper(case[1])(None, expected)
    if case[2] < 1:
        expected = TopPLogitsWarper(case[2])(None, expected)
    ours = jax.nn.softmax(filtered(jnp.asarray(logits), Sampling(*case)), axis=-1)
    theirs = expected.softmax(-1).numpy()
    np.testing.assert_array_equal(np.asarray(ours) > 0, theirs > 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_draws_follow_the_distribution() -> None:
    rows, sampling = 4000, Sampling(1.0, 3)
    row = np.array([0.0, 2.0, 1.0, -1.0, 1.5], np.float32)
    logits = jnp.tile(row[:, None], (1, rows))
    zeros = jnp.zeros(rows, jnp.int32)
    numbers = jnp.arange(rows, dtype=jnp.int32)
    by_prompt = pick(logits, sampling, jnp.uint32(3), numbers, zeros)
    by_place = pick(logits, sampling, jnp.uint32(3), zeros, numbers)
    wanted = np.exp(np.where(row >= 1.0, row, -np.inf))
    for found in (by_prompt, by_place):
        shares = np.bincount(np.asarray(found), minlength=5) / rows
        np.testing.assert_allclose(shares, wanted / wanted.sum(), atol=0.04)
    assert (by_prompt != by_place).any()
    assert (by_prompt != pick(logits, sampling, jnp.uint32(4), numbers, zeros)).any()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ties_and_nan(temperature: float) -> None:
    logits = jnp.array([[1.0, jnp.nan], [1.0, 3.0], [0.0, 0.0]])
    zeros = jnp.zeros(2, jnp.int32)
    found = pick(logits, Sampling(temperature), jnp.uint32(0), zeros, zeros)
    assert found[1] == BROKEN
    assert found[0] == 0 or temperature


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(-1), r"Generate\.temperature is -1; it must be 0"),
        (Sampling(1, -2), r"Generate\.top_k is -2"),
        (Sampling(1, 0, 0), r"Generate\.top_p is 0; it must be above 0"),
        (Sampling(0, 5), r"need a Generate\.temperature above 0"),
        (Sampling(float("nan")), "temperature is nan"),
    ],
)
def test_mistakes(sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sampling.check("Generate")
