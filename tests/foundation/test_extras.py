"""A package that is not installed is one line with the extra that brings it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.commands import Command
from iml_jax.foundation import extras

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_table_is_that_of_pyproject() -> None:
    lists = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, modules in extras.EXTRAS.items():
        named = {re.split(r"[<>=]", line)[0].replace("-", "_") for line in lists[extra]}
        assert named == set(modules)


@pytest.mark.parametrize("module", [module for modules in extras.EXTRAS.values() for module in modules])
def test_any_command_names_the_extra(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    def load(self: Command) -> None:
        __import__(module)

    monkeypatch.setattr(Command, "load", load)
    assert cli.main(["tasks"]) == 2
    extra = next(extra for extra, modules in extras.EXTRAS.items() if module in modules)
    assert capsys.readouterr().err == (
        f"iml: error: this needs the Python package {module}, which is not installed: "
        f"pip install 'iml_jax[{extra}]'\n"
    )


def test_a_module_of_our_own_that_is_missing_is_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Command, "load", lambda self: __import__("iml_jax.nothing"))
    assert cli.main(["tasks"]) == 1
    assert "this is a bug in iml_jax" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["apache_beam", "seqio", "tensorflow"])
def test_prepare_without_its_extra_says_so_before_any_work(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    words = ["--gin.Mixture.name=m", "--gin.Mixture.sources=(@Miniature(),)", "--gin.Vocabulary.size=300"]
    words += [f"--gin.Miniature.directory='{tmp_path / 'mini'}'"]
    words += [f"--gin.Prepare.output_dir='{tmp_path / 'out'}'"]
    assert cli.main(["prepare", *words]) == 2
    assert capsys.readouterr().err == (
        f"iml: error: iml prepare needs {module}, which is not installed: pip install 'iml_jax[prepare]'\n"
    )
    assert not list(tmp_path.iterdir())
