"""A task counts as prepared only when its note and every shard are whole."""

from __future__ import annotations

import pytest

from iml_jax.bench import cache_folders
from iml_jax.data.manifest import FileEntry, SplitEntry
from iml_jax.foundation.errors import Fault, UserError

NAME = "b:t:zero_shot"


@pytest.fixture
def prepared(tmp_path):
    folder = cache_folders.task_folder(tmp_path, NAME)
    folder.mkdir(parents=True)
    (folder / "shard").write_bytes(b"1234")
    entry = SplitEntry((FileEntry("shard", 1, 4, "x"),), 1, 9, 3, 0, {"odd": 1})
    cache_folders.write(folder, "key", {"train": entry})
    return tmp_path


def test_read_back(prepared):
    content = cache_folders.read(prepared, NAME, "key")["train"]
    assert content.files[0].path == "cache/b/t/zero_shot/shard"
    assert content.dropped == {"odd": 1}


def test_anything_amiss_is_prepared_again(prepared):
    folder = cache_folders.task_folder(prepared, NAME)
    note = (folder / "prepared.json").read_text()
    assert cache_folders.read(prepared, NAME, "other key") is None
    assert cache_folders.read(prepared, "b:u:zero_shot", "key") is None
    for damage in (
        "",
        "[]",
        "null",
        note[:-20],
        note.replace('"bytes"', '"size"'),
        note.replace("splits", "x"),
    ):
        (folder / "prepared.json").write_text(damage)
        assert cache_folders.read(prepared, NAME, "key") is None
    (folder / "prepared.json").write_text(note)
    (folder / "shard").write_bytes(b"123")
    assert cache_folders.read(prepared, NAME, "key") is None
    (folder / "shard").unlink()
    assert cache_folders.read(prepared, NAME, "key") is None


def test_start_clears_leftovers_and_keeps_finished(prepared):
    leftover = prepared / "cache/b/t/.zero_shot.123.tmp"
    leftover.mkdir()
    (leftover / "half").write_text("x")
    cache_folders.start(prepared)
    assert not leftover.exists()
    assert cache_folders.read(prepared, NAME, "key") is not None


@pytest.mark.parametrize(("error", "kind"), [(UserError("a:1: bad"), UserError), (Fault("full"), Fault)])
def test_failures_travel(tmp_path, error, kind):
    cache_folders.start(tmp_path)
    for name, outcome in (("b", error), ("a", None), ("c", Fault("other"))):
        cache_folders.note(tmp_path, name, outcome)
    assert cache_folders.noted(tmp_path) == 3
    with pytest.raises(kind, match=f"{error} \\(and 1 more task failed\\)"):
        cache_folders.finish(tmp_path, 3)
    assert list(tmp_path.glob(".job")) == []
