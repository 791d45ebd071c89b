"""A FIFO, device, directory or broken link in the place of any file of any source: one line, and no hang."""

from __future__ import annotations

import collections
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.source_bases import BASES, build
from support.source_bases_suites import SUITES
from support.source_reading import REFUSED, read_all

from iml_jax.bench.sources.flan.collected_rows import is_collected
from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.formats.arrow_folders import arrow_rows, parquet_features
from iml_jax.bench.sources.formats.rows import located_rows
from iml_jax.bench.sources.formats.tfds_folders import versions
from iml_jax.bench.sources.promptsource.p3_rows import find as find_p3
from iml_jax.bench.sources.unifiedskg.databases import Databases
from iml_jax.foundation.errors import UserError

EVERY = {**BASES, **SUITES}
KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a broken link": lambda path: path.symlink_to("nowhere"),
}
FOLDERS = (".dev", ".de", ".en", "")  # a folder may have such a name
_HANG = 60  # seconds for one file: a guard, not a measure


@pytest.mark.parametrize("name", EVERY)
def test_one_line_each(name: str, tmp_path: Path) -> None:
    """Every file as a FIFO, and as one of the others, drawn: refused, or optional and counted as unused."""
    source, files = build(name, tmp_path, EVERY)
    draws = np.random.default_rng()

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {_HANG} s")

    before = signal.signal(signal.SIGALRM, stop)
    passed = []
    try:
        for path in files:
            kinds = [kind for kind in list(KINDS)[1:] if kind != "a folder" or path.suffix not in FOLDERS]
            for kind in ("a FIFO", draws.choice(kinds)):
                content = path.read_bytes()
                path.unlink()
                KINDS[kind](path)
                signal.alarm(_HANG)
                skipped: collections.Counter[str] = collections.Counter()
                told = read_all(source, tmp_path, path, strict=False, skipped=skipped) == REFUSED or any(
                    side_files.UNUSED in reason and str(path) in reason for reason in skipped
                )
                if not told:
                    passed.append((str(path.relative_to(tmp_path)), kind))
                signal.alarm(0)
                path.rmdir() if kind == "a folder" else path.unlink()
                path.write_bytes(content)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert passed == [], "\n".join(map(str, passed))


LIBRARIES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "Parquet": ("a.parquet", lambda path: list(located_rows(path))),
    "Parquet of a collection": ("a.parquet", is_collected),
    "Parquet's schema": ("a.parquet", parquet_features),
    "Arrow": ("a.arrow", lambda path: list(arrow_rows(path))),
    "SQLite": ("pets.sqlite", lambda path: Databases((path,), values=True).schema("pets")),
    "TFRecord": ("d_t/train.tfrecord-00000-of-00001", lambda path: find_p3(path.parents[1])),
    "TFDS": ("d/1.0.0/features.json", lambda path: versions(path.parents[1])),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_that_open_paths_themselves(library: str, kind: str, tmp_path: Path) -> None:
    name, read = LIBRARIES[library]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if library == "TFDS":
        (path.parent / "dataset_info.json").write_text("{}")
    KINDS[kind](path)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1
    said = ("not a regular file", "cannot be read", "has the name of a data file and is not one")
    assert any(words in str(caught.value) for words in said)
