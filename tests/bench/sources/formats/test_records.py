"""Rows and their places: JSON lines, JSON arrays, CSV and flat XML."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench.sources.formats.records import Record, csv_records, document, head_of, json_records, listed
from iml_jax.bench.sources.formats.separated import csv_lines
from iml_jax.bench.sources.formats.xml_records import xml_records
from iml_jax.foundation.errors import UserError
from iml_jax.storage import json_stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=5),
    indent=st.sampled_from([None, 1]),
)
def test_arrays_and_lines_are_what_json_reads(tmp_path_factory, rows, indent) -> None:
    folder = tmp_path_factory.mktemp("json")
    (folder / "rows.json").write_text(
        "\ufeff \n" + json.dumps(rows, indent=indent, ensure_ascii=False) + "\n", "utf-8"
    )
    assert [row.values for row in json_records(folder / "rows.json")] == rows
    (folder / "rows.jsonl").write_text("\r\n".join(map(json.dumps, rows)))
    assert [row.values for row in json_records(folder / "rows.jsonl")] == rows


def test_an_array_is_read_in_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 3)
    rows = [{"a": "é" * n, "n": n} for n in range(40)]
    with gzip.open(tmp_path / "rows.json.gz", "wt", encoding="utf-8") as stream:
        stream.write(json.dumps(rows, ensure_ascii=False))
    assert [row.values for row in json_records(tmp_path / "rows.json.gz")] == rows


def test_places_of_rows(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"n": 1,\n "m": 2},\n\n {"n": "x"}]')
    first, second = json_records(tmp_path / "a.json")
    assert (first.place, second.place) == (f"{tmp_path / 'a.json'}:1", f"{tmp_path / 'a.json'}:4")
    (tmp_path / "a.csv").write_bytes('\ufeffq,a\r\n"two\r\nlines",1\r\n\r\nq,2\r\n'.encode())
    rows = list(csv_records(tmp_path / "a.csv"))
    assert [row.values for row in rows] == [{"q": "two\nlines", "a": "1"}, {"q": "q", "a": "2"}]
    assert [row.number for row in rows] == [2, 5]
    assert next(csv_lines(tmp_path / "a.csv")) == (1, ["q", "a"])


def test_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",q\n0,x\n")
    assert [row.values for row in csv_records(tmp_path / "a.csv")] == [{"q": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"a": 1}, 5]', r"a\.json:1: a int; expected a JSON object"),
        ("a.json", '[{"a": 1},\n{"a": }]', r"a\.json:2: malformed JSON"),
        ("a.json", '[{"a": 1}', r"a\.json:1: malformed JSON: ']' expected, not the end of the file"),
        ("a.json", '[{"a": 1}] x', r"a\.json:1: text after the end"),
        ("a.json", '[{"a": 1} {"a": 2}]', r"a\.json:1: malformed JSON: ']' expected, not '\{'"),
        ("a.jsonl", '{"a": 1}\n[1]', r"a\.jsonl:2: a list; expected a JSON object"),
        ("a.jsonl", '{"a": 1}\n{', r"a\.jsonl:2: malformed JSON"),
        ("a.json", "[" + '{"a":' * 100_000, r"a\.json:1: (JSON that cannot be read|malformed JSON)"),
        ("a.csv", "q,q\n1,2\n", r"a\.csv:1: no or repeated column names"),
        ("a.csv", "q,a\n1\n", r"a\.csv:2: 1 cells, the header has 2"),
        ("a.csv", 'q,a\n1,"2\n', r"a\.csv:2: malformed CSV"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        list((csv_records if name.endswith("csv") else json_records)(tmp_path / name))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('[{"a": "é"}]'.encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        list(json_records(tmp_path / "a.json"))


def test_fields_have_the_type_that_a_reader_asks_for() -> None:
    row = Record(
        "f:1", 1, {"t": " x ", "l": ["a ", "b"], "o": {"t": 1}, "n": None, "r": [{"t": "y"}], "e": []}
    )
    assert row.text("t") == "x" and row.text("n", "-") == "-"
    assert row.texts("l") == ("a", "b") and row.texts("t") == ("x",) and row.texts("n") == ()
    assert [each.text("t") for each in row.records("r")] == ["y"]
    assert row.mapping("o") == {"t": 1} and row.mapping("e") == {} and row.mapping("n") == {}
    for call, message in (
        (lambda: row.text("l"), r"f:1: 'l' must be a string, not a list; fix"),
        (lambda: row.text("missing"), r"f:1: 'missing' must be a string, not missing"),
        (lambda: row.texts("o"), r"f:1: 'o' must be a list of strings"),
        (lambda: row.items("t"), r"f:1: 't' must be a list, not a str"),
        (lambda: row.records("l"), r"f:1: 'l\[0\]' must be an object, not a str"),
        (lambda: row.record("n"), r"f:1: 'n' must be an object, not missing"),
        (lambda: row.record("o").text("t"), r"f:1: o: 't' must be a string, not a int"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_document_is_one_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(UserError, match="must be one JSON object"):
        document(tmp_path / "a.json")


def test_a_list_under_a_key_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LINE_LIMIT", 100)
    monkeypatch.setattr(json_stream, "_CHUNK", 16)
    path = tmp_path / "a.json"
    rows = [{"t": "x"}, {"t": "y" * 300}, {"t": "z"}]
    path.write_text(json.dumps({"a": 1, "rows": rows, "b": [2]}, indent=1))
    assert head_of(path, "rows").values == {"a": 1, "b": [2]}
    found = list(listed(path, "rows"))
    assert [(row.number, row.values) for row in found] == [(1, rows[0]), (3, rows[2])]
    assert found[1].place == f"{path}: rows[2]"
    assert list(listed(path, "b" * 9)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must be one JSON object"),
        ('{"rows": 3}', r"'rows' must be a list, not a int"),
        ('{"rows": [3]}', r"'rows\[0\]' must be an object, not a int"),
        ('{"rows": [{}],\n"rows": [{}]}', "a second 'rows'"),
        ('{"rows": []}', "no list 'rows' with anything in it; is it a thing"),
        ('{"rows": null}', "no list 'rows' with anything in it"),
        ('{"rows": [{}]} x', "text after the end"),
        ('{"rows": [{}', "malformed JSON"),
    ],
)
def test_a_list_under_a_key_that_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=message):
        list(listed(tmp_path / "a.json", "rows", wanted="a thing"))


def test_what_stands_beside_a_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iml_jax.bench.sources.formats.records.LINE_LIMIT", 100)
    (tmp_path / "a.json").write_text(json.dumps({f"key {n}": n for n in range(30)} | {"rows": [{}]}))
    with pytest.raises(UserError, match="more than 100 characters beside the list 'rows'"):
        head_of(tmp_path / "a.json", "rows")


def test_xml_gives_attributes_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        '<all>\n<P id="1">hello <b>x<i>not</i></b> &lt;you&gt;<b> y</b></P>out\n<P id="2"/></all>'
    )
    first, second = xml_records(path, "P")
    assert first.values == {"id": "1", "": "hello  <you>", "b": "x y"}
    assert (first.place, second.values) == (f"{path}:2", {"id": "2", "": ""})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY e "x">]><a><P>&e;</P></a>', "a.xml:1: a document type or entity definition"),
        ('<!DOCTYPE a SYSTEM "http://nowhere/a.dtd"><a><P/></a>', "a document type or entity definition"),
        ("<a><P>&nbsp;</P></a>", "malformed XML"),
        ("<a>\n<P><P/></P></a>", "a.xml:2: a <P> inside a <P>"),
        ("<a>\n<P>", "a.xml:2: malformed XML"),
        ("<a></a>", "no element <P>"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "unreadable encoding|malformed XML"),
    ],
)
def test_xml_that_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(UserError, match=message):
        list(xml_records(tmp_path / "a.xml", "P"))


def test_xml_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iml_jax.bench.sources.formats.xml_records.LINE_LIMIT", 100)
    long = "".join(f"<b{number}>x</b{number}>" for number in range(20))
    (tmp_path / "a.xml").write_text(f"<a><P>{'x' * 200}</P>\n<P>{long}</P><P><b>y</b></P></a>")
    (row,) = xml_records(tmp_path / "a.xml", "P")
    assert (row.number, row.place, row.values) == (3, f"{tmp_path / 'a.xml'}:2", {"": "", "b": "y"})
    (tmp_path / "a.xml").write_text("<a><P>" + "x" * 200 + "</P></a>")
    assert list(xml_records(tmp_path / "a.xml", "P")) == []
    (tmp_path / "a.xml").write_text("<a><P " + "x" * 100_000)
    with pytest.raises(UserError, match=r"a tag longer than 100 bytes|malformed XML"):
        list(xml_records(tmp_path / "a.xml", "P"))
