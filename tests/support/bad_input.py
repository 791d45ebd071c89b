"""How bad input is tried: a command that must fail, and what must not have changed afterwards."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iml_jax import cli

MISTAKE, FAULT = 2, 1
Snapshot = dict[str, bytes]


def snapshot(folder: Path) -> Snapshot:
    """Every file and folder below ``folder``; a file's content, a folder's is empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``refused(status, *argv, tells=words, may_leave=names) -> line``: runs a command that must fail.

    It must do so with this status and one line on stderr that holds each of ``tells``, and change
    nothing below ``tmp_path`` except paths that start with one of ``may_leave``. ``progress``: what
    lines of a training before its failure start with.
    """

    def run(
        status: int,
        *argv: str | Path,
        tells: tuple[str, ...],
        may_leave: tuple[str, ...] = (),
        progress: tuple[str, ...] = (),
    ) -> str:
        before = snapshot(tmp_path)
        capfd.readouterr()
        found = cli.main([str(word) for word in argv])
        err = capfd.readouterr().err
        lines = [line for line in err.splitlines() if not (progress and line.startswith(progress))]
        assert len(lines) == 1, err
        kind = "error" if status == MISTAKE else "fault"
        assert lines[0].startswith(f"iml: {kind}: "), err
        assert found == status, err
        for word in tells:
            assert word in lines[0], lines[0]
        after = snapshot(tmp_path)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert not {name for name in changed if not name.startswith(may_leave or "\0")}
        return lines[0]

    return run


def replacing(old: str, new: str) -> Callable[[Path], None]:
    """Spoils a file: ``old`` in it becomes ``new``."""

    def spoil(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1,200 kB: room for two checkpoints."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "small"
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=1200k"):
        pytest.skip(f"cannot mount a small file system (errno {ctypes.get_errno()}); needs root")
    yield folder
    assert libc.umount2(str(folder).encode(), 2) == 0
