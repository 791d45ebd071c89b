"""Folders as people have them: sorted, without hidden and companion files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries, walk

ODD = (".a", "._b.json", ".DS_Store", "Thumbs.db", "desktop.ini")


def test_listing_and_walking_pass_over_companions(tmp_path: Path) -> None:
    for folder in ("b", "a/deep", "__MACOSX", ".git", "a/.x"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("z.json", "y.json", *ODD):
            (tmp_path / folder / name).touch()
    assert [path.name for path in entries(tmp_path)] == ["a", "b"]
    assert [path.name for path in entries(tmp_path / "b")] == ["y.json", "z.json"]
    found = [(place.relative_to(tmp_path).as_posix(), names) for place, _, names in walk(tmp_path)]
    both = ["y.json", "z.json"]
    assert found == [(".", []), ("a", []), ("a/deep", both), ("b", both)]


def test_a_hidden_folder_is_listed_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "a").touch()
    assert entries(tmp_path / ".data") == [tmp_path / ".data" / "a"]
    assert list(walk(tmp_path / ".data")) == [(tmp_path / ".data", [], ["a"])]


def test_links_that_lead_upwards_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "a")
    assert [place.name for place, _, _ in walk(tmp_path, follow_links=True)] == [tmp_path.name, "a"]
    assert [place.name for place, _, _ in walk(tmp_path)] == [tmp_path.name, "a"]


def test_names_that_are_not_utf8_and_what_is_no_folder(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (tmp_path / odd).touch()
    assert [path.name for path in entries(tmp_path)] == [odd]
    for wrong in (tmp_path / odd, tmp_path / "absent"):
        with pytest.raises(UserError, match="cannot be listed"):
            entries(wrong)
        assert list(walk(wrong)) == []


def test_a_directory_with_the_name_of_a_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inner" / "train.jsonl.gz").mkdir(parents=True)
    (tmp_path / "v1.0.json_files").mkdir()
    for listing in (lambda: entries(tmp_path / "inner"), lambda: list(walk(tmp_path))):
        with pytest.raises(UserError, match=r"train\.jsonl\.gz: has the name of a data file and is not one"):
            listing()
    assert [path.name for path in entries(tmp_path)] == ["inner", "v1.0.json_files"]


def test_a_fifo_with_the_name_of_a_data_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.jsonl")
    with pytest.raises(UserError, match=r"train\.jsonl: has the name of a data file and is not one"):
        entries(tmp_path)


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    assert [path.name for path in entries(tmp_path)] == ["round"]
    (tmp_path / "a.json").symlink_to("a.json")
    with pytest.raises(UserError, match=r"a\.json: has the name of a data file and is not one"):
        entries(tmp_path)
