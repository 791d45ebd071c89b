"""Numbers as they are written: every order of sign, currency, per cent, parentheses and emphasis."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.evaluation.metrics import corpus_metrics
from iml_jax.evaluation.metrics.numbers import plain_number

MINUS = ["-", "\u2212", "\u2013", "\u2012", "\u2014", "\u2010", "\u2011", "\uff0d", "\ufe63"]


@pytest.mark.parametrize("minus", ["", "+", *MINUS])
@pytest.mark.parametrize("currency", ["$", "€", "£", "¥", "₹", "＄", "US$", "USD ", "Rs. "])
def test_every_order_of_what_stands_before(minus: str, currency: str) -> None:
    expected = "-1200.5" if minus and minus != "+" else "1200.5"
    for order in itertools.permutations(["**", minus, currency, " "]):
        for behind in ("", ".", "**", "**.", ".**", " %", "%.**", " **%**"):
            text = "".join(order) + "1,200.50" + behind
            assert plain_number(text) == expected, text
            assert corpus_metrics.final_answer(f"So. The answer is {text}") == expected, text


@pytest.mark.parametrize("before", list(itertools.permutations(["(", "$", "*"])))
@pytest.mark.parametrize("after", list(itertools.permutations([")", "%", "*", "."])))
def test_parentheses_are_a_minus_whatever_stands_around(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    assert plain_number("".join(before) + "5" + "".join(after)) == "-5"
    assert plain_number("".join(before) + "-5" + "".join(after)) == "-5"  # one minus, not two
    assert plain_number("".join(before) + "+5" + "".join(after)) == "5"


@pytest.mark.parametrize("after", list(itertools.permutations(["%", " €", "_", "."])))
def test_every_order_of_what_stands_behind(after: tuple[str, ...]) -> None:
    assert plain_number("\u221250" + "".join(after)) == "-50"


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
    st.permutations(["sign", "$", "**", " "]),
    st.sampled_from([",", " ", "\u00a0", "\u202f", "'", "\u2019", ""]),
    st.sampled_from(MINUS),
)
@settings(max_examples=300, deadline=None, database=None)
def test_any_value_is_read_back(value: Decimal, order: list[str], group: str, minus: str) -> None:
    digits = format(abs(value), ",.3f").replace(",", group)
    before = "".join((minus if value < 0 else "") if part == "sign" else part for part in order)
    found = plain_number(f"{before}{digits}**")
    assert found is not None and Decimal(found) == value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-$5", "-5"),
        ("$ - 5", "-5"),
        ("-($5)", "-5"),
        ("($1,200.00).", "-1200"),
        ("5)", "5"),
        (".50", "0.5"),
        ("-.5", "-0.5"),
        ("Rs.500", "500"),
        ("5.", "5"),
        ("007", "7"),
        ("-0.00", "0"),
        ("$-5$", "-5"),
        ("\\$5", "5"),
        ("50\\%", "50"),
        ("1,20,000", "120000"),
        ("１，２００％", "1200"),
        ("\u0663\u066b\u0665", "3.5"),
        ("1" * 40, "1" * 40),
        ("1" * 39 + "2", "1" * 39 + "2"),  # not the same as the one before, to 28 digits
        # what is no plain number stays a text
        ("", None),
        (".", None),
        ("-", None),
        ("$", None),
        ("--5", None),
        ("+-5", None),
        ("-(-5)", None),
        ("5-", None),
        ("5-10", None),
        ("3*4", None),
        ("1 2", None),
        ("1, 2", None),
        ("12 34", None),
        ("1.2.3", None),
        ("1/2", None),
        ("10\u00b2", None),
        ("1e5", None),
        ("72 apples", None),
        ("x5", None),
        ("#5", None),
        ("5!", None),
        ("1 200,50", None),
        ("A5", None),
        ("nan", None),
    ],
)
def test_what_is_a_number(text: str, number: str | None) -> None:
    assert plain_number(text) == number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**The answer is:** -$5.", "-5"),
        ("**The answer is 5.**", "5"),
        ("The answer is **yes**.", "yes"),
        ("The answer is `(C)`", "(c)"),
        ("the answer is 3*4", "3*4"),
        ("So the answer is \u22125.\nDone", "-5"),
    ],
)
def test_emphasis_in_final_answers(text: str, answer: str) -> None:
    assert corpus_metrics.final_answer(text) == answer
