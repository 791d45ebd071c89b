"""What a path means, however it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.storage import paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_the_tilde_is_the_home_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.expand("~/run") == f"{home}/run"
    assert paths.absolute("~") == home
    assert paths.argument("~/run") == f"{home}/run"
    assert paths.expand("a/~/b") == "a/~/b"
    assert paths.expand("./~") == "./~"
    with pytest.raises(UserError, match=r"~nobody_of_this_name/x: no such home .* \./~nobody_of_this_name/x"):
        paths.absolute("~nobody_of_this_name/x")


def test_a_path_without_dots_means_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way through a tree with symbolic links leads where the operating system goes."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "near").symlink_to("a")
    monkeypatch.chdir(tmp_path / "d")
    for given in (
        *(
            ".",
            "..",
            "link",
            "link/..",
            "link/../..",
            "link/c/..",
            "link/c/../..",
            "../near/b/../b",
            "../near/..",
        ),
        *("../d/./link/../b/c", "../../" + tmp_path.name + "/d", f"{tmp_path}/near/b/../../d/link"),
    ):
        found = paths.absolute(given)
        assert found.is_absolute() and ".." not in found.parts and found.samefile(given), given
    # A link that is not left by ".." keeps its name: it may point elsewhere tomorrow.
    assert paths.absolute("link/c") == tmp_path / "d" / "link" / "c"
    assert paths.absolute("new/../other/run") == tmp_path / "d" / "other" / "run"
    assert paths.absolute("/../x") == Path("/x")


def test_a_removed_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert paths.absolute(str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match="working directory is gone"):
        paths.absolute("run")


def test_what_an_argument_may_be() -> None:
    assert paths.argument("") == ""
    for required in (paths.argument, paths.required_argument):
        assert required("run/../x") == "run/../x"
        for bucket in ("gs://b/run", "s3://b", "gs:/b"):
            with pytest.raises(UserError, match=f"{bucket}: .*is no folder; mount the bucket"):
                required(bucket)
    with pytest.raises(UserError, match="empty path"):
        paths.required_argument("")
    assert os.fspath(paths.absolute(Path("x"))) == f"{Path.cwd()}/x"
