from __future__ import annotations

import dataclasses

import pytest
from support.config_dummies import Run, Toy, registry

from iml_jax.commands.registry import NAMES
from iml_jax.config.registry import Registry
from iml_jax.foundation.suggestions import nearest


def test_help_is_metadata_of_the_field():
    assert {name: field.doc for name, field in registry().fields("Toy").items()} == {
        "size": "how many, in examples.",
        "name": "its name",
        "rate": "",
        "seed": "of the draw, or ``0``.",
    }


def test_fields_tell_required_default_and_choices():
    fields = registry().fields("Run")
    assert [name for name, field in fields.items() if field.required] == ["run_dir"]
    assert fields["mode"].choices == ("fast", "careful")
    assert fields["shares"].default == {} and fields["limit"].hint == (int | None)


def test_names_are_imported_on_first_use():
    lazy = Registry({"Run": "support.config_dummies:Run", "Gone": "no_such_module:Nothing"})
    assert lazy.names() == ("Run", "Gone")
    assert lazy.type_of("Run") is Run
    assert lazy.name_of(Run) == "Run" and lazy.name_of(Toy) is None
    with pytest.raises(ModuleNotFoundError):
        lazy.type_of("Gone")


def test_name_of_recognises_a_class_before_its_first_use():
    assert Registry({"Run": "support.config_dummies:Run"}).name_of(Run) == "Run"


def test_only_dataclasses_can_stand_behind_a_name():
    with pytest.raises(TypeError, match="not a dataclass"):
        Registry({"Path": int}).type_of("Path")


def test_init_false_fields_are_no_parameters():
    @dataclasses.dataclass
    class Half:
        shown: int = 1
        hidden: int = dataclasses.field(init=False, default=2)

    assert list(Registry({"Half": Half}).fields("Half")) == ["shown"]


@pytest.mark.parametrize(("word", "found"), [("Modle", "Model"), ("loader", "Loader"), ("zzz", None)])
def test_nearest(word, found):
    assert nearest(word, NAMES, quote="") == (f"; did you mean {found}?" if found else "")
