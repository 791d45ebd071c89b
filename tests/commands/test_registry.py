from __future__ import annotations

from pathlib import Path

import pytest

from iml_jax.commands import COMMANDS
from iml_jax.commands.registry import DEPRECATED, NAMES
from iml_jax.config.registry import REGISTRY


@pytest.mark.parametrize("name", COMMANDS)
def test_module_keeps_the_contract(name):
    module = COMMANDS[name].load()
    assert COMMANDS[name].help == module.HELP
    assert set(module.CONFIGS) <= set(NAMES)
    assert callable(module.run)
    assert module.EXAMPLE.startswith(f"iml {name} ")


def test_no_gin_name_of_a_user_disappears():
    """gin_names.txt has the parameters of revision acdef08; a name leaves it a release after its alias."""
    known = Path(__file__).with_name("gin_names.txt").read_text().split()
    assert len(known) > 190
    gone = []
    for key in known:
        name, field = REGISTRY.present_name(*key.split("."))
        if name not in REGISTRY or field not in REGISTRY.fields(name):
            gone.append(key)
    assert gone == []


def test_aliases_lead_from_names_that_are_gone_to_names_in_use():
    for old, new in DEPRECATED.items():
        name, _, field = new.partition(".")
        assert name in REGISTRY and (not field or field in REGISTRY.fields(name)), new
        name, _, field = old.partition(".")
        assert name not in REGISTRY or (field and field not in REGISTRY.fields(name)), old
