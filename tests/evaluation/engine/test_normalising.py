"""Values by which options are compared."""

from __future__ import annotations

import numpy as np
import pytest
from support.random_opt import PRE_NORM, on_mesh, random_params

from iml_jax.evaluation.engine import normalising, scoring
from iml_jax.evaluation.engine.scoring import Candidates, Likelihoods
from iml_jax.foundation.errors import UserError
from iml_jax.models.handle import Model

FOUND = Likelihoods((-6.0, -4.0), 0, (3, 1), (False, False))


def test_kinds() -> None:
    assert normalising.normalise(FOUND) == (-6.0, -4.0)
    assert normalising.normalise(FOUND, "per_token") == (-2.0, -4.0)
    # Bytes, not characters; a text without any counts as one.
    assert normalising.normalise(FOUND, "per_byte", texts=("né", "")) == (-2.0, -4.0)
    assert normalising.normalise(FOUND, "unconditional", unconditional=(-5.5, -1.0)) == (-0.5, -3.0)
    with pytest.raises(UserError, match=r"Score\.normalisation is 'length'; it must be one of none"):
        normalising.check("length", "Score.normalisation")
    with pytest.raises(ValueError, match="shorter"):
        normalising.normalise(FOUND, "per_byte", texts=("one",))


def test_the_neutral_prompt_is_a_prompt_like_any_other() -> None:
    rng = np.random.default_rng()
    placed, mesh = on_mesh(PRE_NORM, random_params(PRE_NORM, rng))
    questions = [Candidates([9, 9], [[5, 2], [6, 7, 2]]), Candidates([8], [[6, 7, 2], [5, 2]])]
    done: list[int] = []
    first, second = normalising.after_neutral_prompt(
        Model(PRE_NORM, placed, mesh), questions, 2, neutral=[30, 31], prefix="eos", advance=done.append
    )
    assert sum(done) == 2  # different options
    assert first == second[::-1]
    (plain,) = scoring.score(
        Model(PRE_NORM, placed, mesh), [Candidates([30, 31], questions[0].options)], 2, prefix="eos"
    )
    np.testing.assert_allclose(first, plain.values, atol=1e-5)
