"""Directories that replace others, and the temporary ones."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from iml_jax.foundation.errors import Fault
from iml_jax.storage import lease, local


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> text of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def directory(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


@pytest.mark.parametrize("before", [None, {}, {"b": "old", "c": "old"}])
def test_a_directory_replaces_what_was_there(tmp_path: Path, before: dict[str, str] | None) -> None:
    made = directory(tmp_path / ".a.tmp", b="new")
    if before is not None:
        directory(tmp_path / "a", **before)
    local.replace_directory(made, tmp_path / "a")
    assert tree(tmp_path) == {"a/b": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_is_not_replaced_by_a_directory(tmp_path: Path) -> None:
    made = directory(tmp_path / ".a.tmp", b="new")
    (tmp_path / "a").write_text("a file")
    with pytest.raises(NotADirectoryError):
        local.replace_directory(made, tmp_path / "a")
    assert tree(tmp_path) == {"a": "a file", ".a.tmp/b": "new"}


def test_replacing_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a"
    directory(tmp_path / f".a.{'0' * 32}.tmp", left="by a killed process")
    directory(tmp_path / f".a.{'0' * 32}.tmp.old.tmp", left="by a killed process")
    directory(tmp_path / ".a.mine.tmp", kept="not ours")
    with lease.hold(tmp_path / ".a.lease", "a test") as held:
        with pytest.raises(RuntimeError), local.replacing_directory(target, held) as made:
            (made / "b").write_text("half")
            raise RuntimeError
        assert not target.exists() and not made.exists()
        with local.replacing_directory(target, held) as made:
            (made / "b").write_text("whole")
            assert not target.exists()
        with pytest.raises(OSError) as refused, local.replacing_directory(target, held) as made:
            (made / "b").write_text("second")
        assert refused.value.errno in (errno.ENOTEMPTY, errno.EEXIST)
        assert tree(target) == {"b": "whole"}
        with local.replacing_directory(target, held, nonempty=True) as made:
            (made / "c").write_text("third")
    assert tree(tmp_path) == {"a/c": "third", ".a.mine.tmp/kept": "not ours"}


def test_who_lost_the_lease_replaces_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".a.lease"
    with (
        pytest.raises(Fault, match=r"taken over|gone"),
        lease.hold(file, "a test") as held,
        local.replacing_directory(tmp_path / "a", held),
    ):
        file.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_renamed_within_its_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "a-of-1").write_text("old")
    assert local.rename_file(tmp_path / "a", "a-of-1") == tmp_path / "a-of-1"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a-of-1", "new")]


def test_set_aside_finds_a_free_name(tmp_path: Path) -> None:
    for number, name in enumerate(("5.refused", "5.refused1", "5.refused2")):
        assert local.set_aside(directory(tmp_path / "5", n=str(number))) == tmp_path / name
    assert tree(tmp_path) == {"5.refused/n": "0", "5.refused1/n": "1", "5.refused2/n": "2"}


def test_clear_keeps_the_directory_itself(tmp_path: Path) -> None:
    directory(directory(tmp_path / "a", b="1") / "c", d="2")
    local.clear_directory(tmp_path / "a")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
    local.remove_empty_directory(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_only_an_empty_directory_is_removed_as_such(tmp_path: Path) -> None:
    directory(tmp_path / "a", b="1")
    with pytest.raises(OSError):
        local.remove_empty_directory(tmp_path / "a")
    local.remove_tree(tmp_path / "a")
    local.remove_tree(tmp_path / "a")  # missing: nothing to do
    assert list(tmp_path.iterdir()) == []


def test_temporary_directory_is_private_and_goes(tmp_path: Path) -> None:
    with local.temporary_directory(tmp_path, ".work-") as folder:
        assert folder.parent == tmp_path and folder.name.startswith(".work-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "a").write_text("a")
    assert list(tmp_path.iterdir()) == []


def test_temporary_file_has_no_name(tmp_path: Path) -> None:
    with local.temporary_file(tmp_path) as file:
        file.write(b"text")
        file.seek(0)
        assert file.read() == b"text"
        assert list(tmp_path.iterdir()) == []


def test_rights_of_a_directory(tmp_path: Path) -> None:
    local.make_directory(tmp_path / "a" / "b", 0o700)
    local.make_directory(tmp_path / "a" / "b", 0o700)  # there already
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
