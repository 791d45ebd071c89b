from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_dummies import Folder, Pair, Run, Toy, registry

from iml_jax.config import load_text
from iml_jax.config.rendering import render, shown_default

TEXT = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["'", '"', "'\"", "a\nb", "\\", "\\n", "\r", "\u2028", "日本", "#", "%x", "@Toy()", "\x00", ""]
)
FLOATS = st.floats(allow_nan=False)
INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)  # what gin takes
TOYS = st.builds(Toy, size=INTEGERS, name=TEXT, rate=FLOATS, seed=INTEGERS)
FOLDERS = st.builds(
    Folder, path=TEXT.filter(lambda t: "\0" not in t).map(Path), splits=st.lists(TEXT, max_size=2).map(tuple)
)
RUNS = st.builds(
    Run,
    run_dir=TEXT,
    steps=INTEGERS,
    rate=FLOATS,
    resume=st.booleans(),
    mode=st.sampled_from(["fast", "careful"]),
    policy=st.sampled_from(["none", "full"]),
    limit=st.none() | INTEGERS,
    shares=st.dictionaries(TEXT, FLOATS, max_size=3),
    pair=st.tuples(INTEGERS, TEXT),
    sizes=st.lists(INTEGERS, max_size=3),
    sources=st.lists(TOYS | FOLDERS | st.builds(Pair, TOYS, TOYS), max_size=3).map(tuple),
    main=st.none() | TOYS,
    extra=st.none() | TEXT | st.lists(TEXT, max_size=2) | TOYS | st.lists(TOYS, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(RUNS, TOYS)
def test_every_value_reads_back_equal(run, toy):
    known = registry()
    text = render({"Run": run, "Toy": toy}, known)
    config = load_text(text, registry=known)
    assert config.build("Run") == run and config.build("Toy") == toy
    assert config.resolved(("Run", "Toy")) == text


def test_alike_sources_are_written_once_and_unlike_ones_under_scopes():
    known = registry()
    alike = render({"Run": Run("d", sources=(Toy(), Toy()))}, known)
    assert "Run.sources = (@Toy(), @Toy())" in alike and alike.count("Toy.size = 3") == 1
    unlike = render({"Run": Run("d", sources=(Toy(), Toy(size=4)))}, known)
    assert "Run.sources = (@Run_sources_0/Toy(), @Run_sources_1/Toy())" in unlike
    assert "Run_sources_1/Toy.size = 4" in unlike


def test_every_field_is_written():
    text = render({"Toy": Toy()}, registry())
    assert text == "Toy.size = 3\nToy.name = 'toy'\nToy.rate = 0.5\nToy.seed = 0\n"


def test_a_value_without_a_literal_is_refused():
    with pytest.raises(TypeError, match="no gin literal"):
        render({"Run": Run("d", extra=object())}, registry())


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Toy(), "@Toy()"), ((Toy(),), "(@Toy(),)"), ([1, 2], "[1, 2]"), ("a", "'a'"), ((), "()")],
)
def test_shown_default(value, expected):
    assert shown_default(value, registry()) == expected
