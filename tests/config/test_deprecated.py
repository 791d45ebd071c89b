"""Old spellings of gin names, in files, flags, references and saved texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_dummies import Pair, Run, Toy
from support.config_dummies import registry as plain_registry

from iml_jax.config import Registry, load, load_text
from iml_jax.config.deprecated import renamed
from iml_jax.config.statements import read_text
from iml_jax.foundation.errors import UserError

NEXT = "is deprecated and will be refused by the next release; write"


def registry() -> Registry:
    """The dummies, with a class, a parameter, and a parameter of another class renamed."""
    known = plain_registry()
    known.deprecate({"Plaything": "Toy", "Toy.amount": "Toy.size", "Run.speed": "Toy.rate"})
    return known


def test_old_names_in_files_and_flags_are_read_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.gin"
    file.write_text("Run.run_dir = 'd'\nPlaything.amount = 4\nRun.speed = 0.25\nPlaything:\n  name = 'n'\n")
    found = load([str(file)], ["--gin.Toy.amount=5", "Toy.seed=6"], registry())
    assert found.build("Toy") == Toy(5, "n", 0.25, 6)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {file}:2: Plaything.amount {NEXT} Toy.size",
        f"warning: {file}:3: Run.speed {NEXT} Toy.rate",
        f"warning: {file}:4: Plaything {NEXT} Toy",
        f"warning: {file}:5: Plaything.name {NEXT} Toy.name",
        f"warning: --gin.Toy.amount=5: Toy.amount {NEXT} Toy.size",
    ]


def test_references_inside_values_and_macros(capsys: pytest.CaptureFixture[str]) -> None:
    text = "M = @a/Plaything()\nPair.first = %M\nRun.sources = (@Plaything(), @Toy())\nRun.run_dir = 'd'\n"
    found = load_text(text + "a/Plaything.size = 9\n", "f.gin", registry())
    assert found.build("Pair") == Pair(Toy(9))
    assert found.build("Run").sources == (Toy(), Toy())
    assert capsys.readouterr().err.splitlines() == [
        f"warning: f.gin:1: @a/Plaything() {NEXT} @a/Toy()",
        f"warning: f.gin:3: @Plaything() {NEXT} @Toy()",
        f"warning: f.gin:5: Plaything.size {NEXT} Toy.size",
    ]


def test_the_later_of_both_spellings_holds() -> None:
    for text, size in (("Toy.size = 1\nToy.amount = 2\n", 2), ("Toy.amount = 2\nToy.size = 1\n", 1)):
        assert load_text(text, "f.gin", registry()).build("Toy") == Toy(size)


def test_a_saved_text_with_old_names_is_the_same_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    now = load((), ["Toy.size=4", "Run.run_dir=d", "Run.main=@Toy()"], registry())
    saved = now.resolved(("Toy", "Run"))
    assert now.diff(saved) == []
    old = saved.replace("Toy.size", "Plaything.amount").replace("@Toy()", "@Plaything()")
    assert old != saved and now.diff(old) == []
    assert now.diff(old.replace("amount = 4", "amount = 3")) == ["Toy.size: saved 3, now 4"]
    assert now.values_beside(old, ("Toy",))["Toy.size"] == ("4", "4")
    assert capsys.readouterr().err == ""
    assert load_text(old, "config.gin", registry()).build("Run") == Run("d", main=Toy(4))


def test_mistakes_are_told_by_the_new_names() -> None:
    with pytest.raises(UserError, match=r"^f\.gin:1: Toy\.size: .*int"):
        load_text("Plaything.amount = 'x'\n", "f.gin", registry())
    with pytest.raises(UserError, match="Toy has no parameter 'amuont'"):
        load_text("Plaything.amuont = 1\n", "f.gin", registry())


def test_a_macro_may_have_an_old_name() -> None:
    statements = read_text("Plaything = 3\nToy.size = %Plaything\n", "f.gin", None)
    said: list[str] = []
    assert renamed(statements, registry(), said.append) == statements
    assert said == []


def test_old_names_are_not_listed() -> None:
    known = registry()
    assert known.names() == plain_registry().names() and "Plaything" not in known


@pytest.mark.parametrize(
    "aliases", [{"Run": "Toy"}, {"Plaything": "Run"}, {"Plaything": "Toy.size"}, {"Toy.old": "Toy"}]
)
def test_what_cannot_be_an_alias(aliases: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"in use|must both be"):
        registry().deprecate(aliases)
