"""Texts cut into documents: nothing but white space is lost, and no document is too long."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from iml_jax.bench.sources.corpora.documents import documents

WORDS = st.text(st.sampled_from("ab.! \n"), max_size=120)


def cut(text: str, size: int) -> list[str]:
    return [document for _, document in documents(enumerate(text.split("\n"), start=1), size)]


@given(text=WORDS, size=st.integers(1, 30))
@example(text=" " * 50 + "a" * 50, size=7)
@example(text="a" * 100, size=1)
def test_nothing_is_lost_and_nothing_is_too_long(text: str, size: int) -> None:
    made = cut(text, size)
    assert all(0 < len(document) <= size and document.strip() for document in made)
    assert "".join("".join(made).split()) == "".join(text.split())


def test_a_text_that_fits_is_one_document() -> None:
    text = "\n \n  Title\n\n\n a\nb \n\n"
    assert cut(text, 1000) == ["  Title\n\n\n a\nb"]
    assert cut("\n \n", 1000) == []


def test_paragraphs_stay_whole_where_they_fit() -> None:
    text = "one one\none\n\ntwo two\n\n\nthree\nthree\n"
    assert cut(text, 21) == ["one one\none\n\ntwo two", "three\nthree"]
    assert cut(text, 13) == ["one one\none", "two two", "three\nthree"]


def test_lines_then_sentences_then_words_then_anywhere() -> None:
    assert cut("aaaa\nbbbb\ncccc", 9) == ["aaaa\nbbbb", "cccc"]
    assert cut("Aa bb. Cc dd. Ee ff gg", 15) == ["Aa bb. Cc dd.", "Ee ff gg"]
    assert cut("aa bb cc", 5) == ["aa bb", "cc"]
    assert cut("aaaaaaa", 3) == ["aaa", "aaa", "a"]


def test_a_document_knows_its_first_line() -> None:
    lines = enumerate(["a", "", "bb", "bb", "", "cc dd"], start=1)
    assert list(documents(lines, 5)) == [(1, "a"), (3, "bb\nbb"), (6, "cc dd")]
