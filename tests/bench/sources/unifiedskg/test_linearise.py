"""Linearised structures against strings from the documented format and against short restatements."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench.sources.unifiedskg import linearise

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="|"), max_size=12)


def test_table_of_the_documented_form() -> None:
    made = linearise.table(["Year", "Venue"], [["2001", "Debrecen,\nHungary"], [2003, None], [True, 1.5]])
    assert made == "col : Year | Venue row 1 : 2001 | Debrecen, Hungary row 2 : 2003 |  row 3 : True | 1.5"
    assert linearise.table(["a"], []) == "col : a"
    assert linearise.table(["a", ""], [["", ""]]) == "col : a |  row 1 :  |"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(_TEXT, min_size=2, max_size=2), min_size=1, max_size=5))
def test_every_cell_is_there_and_in_order(cells: list[list[str]]) -> None:
    made = linearise.table(cells[0], cells[1:])
    at = 0
    for row in cells:
        for value in row:
            at = made.index(" ".join(value.split()), at)
    assert made.count("|") == len(cells)
    assert [int(number) for number in re.findall(r"row (\d+) : ", made + " ")][-1:] != [0]
    restated = " ".join(
        f"{f'row {index}' if index else 'col'} : " + " | ".join(" ".join(value.split()) for value in row)
        for index, row in enumerate(cells)
    )
    assert made == restated.strip()


def test_triples_and_schema() -> None:
    assert (
        linearise.triples([["Mars", "type", "Planet"], ["a", "b", "c"]]) == "Mars : type : Planet | a : b : c"
    )
    tables = [("Stadium", [("ID", []), ("Name", ["Oval", "Park End"])]), ("Singer", [("ID", ())])]
    assert (
        linearise.schema("Concert_1", tables)
        == "| Concert_1 | stadium : id , name ( Oval , Park End ) | singer : id"
    )
    assert linearise.schema("empty", []) == "| empty"


@pytest.mark.parametrize(
    ("query", "normal"),
    [
        ("SELECT Count ( * )  ,  T2.FullName  FROM A", "select count ( * ), t2.fullname from a"),
        ("SELECT name FROM t WHERE x = 'France'", "select name from t where x = 'France'"),
        ('SELECT a FROM t WHERE y = "Big"', 'select a from t where y = "Big"'),
        ("WHERE city = 'New York City'", "where city = 'New york City'"),
        ("SELECT\n a ,b", "select a ,b"),
    ],
)
def test_queries(query: str, normal: str) -> None:
    assert linearise.sql(query) == normal


@settings(deadline=None)
@given(st.text("aBC'\" ,_1é", max_size=20))
def test_queries_word_by_word(query: str) -> None:
    lowered = ""
    for piece in re.findall(r"\w+|\W+", query):
        before = query[len(lowered) - 1] if lowered else ""
        after = query[len(lowered) + len(piece) :][:1]
        keep = before in ("'", '"') or after in ("'", '"')
        lowered += piece if keep or not re.match(r"\w", piece) else piece.lower()
    assert linearise.sql(query) == " ".join(lowered.split()).replace(" , ", ", ")


def test_conversations_say_the_latest_first() -> None:
    assert linearise.conversation([" one "]) == "one"
    assert linearise.conversation(["one"], always=True) == "one || "
    assert linearise.conversation(["one", "two ", " three"]) == "three || two | one"


TOTTO = [
    [
        {"value": "Year", "is_header": True, "column_span": 1},
        {"value": "Role", "is_header": True, "column_span": 2},
    ],
    [
        {"value": "1999", "is_header": True, "column_span": 1},
        {"value": "King", "is_header": False, "column_span": 1},
        {"value": "Lead", "is_header": False, "column_span": 1},
    ],
]


def test_highlighted_cells_with_their_headers() -> None:
    assert linearise.highlighted(TOTTO, [(1, 2)], "Ann", "Film") == (
        "<page_title> Ann </page_title> <section_title> Film </section_title> <table> "
        "<cell> Lead <col_header> Role </col_header> <row_header> 1999 </row_header> </cell> </table>"
    )
    assert linearise.highlighted(TOTTO, [(1, 0), (0, 0)], "", "") == (
        "<table> <cell> 1999 <col_header> Year </col_header> </cell> <cell> Year </cell> </table>"
    )
    for place in ((2, 0), (0, 2), (-1, 0), (0, -1)):
        with pytest.raises(IndexError):
            linearise.highlighted(TOTTO, [place], "", "")


def test_a_long_table_loses_whole_rows_at_its_end() -> None:
    table = linearise.table(["n", "word"], [[number, "word " * number] for number in range(30)])
    for limit in (120, 200, 333):
        made = linearise.cut(table, limit)
        assert made.endswith(" ...")
        kept = made.removesuffix(" ...")
        assert table.startswith(kept + " row "), kept
        assert limit / 2 <= len(kept) <= limit
    assert linearise.cut(table, len(table)) == linearise.cut(table, 0) == table


@settings(deadline=None)
@given(st.text("ab |;", max_size=60), st.integers(1, 70))
def test_what_is_cut_is_a_beginning(structure: str, limit: int) -> None:
    made = linearise.cut(structure, limit)
    if len(structure) <= limit:
        assert made == structure
    else:
        assert made.endswith(linearise.CUT)
        assert structure.startswith(made.removesuffix(linearise.CUT))
        assert len(made) <= limit + len(linearise.CUT)


def test_other_structures_end_after_a_field() -> None:
    assert linearise.cut("a : b : cc | d : e : ff | g : h : i", 20) == "a : b : cc ..."
    assert linearise.cut("area: north, south; food: thai, indian; stars: 1", 45).startswith(
        "area: north, south; food"
    )
    assert linearise.cut("word word word", 11) == "word word ..."
    assert linearise.cut("x" * 20, 5) == "xxxxx ..."
    # A row that begins in the first half is kept as far as it fits.
    assert (
        linearise.cut("col : a row 1 : " + "word " * 20, 50)
        == "col : a row 1 : " + "word " * 6 + "word" + " ..."
    )
