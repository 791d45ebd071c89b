"""Hidden and companion files, and names that are not UTF-8, in the folders of every source."""

from __future__ import annotations

import collections
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.source_bases import BASES, build
from support.source_bases_suites import SUITES
from support.source_reading import read_all

from iml_jax.bench import unused_files
from iml_jax.bench.sources.base import Source

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x92\xa3"
EVERY = {**BASES, **SUITES}


def everything(source: Source) -> list[object]:
    """All that a source tells of its folder."""
    found = list(source.survey())
    told: list[object] = [found, list(source.tasks()), unused_files.of_source(source, found)]
    for task in source.tasks():
        skipped: collections.Counter[str] = collections.Counter()
        told += [
            source.templates(task),
            *(list(source.examples(task, split, skipped)) for split in task.splits),
        ]
        told.append(skipped)
    return told


@pytest.mark.parametrize("name", EVERY)
def test_hidden_and_companion_files_change_nothing(name: str, tmp_path: Path) -> None:
    source, files = build(name, tmp_path / "data", EVERY)
    before = everything(source)
    folders = {tmp_path / "data", *(path.parent for path in files)}
    for path in files:
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
        path.with_name(f".{path.name}.swp").write_bytes(path.read_bytes())
        for folder in ("__MACOSX", ".ipynb_checkpoints", ".git"):
            path.with_name(folder).mkdir(exist_ok=True)
            shutil.copy(path, path.with_name(folder) / path.name)
            (path.with_name(folder) / f"._{path.name}").write_bytes(APPLE_DOUBLE)
    for folder in folders:
        for odd in (".DS_Store", "Thumbs.db", "desktop.ini", "._", ".hidden.json", ".hidden.jsonl", ".x.csv"):
            (folder / odd).write_bytes(APPLE_DOUBLE)
        (folder / ".folder").mkdir()
        (folder / ".folder" / "train.jsonl").write_bytes(APPLE_DOUBLE)
    assert everything(source) == before


_ALL = pytest.mark.nightly(seconds=50, reason="every file of every source; the suite draws five of each")


@pytest.mark.parametrize("most", [5, pytest.param(10_000, marks=_ALL)])
@pytest.mark.parametrize("name", EVERY)
def test_names_that_are_not_utf8(name: str, most: int, tmp_path: Path) -> None:
    """Files and folders, each once under such a name: read, refused or passed over, and nothing escapes."""
    source, files = build(name, tmp_path / "data", EVERY)
    if len(files) > most:
        files = [files[number] for number in np.random.default_rng().choice(len(files), most, replace=False)]
    for path in files:
        odd = os.fsdecode(b"caf\xe9_") + path.name
        shutil.copy(path, path.with_name(odd))
        read_all(source, tmp_path)
        "\n".join(
            unused_files.lines(
                {name: unused_files.of_source(source, source.survey() if _lists(source) else ())}
            )
        )
        path.with_name(odd).unlink()
        if path.parent != tmp_path / "data":
            shutil.copytree(path.parent, path.parent.with_name(os.fsdecode(b"\xe9t\xe9")))
            read_all(source, tmp_path)
            shutil.rmtree(path.parent.with_name(os.fsdecode(b"\xe9t\xe9")))


def _lists(source: Source) -> bool:
    try:
        list(source.survey())
    except Exception:  # read_all has looked at it
        return False
    return True
