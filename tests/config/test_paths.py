"""Parameters that hold a path: all are marked, and are absolute once built."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from iml_jax import cli, config
from iml_jax.bench.sources import SOURCES
from iml_jax.commands import COMMANDS
from iml_jax.commands.registry import REGISTRY
from iml_jax.config import paths
from iml_jax.foundation.errors import UserError
from iml_jax.storage import paths as storage_paths

LOOKS_LIKE_A_PATH = re.compile(r"(^|_)(dir|directory|folder|checkpoint|files?|paths?|drop|table)$")
TEXTS_OF_SOURCES = {"proofwriter"}  # a part of a file's path, compared with what is found


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_path_is_marked(name: str) -> None:
    """A parameter named like a path has a path's type; of a source, every text is one or has choices."""
    for field in REGISTRY.fields(name).values():
        is_text = field.hint is str
        if name in SOURCES and is_text and not field.choices:
            assert field.name in TEXTS_OF_SOURCES, (
                f"{name}.{field.name}: which of iml_jax.config.paths is it?"
            )
        assert not (is_text and LOOKS_LIKE_A_PATH.search(field.name)), f"{name}.{field.name} is not marked"
        rule = paths.rule_of(field.hint)
        if rule:
            assert rule.from_working_directory == (name not in SOURCES)
            # What may be left out may be empty, and its line says what that means.
            assert rule.may_be_empty == (not field.required)


def test_the_check_sees_a_field_that_is_not_marked() -> None:
    for name in ("run_dir", "directory", "initial_checkpoint", "template_file", "file", "cache_path"):
        assert LOOKS_LIKE_A_PATH.search(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_of_the_command_line_is_marked(name: str) -> None:
    parser = cli._parser(COMMANDS[name], COMMANDS[name].load())
    for action in parser._actions:
        places = isinstance(action.metavar, str) and re.match(r"(FILE|DIR)\b|EVALUATION", action.metavar)
        if places or not action.option_strings:
            assert action.type in (storage_paths.argument, storage_paths.required_argument), action.dest
            assert isinstance(action, argparse.Action)


@dataclasses.dataclass(frozen=True)
class Places:
    """Dummy."""

    needed: paths.RequiredPath
    other: paths.OptionalPath = ""
    source: paths.OptionalSourcePath = ""


def build(*flags: str) -> Places:
    registry = config.Registry({"Places": Places})
    return config.load(flags=flags, registry=registry).build("Places")


def test_paths_are_absolute_once_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    found = build("Places.needed=../x/../run", "Places.other=~/y", "Places.source=data")
    assert found == Places(str(tmp_path.parent / "run"), f"{tmp_path}/home/y", "data")
    assert build("Places.needed=2026", "Places.source=~/z") == Places(
        str(tmp_path / "2026"), "", f"{tmp_path}/home/z"
    )
    registry = config.Registry({"Places": Places})
    loaded = config.load(flags=["Places.needed=run"], registry=registry)
    assert loaded.value("Places", "needed") == str(tmp_path / "run")
    text = loaded.resolved(["Places"])
    monkeypatch.chdir("/")
    assert config.load_text(text, registry=registry).build("Places").needed == str(tmp_path / "run")


def test_paths_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"--gin\.Places\.needed=.*: Places\.needed is empty; name a folder"):
        build("Places.needed=''")
    with pytest.raises(UserError, match=r"Places\.other: ~nobody_here/x: no such home directory"):
        build("Places.needed=a", "Places.other=~nobody_here/x")
    with pytest.raises(UserError, match=r"Places\.needed = gs://b/run: gs:// is no folder"):
        build("Places.needed=gs://b/run")
