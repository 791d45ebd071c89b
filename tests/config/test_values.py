from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_dummies import Base, Toy, registry

from iml_jax.config.statements import Reference, Unparsed, read_text
from iml_jax.config.values import MismatchError, accepts_text, convert, describe, literal

TYPE_OF = registry().type_of


def check(value: Any, hint: Any, choices: tuple[Any, ...] = ()) -> Any:
    return convert(value, hint, choices, TYPE_OF)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        ((1 << 64) - 1, int, (1 << 64) - 1),
        (3, float, 3.0),
        ("a", str, "a"),
        ("a/b", Path, Path("a/b")),
        (None, int | None, None),
        (3, float | int, 3),
        ("x", str | Path, "x"),
        ([1, 2], tuple[int, ...], (1, 2)),
        ((1, 2), list[int], [1, 2]),
        ((), tuple[int, ...], ()),
        ((1, "b"), tuple[int, str], (1, "b")),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ("full", Literal["none", "full"], "full"),
        (2, Annotated[int, "even"], 2),
        ({"a": [1, (True,)]}, Any, {"a": [1, (True,)]}),
        (Unparsed("/tmp/x"), str, "/tmp/x"),
        (Reference(None, "Toy"), Base, Reference(None, "Toy")),
        (Reference(None, "Toy"), Toy | None, Reference(None, "Toy")),
        ([Reference(None, "Toy")], tuple[Base, ...], (Reference(None, "Toy"),)),
    ],
)
def test_accepted(value, hint, expected):
    result = check(value, hint)
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "expected int, got True (bool)"),
        (1 << 64, int, "18446744073709551616 does not fit into 64 bits"),
        (-(1 << 63) - 1, int, "-9223372036854775809 does not fit into 64 bits"),
        ("\ud83d", str, "'\\ud83d' holds half of a surrogate pair, which is no text"),
        (("a", "\ud83d"), tuple[str, ...], "holds half of a surrogate pair"),
        ("a\udce9", Path, "holds half of a surrogate pair"),
        (False, float, "expected float, got False (bool)"),
        (1, bool, "expected bool, got 1 (int)"),
        ("true", bool, "expected bool, got 'true' (str); write True or False"),
        (1.0, int, "expected int, got 1.0 (float)"),
        (1, str, "expected str, got 1 (int)"),
        (b"x", str, "expected str, got b'x' (bytes)"),
        (1j, float, "expected float, got 1j (complex)"),
        (None, int, "expected int, got None"),
        (10**400, float, "too large for a float"),
        ("a", int | None, "expected int | None, got 'a' (str)"),
        (("a", 2), tuple[str, ...], "[1]: expected str, got 2 (int)"),
        ("a", tuple[str, ...], "a tuple of one needs a comma: ('a',)"),
        ({"a": 1}, tuple[str, ...], "expected tuple[str, ...], got {'a': 1} (dict)"),
        ((1,), tuple[int, str], "expected tuple[int, str], 2 values, got 1"),
        ({"a": "b"}, dict[str, float], "['a']: expected float, got 'b' (str)"),
        ({1: 1.0}, dict[str, float], "key: expected str, got 1 (int)"),
        ((("a",),), tuple[tuple[int, ...], ...], "[0]: [0]: expected int, got 'a' (str)"),
        ("ful", Literal["none", "full"], "expected 'none' | 'full', got 'ful'; did you mean \"full\"?"),
        (1, Path, "expected str (a path), got 1 (int)"),
        (Reference(None, "Run"), Base, "expected Base, got @Run()"),
        (Reference(None, "Toy"), tuple[Base, ...], "a tuple of one needs a comma: (@Toy(),)"),
        (Reference(None, "Toy", called=False), Base, "write @Toy()"),
        (Reference(None, "Toy"), int, "expected int, got @Toy()"),
    ],
)
def test_refused(value, hint, message):
    with pytest.raises(MismatchError) as caught:
        check(value, hint)
    assert message in str(caught.value)


def test_choices_hold_for_scalars_and_inside_tuples():
    assert check("a", str, ("a", "b")) == "a"
    assert check(("a", "b"), tuple[str, ...], ("a", "b")) == ("a", "b")
    assert check(None, str | None, ("a", "b")) is None
    for value, hint in (("c", str), (("a", "c"), tuple[str, ...]), ("c", str | None)):
        with pytest.raises(MismatchError, match=r"expected 'a' \| 'b', got 'c'"):
            check(value, hint, ("a", "b"))
    with pytest.raises(MismatchError):
        check(True, int, (1, 2))


def test_long_values_are_cut_in_messages():
    with pytest.raises(MismatchError) as caught:
        check("x" * 1000, int)
    assert len(str(caught.value)) < 120


def test_describe():
    assert describe(tuple[str, ...]) == "tuple[str, ...]"
    assert describe(dict[str, float | None]) == "dict[str, float | None]"
    assert describe(str, ("a",)) == "'a'"


@pytest.mark.parametrize(("hint", "expected"), [(str, True), (Path, True), (str | None, True), (int, False)])
def test_accepts_text(hint, expected):
    assert accepts_text(hint) is expected


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_literal_reads_back_by_gins_own_grammar(value):
    text = literal(value)
    assert "\n" not in text
    (statement,) = read_text(f"x = {text}", "t", None)
    assert statement.value == value and repr(statement.value) == repr(value)


def test_nan_has_no_literal():
    with pytest.raises(TypeError, match="nan"):
        literal(math.nan)
