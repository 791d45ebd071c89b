"""A directory is written into if it is new, empty or marked; what precedes the marker is no stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.storage import ownership, writing


def check(folder: Path) -> None:
    ownership.check_own(folder, "run", "Train.run_dir")


def test_missing_empty_and_marked(tmp_path: Path) -> None:
    check(tmp_path / "missing")
    check(tmp_path)
    ownership.claim(tmp_path / "run", "run")
    (tmp_path / "run" / "anything").touch()
    check(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"is a run, not a prepared directory; choose another Prepare\.output_dir"
    ):
        ownership.check_own(tmp_path / "run", "prepared directory", "Prepare.output_dir")


@pytest.mark.parametrize("name", ["notes.txt", ".notes", ".notes.tmp", "config.gin.1.tmp", "lease"])
def test_somebody_elses(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"is not empty and not a run of iml_jax \(it holds"):
        check(tmp_path)


def test_what_another_host_writes_before_the_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by two hosts: one looked while the other tried whether it can write."""
    looked = []

    def look(file: Path, *rest: object) -> int:
        looked.append(file.name)
        check(tmp_path)
        return 0

    (tmp_path / ".training.lease").touch()
    monkeypatch.setattr(Path, "write_bytes", look)
    writing.check_writable(tmp_path / "config.gin", "choose another")
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda file, to: (look(file), replace(file, to))[1])
    ownership.claim(tmp_path, "run")
    assert [name.rpartition(".")[2] for name in looked] == ["tmp", "tmp"]
    with pytest.raises(RuntimeError), ownership.claimed(tmp_path / "other", "run"):
        raise RuntimeError
    assert not list((tmp_path / "other").iterdir())
