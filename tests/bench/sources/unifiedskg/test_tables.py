"""Tasks over tables from files in their public formats."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.unifiedskg import tables
from iml_jax.bench.sources.unifiedskg.items import Item, Request
from iml_jax.bench.sources.unifiedskg.tables import NO_TABLE
from iml_jax.foundation.errors import UserError

WIKITQ = (
    "id\tutterance\tcontext\ttargetValue\r\n"
    "nt-0\tWhich City\\p?\tcsv/200-csv/1.csv\tOslo, Norway|A\\pB\r\n"
    "nt-1\tmissing\tcsv/200-csv/9.csv\tx\r\n"
)


def _write(folder: Path, files: dict[str, str | bytes]) -> tuple[Path, ...]:
    paths = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return tuple(paths)


def _request(folder: Path, files: dict[str, str | bytes]) -> Request:
    paths = _write(folder, files)
    return Request(paths[0], paths, training=False)


CSV = '"Year","City\nof \\"games\\""\n"2001","Oslo, Norway"\n"","back\\\\slash|A"\n'
TABLE = 'col : year | city of "games" row 1 : 2001 | oslo, norway row 2 :  | back\\slash|a'


@pytest.mark.parametrize(
    "table_files",
    [
        {"csv/200-csv/1.csv": CSV},
        {"csv/200-csv/1.csv.gz": gzip.compress(CSV.encode())},
        {"csv/200-csv/1.tsv": 'Year\tCity\\nof "games"\n2001\tOslo, Norway\n\tback\\\\slash\\pA\n'},
        {"tables.jsonl": json.dumps({"path": "csv/200-csv/1.csv", "csv": CSV}) + "\n"},
    ],
)
def test_wikitq(tmp_path: Path, table_files: dict[str, str | bytes]) -> None:
    request = _request(tmp_path, {"random-split-1-dev.tsv": WIKITQ, **table_files})
    assert list(tables.wikitq(request)) == [
        ("2:nt-0", Item("which city|?", TABLE, ("oslo, norway, a|b",))),
        ("3:nt-1", NO_TABLE),
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_tab_fact(tmp_path: Path, packed: bool) -> None:
    claims = {"1.csv": [["Ann WON", "she lost", "odd"], [1, 0, 2], "caption"], "2.csv": [["x"], [1], ""]}
    table = "Who#Rank\r\nAnn#1\r\nBo b#\r\n"
    table_files: dict[str, str | bytes] = (
        {"tables_val.jsonl": json.dumps({"id": "1.csv", "csv": table})}
        if packed
        else {"all_csv/1.csv": table}
    )
    request = _request(tmp_path, {"val_examples.json": json.dumps(claims), **table_files})
    struct = "col : who | rank row 1 : ann | 1 row 2 : bo b |"
    assert list(tables.tab_fact(request)) == [
        ("1.csv:0", Item("ann won", struct, ("entailed",))),
        ("1.csv:1", Item("she lost", struct, ("refuted",))),
        ("1.csv:2", "label is neither 0 nor 1"),
        ("2.csv:0", NO_TABLE),
    ]


@pytest.mark.parametrize("wrapped", [True, False])
def test_fetaqa(tmp_path: Path, wrapped: bool) -> None:
    row = {
        "question": "Who?",
        "answer": "Ann did.",
        "table_page_title": "Page",
        "table_section_title": "Section",
        "table_array": [["A", "B"], ["1", "2"]],
    }
    content = json.dumps({"data": [row]}) if wrapped else json.dumps(row)
    request = _request(tmp_path, {"fetaQA-v1_dev.json" if wrapped else "fetaQA-v1_dev.jsonl": content})
    item = Item("who?", "page | section col : a | b row 1 : 1 | 2", ("ann did.",))
    assert list(tables.fetaqa(request)) == [("1", item)]


def test_sqa_remembers_the_questions_of_its_sequence(tmp_path: Path) -> None:
    header = "id\tannotator\tposition\tquestion\ttable_file\tanswer_coordinates\tanswer_text\n"
    rows: Sequence[tuple[str, str, str, str]] = (
        ("0", "First?", "table_csv/1.csv", "[u'Oslo, N', \"it\\'s\"]"),
        ("1", "Then?", "table_csv/1.csv", "['x']"),
        ("2", "lost", "table_csv/2.csv", "['x']"),
        ("0", "New?", "table_csv/1.csv", "[]"),
    )
    content = header + "".join(f"nt-1\t0\t{p}\t{q}\t{t}\t['(0, 0)']\t{a}\n" for p, q, t, a in rows)
    request = _request(tmp_path, {"test.tsv": content, "table_csv/1.csv": 'A,B\n"1,5",""\n'})
    struct = "col : a | b row 1 : 1,5 |"
    assert list(tables.msr_sqa(request)) == [
        ("2:nt-1", Item("first? || ", struct, ("oslo, n, it's",))),
        ("3:nt-1", Item("then? || first?", struct, ("x",))),
        ("4:nt-1", NO_TABLE),
        ("5:nt-1", Item("new? || ", struct, ())),
    ]


def test_logic2text(tmp_path: Path) -> None:
    row = {"topic": "Cup", "logic_str": "eq { a ; b }", "sent": "A is B .", "table_header": ["x", "y"]}
    request = _request(tmp_path, {"test.json": json.dumps([row])})
    assert list(tables.logic2text(request)) == [
        ("1", Item("eq { a ; b }", "Caption: Cup | x, y", ("A is B .",)))
    ]


@pytest.mark.parametrize(
    ("reader", "name", "content", "message"),
    [
        (tables.wikitq, "d.tsv", "id\tutterance\n", r"d\.tsv:1: no column 'context' in the header"),
        (
            tables.wikitq,
            "d.tsv",
            WIKITQ + "a\tb\n",
            r"d\.tsv:4: 2 fields, the header has 4; fix the row",
        ),
        (tables.tab_fact, "d.json", "[]", r"d\.json: a list; the file must be one JSON object"),
        (tables.tab_fact, "d.json", '{"t": [["a"], [1, 0]]}', r"'t' is not \[statements, as many labels"),
        (tables.fetaqa, "d.json", '{"rows": []}', "no list 'data' with anything in it"),
        (
            tables.fetaqa,
            "d.jsonl",
            '{"question":"","answer":"","table_page_title":"","table_section_title":"","table_array":[]}',
            "record 1: 'table_array' must be a list of rows",
        ),
        (tables.logic2text, "d.json", '[{"topic": "x"}]', "record 1: no 'logic_str'"),
    ],
)
def test_malformed(tmp_path: Path, reader: Any, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(reader(_request(tmp_path, {name: content})))


@pytest.mark.parametrize("answer", ["x", "['a'", "[__import__('os')]", "['\\x']", "[1]", "['a' 'b']"])
def test_answers_are_lists_of_strings_and_nothing_else(tmp_path: Path, answer: str) -> None:
    header = "id\tannotator\tposition\tquestion\ttable_file\tanswer_coordinates\tanswer_text\n"
    content = f"{header}nt-1\t0\t0\tq\ttable_csv/1.csv\t[]\t{answer}\n"
    request = _request(tmp_path, {"test.tsv": content, "table_csv/1.csv": "A\n1\n"})
    with pytest.raises(UserError, match=r"test\.tsv:2: answer_text .* is no list of strings"):
        list(tables.msr_sqa(request))


def test_packed_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FILE_LIMIT", 10)
    request = _request(tmp_path, {"d.tsv": WIKITQ, "tables.jsonl": '{"path": "x", "csv": "0123456789a"}'})
    with pytest.raises(UserError, match=r"tables\.jsonl:1: more than 10 characters of tables"):
        list(tables.wikitq(request))


def test_a_name_cannot_reach_a_file_that_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("A\n1\n")
    rows = f"id\tutterance\tcontext\ttargetValue\na\tb\t../secret.csv\tx\nb\tb\t{tmp_path}/secret.csv\tx\n"
    assert [made for _, made in tables.wikitq(_request(tmp_path, {"d.tsv": rows}))] == [NO_TABLE] * 2
