"""Values that a question names, on cases worked by hand and against a search without the quick test."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench.sources.unifiedskg.values import matches, similarity


@pytest.mark.parametrize(
    ("question", "values", "column", "expected"),
    [
        ("How many singers come from France?", ["France", "Spain"], "Country", ["France"]),
        (
            "how many are from the united states",
            ["United States", "United Kingdom"],
            "Country",
            ["United States"],
        ),
        # A letter more than the value is near enough, but not for names.
        ("Which frances are there?", ["France"], "Country", ["France"]),
        ("Which frances are there?", ["France"], "first_name", []),
        # Only whole words: "art" begins inside a word, "Franc" goes on for more than two letters.
        ("Who starts?", ["art"], "kind", []),
        ("Who likes Francophones?", ["Franco"], "kind", []),
        # Two more letters may follow, three not, however alike the whole.
        ("Which germanic tribes?", ["German"], "kind", ["German"]),
        ("Which norwegianiss tribes?", ["Norwegian"], "kind", []),
        # The run is nine of thirteen letters, the rest of the likeness lies behind it.
        ("internatil?", ["International"], "kind", ["International"]),
        # Numbers, "id" and stop words say nothing; common words only where the whole value is there.
        ("Who is 42 years old?", ["42", "4,2"], "age", []),
        ("What is the id of the one?", ["id", "the", "The"], "kind", []),
        ("Is it yes or no?", ["yes", "yess"], "kind", ["yes"]),
        # Abbreviations must be there as they are.
        ("Flights to JFKs", ["JFK"], "code", []),
        ("Flights to JFK", ["JFK"], "code", ["JFK"]),
        # The two best, exact ones first, longer ones before shorter.
        (
            "Is Ford or Nissan or Volvo better, or Fords?",
            ["Ford", "Nissan", "Volvo"],
            "maker",
            ["Nissan", "Volvo"],
        ),
        ("", ["a"], "x", []),
        ("anything", ["", " "], "x", []),
    ],
)
def test_by_hand(question: str, values: list[str], column: str, expected: list[str]) -> None:
    assert matches(question, values, column) == expected


def _longest_common(one: str, other: str) -> int:
    @functools.cache
    def best(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return 0
        if one[i] == other[j]:
            return 1 + best(i + 1, j + 1)
        return max(best(i + 1, j), best(i, j + 1))

    return best(0, 0)


@settings(deadline=None)
@given(st.text("abc ", max_size=9), st.text("abc ", max_size=9))
def test_similarity_against_its_definition(one: str, other: str) -> None:
    total = len(one) + len(other)
    expected = 2 * _longest_common(one, other) / total if total else 1.0
    assert similarity(one, other) == pytest.approx(expected)


_WORDS = st.sampled_from(
    ["ann", "anna", "bob's", "york", "new york", "JFK", "yes", "the", "x", "paris,", "(oslo)"]
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(_WORDS, max_size=6).map(" ".join), st.lists(st.one_of(_WORDS, st.text("anbory' ", max_size=8)))
)
def test_the_quick_test_turns_away_nothing_that_matches(question: str, values: list[str]) -> None:
    quick = matches(question, values, "place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{matches.__module__}._may_match", lambda value, question: bool(value))
        assert quick == matches(question, values, "place")
