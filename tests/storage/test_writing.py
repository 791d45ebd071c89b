"""A place that cannot be written is found before the work, and the check leaves nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import writing
from iml_jax.storage.writing import check_writable, write_atomically


def test_nothing_is_left_and_nothing_touched(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    write_atomically(there, "old")
    for path in (there, tmp_path / "new.json", tmp_path / "a" / "b" / "c.json"):
        check_writable(path, "give another")
    assert [file.name for file in tmp_path.iterdir()] == ["there.json"]
    assert there.read_text() == "old"


def test_what_cannot_be_written_is_a_line_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, said in (
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "x.json", "Not a directory"),
        (tmp_path / "file" / "deeper" / "x.json", "Not a directory"),
        (tmp_path / ("x" * 250), "File name too long"),  # the temporary name is longer
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "loop" / "x.json", "Too many levels"),
        (Path("/proc/x.json"), "No such file"),
        (Path("a\0b"), "null byte"),
    ):
        with pytest.raises(UserError, match=rf"cannot be written \(.*{said}.*\); give another"):
            check_writable(path, "give another")


def test_rights_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, whom no right stops, so the answers of the system are made up."""
    for number, kind in ((errno.EACCES, UserError), (errno.EROFS, UserError), (errno.ENOSPC, Fault)):

        def refuse(self: Path, data: bytes, number: int = number) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(writing.Path, "write_bytes", refuse)
            with pytest.raises(kind, match=os.strerror(number)):
                check_writable(tmp_path / "x", "give another")
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    for content in ("Ünicode", b"\xff"):
        write_atomically(file, content)
        assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    with pytest.raises(KeyError), writing.atomic_file(file) as stream:
        stream.write(b"half")
        raise KeyError
    assert file.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [file]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with writing.atomic_file(file) as first, writing.atomic_file(file) as second:
        first.write(b"first")
        second.write(b"second")
    assert file.read_bytes() == b"first"  # its block ended last
    assert list(tmp_path.iterdir()) == [file]


def test_only_write_atomically_makes_directories(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing.atomic_file(tmp_path / "gone" / "a"):
        pass
    assert list(tmp_path.iterdir()) == []
    write_atomically(tmp_path / "new" / "a", "text")
    assert (tmp_path / "new" / "a").read_text() == "text"


def test_copy_and_delete(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"older")
    writing.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        writing.copy(tmp_path / "missing", tmp_path / "b")
    writing.delete(tmp_path / "a")
    writing.delete(tmp_path / "a")  # missing: nothing to do
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]
