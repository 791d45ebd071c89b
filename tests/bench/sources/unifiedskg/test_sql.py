"""The Spider family from its own files: schemas, contents of databases, interactions."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.unifiedskg import databases, sql
from iml_jax.bench.sources.unifiedskg.databases import Databases
from iml_jax.bench.sources.unifiedskg.items import Item, Request
from iml_jax.foundation.errors import UserError

TABLES = [
    {
        "db_id": "pets",
        "table_names_original": ["Owner", "Pet"],
        "table_names": ["owner", "pet"],
        "column_names_original": [[-1, "*"], [0, "ID"], [0, "City"], [1, "Name"], [1, "Kind"]],
        "column_names": [[-1, "*"], [0, "id"], [0, "city"], [1, "name"], [1, "kind"]],
    }
]
SCHEMA = "| pets | owner : id , city | pet : name , kind"


def _request(folder: Path, rows: Any, *, database: bool = False, tables: Any = TABLES) -> Request:
    files = [folder / "dev.json"]
    files[0].write_text(json.dumps(rows))
    if tables is not None:
        files.append(folder / "tables.json")
        files[-1].write_text(json.dumps(tables))
    if database:
        files.append(_database(folder))
    return Request(files[0], tuple(files), training=False)


def _database(folder: Path) -> Path:
    path = folder / "database" / "pets" / "pets.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE Owner (ID INTEGER PRIMARY KEY AUTOINCREMENT, City TEXT);
        CREATE TABLE "Pet" (Name TEXT, Kind TEXT);
        INSERT INTO Owner (City) VALUES ('Oslo'), ('New York'), ('Oslo'), (NULL), (5);
        INSERT INTO Pet VALUES ('Rex', 'dog'), ('Oslo', 'cat');
        """
    )
    connection.execute("INSERT INTO Pet VALUES (CAST(? AS TEXT), 'x')", (b"Andr\xe9",))
    connection.commit()
    connection.close()
    return path


def test_spider_without_contents(tmp_path: Path) -> None:
    rows = [
        {
            "db_id": "pets",
            "question": " Who has a Dog? ",
            "query": "SELECT  Name FROM Pet WHERE kind = 'dog'",
        },
        {"db_id": "cars", "question": "What?", "query": "SELECT 1"},
    ]
    assert list(sql.spider(_request(tmp_path, rows))) == [
        ("1", Item("Who has a Dog?", SCHEMA, ("select name from pet where kind = 'dog'",))),
        ("2", sql.NO_SCHEMA),
    ]


def test_spider_with_contents(tmp_path: Path) -> None:
    rows = [{"db_id": "pets", "question": "Which dogs live in oslo or New York?", "query": "SELECT 1"}]
    request = _request(tmp_path, rows, database=True)
    ((_, item),) = sql.spider(request)
    assert isinstance(item, Item)
    # "dogs" is no more like "dog" than 0.86; "Oslo" is a pet's name too.
    assert (
        item.struct_in
        == "| pets | owner : id , city ( New York , Oslo ) | pet : name ( Oslo ) , kind ( dog )"
    )
    without = Request(request.path, request.files, training=False, database_values=False)
    ((_, item),) = sql.spider(without)
    assert isinstance(item, Item)
    assert item.struct_in == SCHEMA


def test_schemas_come_from_the_database_where_there_is_no_list(tmp_path: Path) -> None:
    rows = [{"db_id": "pets", "question": "Who?", "query": "SELECT 1"}]
    ((_, item),) = sql.spider(_request(tmp_path, rows, database=True, tables=None))
    assert isinstance(item, Item)
    assert item.struct_in == SCHEMA


def test_texts_of_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _database(tmp_path)
    known = Databases([path], values=True)
    ask = "André, Rex, Oslo, Owner"
    assert dict(known.described("pets", ask)[1][1]) == {"Name": ["André", "Oslo"], "Kind": []}
    monkeypatch.setattr(databases, "VALUES_LIMIT", 2)
    assert dict(Databases([path], values=True).described("pets", ask)[1][1])["Name"] == []
    assert known.described("unknown", ask) == []


def test_databases_with_the_same_names_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for name, text in (("one", "Oslo"), ("two", "Rome")):
        paths.append(tmp_path / f"{name}.sqlite")
        with contextlib.closing(sqlite3.connect(paths[-1])) as connection:
            connection.executescript(f"CREATE TABLE t (c TEXT); INSERT INTO t VALUES ('{text}')")
    known = Databases(paths, values=True)
    for name, text in (("one", "Oslo"), ("two", "Rome"), ("one", "Oslo")):
        assert known.described(name, "Oslo or Rome") == [("t", [("c", [text])])]


def test_interactions(tmp_path: Path) -> None:
    turns = [{"utterance": " One | two ", "query": "SELECT A"}, {"utterance": "three", "query": "SELECT B"}]
    rows = [
        {"database_id": "pets", "final": {"utterance": "Goal", "query": "SELECT B"}, "interaction": turns},
        {"database_id": "pets", "interaction": turns[1:]},
    ]
    request = _request(tmp_path, rows)
    assert [
        (name, item.text_in, item.references) for name, item in sql.sparc(request) if isinstance(item, Item)
    ] == [
        ("1:final", "Goal", ("select b",)),
        ("1:0", "One | two", ("select a",)),
        ("1:1", "three || One | two", ("select b",)),
        ("2:0", "three", ("select b",)),
    ]
    texts = [item.text_in for _, item in sql.cosql(request) if isinstance(item, Item)]
    assert texts == ["Goal", "two || One", "three || two | One", "three"]


def test_earlier_turns_show_values_too(tmp_path: Path) -> None:
    turns = [{"utterance": "dogs?", "query": "SELECT 1"}, {"utterance": "in Oslo", "query": "SELECT 2"}]
    request = _request(tmp_path, [{"database_id": "pets", "interaction": turns}], database=True)
    last = list(sql.sparc(request))[-1][1]
    assert isinstance(last, Item)
    assert "city ( Oslo )" in last.struct_in
    assert "kind ( dog )" in last.struct_in


def test_sql2text_needs_no_schema(tmp_path: Path) -> None:
    rows = [{"question": " Who? ", "query": "SELECT  Name"}]
    request = _request(tmp_path, rows, tables=None)
    assert list(sql.sql2text(request)) == [("1", Item("SELECT  Name", "", ("Who?",)))]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "a", "query": "b"}], r"dev\.json: record 1: no 'db_id', which must be a str"),
        ([{"question": 5, "query": "b", "db_id": "pets"}], r"record 1: a int as 'question'"),
    ],
)
def test_malformed_rows(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(sql.spider(_request(tmp_path, rows)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"database_id": "pets"}, "no 'interaction', which must be a list"),
        ({"database_id": "pets", "interaction": ["x"]}, "turn 0 is a str; expected an object"),
        ({"database_id": "pets", "interaction": [{"utterance": "x"}]}, "turn 0: no 'query'"),
        ({"database_id": "pets", "final": [], "interaction": []}, "a list as 'final'"),
    ],
)
def test_malformed_interactions(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(sql.cosql(_request(tmp_path, [row])))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, r"tables\.json: a dict; tables\.json is a list of schemas"),
        ([5], "schema 1 is a int"),
        ([{**TABLES[0], "db_id": None}], "schema 1: a NoneType as 'db_id'"),
        (
            [{**TABLES[0], "column_names_original": [[2, "x"]]}],
            r"column \[2, 'x'\] is not \[number of its table",
        ),
        ([{**TABLES[0], "table_names_original": [1, 2]}], "must be a list of strings"),
        (None, "needs tables.json or database/ID/ID.sqlite"),
    ],
)
def test_malformed_schemas(tmp_path: Path, tables: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(sql.spider(_request(tmp_path, [], tables=tables)))


def test_what_is_no_database(tmp_path: Path) -> None:
    rows = [{"db_id": "pets", "question": "Who?", "query": "SELECT 1"}]
    request = _request(tmp_path, rows, database=True)
    request.files[-1].write_bytes(b"no database at all, but long enough to be read as one" * 99)
    with pytest.raises(UserError, match=r"pets\.sqlite: no readable SQLite database .*fetch it again"):
        list(sql.spider(request))
    other = [{**TABLES[0], "table_names_original": ["Owner", "Other"]}]
    with pytest.raises(UserError, match="no such table: Other"):
        list(sql.spider(_request(_made(tmp_path / "more"), rows, database=True, tables=other)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
