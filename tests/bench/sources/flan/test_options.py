"""Options parsed from rendered prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iml_jax.bench.sources.flan.options import parse_options


@pytest.mark.parametrize(
    ("prompt", "target", "options"),
    [
        ("It rains.\n\nOPTIONS:\n- yes\n- no", "no", ("yes", "no")),
        ("OPTIONS:\n- yes\n- no\n\nIs it so?", "yes", ("yes", "no")),
        ("Choose your answer.\n-yes\n-no", "no", ()),
        ("Pick from:\n + It fell;\n + It flew;\nA:", "It flew", ("It fell", "It flew")),
        ("Q\nOptions are:\n[i] a\n[ii] b", "b", ("a", "b")),
        ("Q\nPossible answers:\n (A). one\n (B). two", "(B).", ("(A).", "(B).")),
        ("Q\nChoices:\n1). one\n2). two", "two", ("one", "two")),
        ("Q\nOPT:\n[+] one;\n[+] two;", "one", ("one", "two")),
        ("Q OPTIONS:\n* a\n* b\n* a", "b", ("a", "b")),
        # A demonstration's options, then the prompt's own.
        ("Q\nOPTIONS:\n- a\n- b\nA: a\n\nQ\nOPTIONS:\n- c\n- d\nA:", "d", ("c", "d")),
        # The target is none of the options, or there is but one, or it is a list of something else.
        ("OPTIONS:\n- yes\n- no", "perhaps", ()),
        ("OPTIONS:\n- yes", "yes", ()),
        ("OPTIONS:\n- yes\n- yes", "yes", ()),
        ("DIALOG:\n- hi\n- hello\n- ", "hi", ()),
        ("- yes\n- no", "yes", ()),
        ("Answer these:\n1. Who?\n2. When?", "Who?", ()),
        ("", "yes", ()),
    ],
)
def test_lists_of_options(prompt: str, target: str, options: tuple[str, ...]) -> None:
    assert parse_options(prompt, target) == options


OPTION = st.text("abc xyz.", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(OPTION, min_size=2, max_size=6, unique=True), st.data(), st.text("ab \n", max_size=20))
def test_flans_own_block_is_read_back(options: list[str], data: st.DataObject, rest: str) -> None:
    block = "OPTIONS:\n- " + "\n- ".join(options)
    right = data.draw(st.sampled_from(options))
    assert parse_options(f"Question?\n{block}\n{rest}", f" {right}\n") == tuple(options)
