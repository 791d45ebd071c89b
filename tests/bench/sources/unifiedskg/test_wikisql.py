"""WikiSQL's queries against SQLite, and the readings of numbers."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.unifiedskg import wikisql
from iml_jax.bench.sources.unifiedskg.items import Item, Request
from iml_jax.bench.sources.unifiedskg.wikisql import answer, number_of
from iml_jax.foundation.errors import UserError

TABLE: dict[str, Any] = {
    "id": "1-1",
    "header": ["Player", "Points", "Town"],
    "types": ["text", "real", "text"],
    "rows": [["Ann", "1,000", "New-York"], ["Bob", 7, "oslo"], ["Cy", "7", "Oslo"]],
}


@pytest.mark.parametrize(
    ("sel", "agg", "conds", "expected"),
    [
        (0, 0, [[2, 0, "OSLO"]], ["Bob", "Cy"]),
        (0, 0, [[2, 0, "new - york"]], ["Ann"]),
        (1, 0, [[0, 0, "ann"]], ["1000.0"]),
        (0, 3, [[1, 0, 7]], ["2.0"]),
        (0, 3, [[1, 1, "5000"]], ["0.0"]),
        (0, 0, [[1, 1, "5000"]], ["none"]),
        (1, 1, [], ["1000.0"]),
        (1, 2, [], ["7.0"]),
        (1, 4, [[1, 2, "8"]], ["14.0"]),
        (1, 5, [], [str(1014 / 3)]),
        (0, 1, [], ["Cy"]),
        (0, 4, [], ["Ann", "Bob", "Cy"]),
    ],
)
def test_by_hand(sel: int, agg: int, conds: list[Any], expected: list[str]) -> None:
    assert answer(TABLE, {"sel": sel, "agg": agg, "conds": conds}) == expected


def test_random_queries_against_sqlite() -> None:
    draw = random.Random(7)
    for _ in range(200):
        rows = [
            [draw.choice("abc"), draw.randrange(5), draw.choice("xy")] for _ in range(draw.randrange(1, 7))
        ]
        table = {"types": ["text", "real", "text"], "rows": rows}
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE t (c0 TEXT, c1 REAL, c2 TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        conds: list[list[Any]] = [[2, 0, draw.choice("xy")], [1, draw.randrange(3), draw.randrange(5)]]
        where = " AND ".join(f"c{column} {'=><'[op]} ?" for column, op, _ in conds)
        values = [value for _, _, value in conds]
        for agg, name in enumerate(("", "MAX", "MIN", "COUNT", "SUM", "AVG")):
            found = connection.execute(f"SELECT {name}(c1) FROM t WHERE {where}", values).fetchall()
            numbers = [float(value) for (value,) in found if value is not None]
            expected = [str(number) for number in numbers] or ["none"]
            if agg == 0 and len(numbers) > 1:  # several cells are given as they are written
                expected = [str(int(number)) for number in numbers]
            assert answer(table, {"sel": 1, "agg": agg, "conds": conds}) == expected
        connection.close()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,000.7", 1000.7),
        ("1,000", 1000.0),
        ("5,5556", 5.5556),
        ("0.0.0.1", 1.0),
        ("0,0,0,1", 1.0),
        (" 7 ", 7.0),
    ],
)
def test_numbers(text: str, number: float) -> None:
    assert number_of(text) == number


def test_what_is_no_number() -> None:
    for value in ("seven", "", None, [1]):
        with pytest.raises(ValueError):
            number_of(value)


def _request(folder: Path, rows: list[Any], tables: list[Any] | None) -> Request:
    files = [folder / "dev.jsonl"]
    files[0].write_text("\n".join(map(json.dumps, rows)))
    if tables is not None:
        files.append(folder / "dev.tables.jsonl")
        files[1].write_text("\n".join(map(json.dumps, tables)))
    return Request(files[0], tuple(files), training=False)


def test_rows(tmp_path: Path) -> None:
    query = {"sel": 0, "agg": 0, "conds": [[2, 0, "Oslo"]]}
    rows = [
        {"question": "Who lives in Oslo?", "table_id": "1-1", "sql": query},
        {"question": "Who?", "table_id": "1-2", "sql": query},
        {"question": "Who?", "table_id": "1-1", "sql": {"sel": 9, "agg": 0, "conds": []}},
        {"question": "Who?", "table_id": "1-1", "sql": {"sel": 0, "agg": 0, "conds": [[1, 0, "x"]]}},
    ]
    struct = (
        "col : player | points | town row 1 : ann | 1,000 | new-york "
        "row 2 : bob | 7 | oslo row 3 : cy | 7 | oslo"
    )
    assert list(wikisql.wikisql(_request(tmp_path, rows, [TABLE]))) == [
        ("1", Item("who lives in oslo?", struct, ("bob, cy",))),
        ("2", "no table of that name"),
        ("3", "query that cannot be run on its table"),
        ("4", "query that cannot be run on its table"),
    ]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (None, r"dev\.jsonl: needs dev\.tables\.jsonl"),
        ([5], r"dev\.tables\.jsonl:1: a int; each line must be a JSON object"),
        ([{**TABLE, "types": ["text"]}], "must have as many cells"),
        ([{**TABLE, "id": 1}], "a int as 'id'"),
    ],
)
def test_malformed_tables(tmp_path: Path, tables: list[Any] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(wikisql.wikisql(_request(tmp_path, [], tables)))
