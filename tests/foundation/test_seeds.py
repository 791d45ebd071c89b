"""One rule for every seed: what does not fit 32 bits is refused by a line."""

from __future__ import annotations

import pytest

from iml_jax import cli
from iml_jax.bench.mixtures import PrepareConfig
from iml_jax.bench.sources.miniature.source import Miniature
from iml_jax.bench.sources.promptsource.source import PromptSource
from iml_jax.bench.subsets import Subset
from iml_jax.commands.registry import REGISTRY
from iml_jax.data.loader import LoaderConfig
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.foundation.errors import UserError
from iml_jax.training.job import TrainConfig

OWNERS = {
    "Generate": GenerateConfig,
    "Loader": lambda seed: LoaderConfig(8, seed=seed),
    "Miniature": lambda seed: Miniature("x", seed=seed),
    "Prepare": lambda seed: PrepareConfig("x", seed=seed),
    "PromptSource": lambda seed: PromptSource("x", "y", seed=seed),
    "Subset": Subset,
    "Train": lambda seed: TrainConfig("x", "y", seed=seed),
}


@pytest.mark.parametrize("name", OWNERS)
@pytest.mark.parametrize("seed", [-1, 2**32, -(2**63), 10**400])
def test_seeds_outside_32_bits_are_refused(name: str, seed: int) -> None:
    with pytest.raises(UserError, match=rf"^{name}\.seed is .*; it must be from 0 to 4294967295$") as caught:
        OWNERS[name](seed=seed)
    assert len(str(caught.value)) < 200
    for right in (0, 2**32 - 1):
        assert OWNERS[name](seed=right).seed == right


def test_every_setting_that_is_a_seed_is_checked() -> None:
    found = set()
    for name in REGISTRY.names():
        if "seed" in REGISTRY.fields(name):
            found.add(name)
    assert found == set(OWNERS)


def test_the_command_says_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "gone", "--prompt", "x", "--gin.Generate.seed=-1"]) == 2
    assert capsys.readouterr().err.endswith("Generate.seed is -1; it must be from 0 to 4294967295\n")
