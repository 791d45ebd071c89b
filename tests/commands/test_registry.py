from __future__ import annotations

import pytest

from iml_jax.commands import COMMANDS
from iml_jax.commands.registry import NAMES


@pytest.mark.parametrize("name", COMMANDS)
def test_module_keeps_the_contract(name):
    module = COMMANDS[name].load()
    assert COMMANDS[name].help == module.HELP
    assert set(module.CONFIGS) <= set(NAMES)
    assert callable(module.run)
    assert module.EXAMPLE.startswith(f"iml {name} ")
