from __future__ import annotations

import pytest

from iml_jax.config import files
from iml_jax.foundation.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refuse(name: str) -> str:
    with pytest.raises(UserError) as caught:
        files.read(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["models/opt_125m.gin", "gin/models/opt_125m.gin"])
def test_shipped_files_are_found_from_any_directory(here, name):
    assert files.find(name).samefile(files.gin_folders()[0] / "models/opt_125m.gin")


def test_the_current_directory_comes_first(here):
    (here / "models").mkdir()
    (here / "models/opt_125m.gin").write_text("Model.hidden = 1\n")
    assert [s.value for s in files.read("models/opt_125m.gin")] == [1]


def test_absolute_and_home_paths(here, monkeypatch):
    file = here / "x.gin"
    file.write_text("a.b = 1\n")
    monkeypatch.setenv("HOME", str(here))
    assert files.find(str(file)) == file
    assert files.find("~/x.gin") == file


def test_includes_are_read_in_place_beside_their_file_first(here):
    (here / "sub").mkdir()
    (here / "sub/main.gin").write_text("a.b = 1\ninclude 'part.gin'\na.b = 3\n")
    (here / "sub/part.gin").write_text("a.b = 2\n")
    (here / "part.gin").write_text("a.b = 'not this one'\n")
    assert [(s.value, s.where) for s in files.read("sub/main.gin")] == [
        (1, "sub/main.gin:1"),
        (2, "sub/part.gin:1"),
        (3, "sub/main.gin:3"),
    ]


def test_include_of_a_shipped_file(here):
    (here / "mine.gin").write_text("include 'models/opt_125m.gin'\n")
    assert any(s.name == "Model" and s.field == "hidden" and s.value == 768 for s in files.read("mine.gin"))


def test_the_same_file_may_be_included_twice_but_not_by_itself(here):
    (here / "leaf.gin").write_text("a.b = 1\n")
    (here / "twice.gin").write_text("include 'leaf.gin'\ninclude 'leaf.gin'\n")
    assert len(files.read("twice.gin")) == 2
    (here / "one.gin").write_text("include 'two.gin'\n")
    (here / "two.gin").write_text("\ninclude './one.gin'\n")
    assert refuse("one.gin") == "two.gin:2: the includes go in a circle: one.gin -> two.gin -> one.gin"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("models/opt_12m.gin", "did you mean"),
        ("gin/models/opt_125.gin", '"models/opt_125m.gin"'),
        ("opt_66b.gin", '"models/opt_66b.gin"'),
        ("mime.gin", '"mine.gin"'),
        ("nothing like it", "no gin file 'nothing like it'"),
        ("a\0b", "no gin file"),
        ("a" * 5000, "no gin file"),
        ("", "no gin file"),
    ],
)
def test_missing_file_names_the_nearest(here, name, advice):
    (here / "mine.gin").write_text("")
    assert advice in refuse(name)


def test_missing_include_names_the_line(here):
    (here / "mine.gin").write_text("\n\ninclude 'models/opt_126m.gin'\n")
    message = refuse("mine.gin")
    assert message.startswith("mine.gin:3: no gin file 'models/opt_126m.gin'")
    assert "did you mean" in message


def test_a_directory_is_no_gin_file(here):
    (here / "folder.gin").mkdir()
    assert "no gin file 'folder.gin'" in refuse("folder.gin")
