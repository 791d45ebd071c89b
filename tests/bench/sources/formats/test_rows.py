"""Rows of JSONL, CSV, TSV and Parquet come out equal; malformed ones are named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.sources.formats.rows import read_rows
from iml_jax.foundation.errors import UserError

TEXTS = ["plain", 'a "quoted", text', "two\nlines", "é 漢字 \U0001f600", "tab\there", "", "  edges  ", "|||"]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "jsonl":
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue().encode()
    elif kind == "tsv":
        lines = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
        content = "".join("\t".join(cells) + "\n" for cells in lines).encode()
    else:
        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
        content = stream.getvalue()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("compressed", ["", ".gz"])
def test_random_rows_survive(tmp_path: Path, ending: str, compressed: str) -> None:
    rng = random.Random(ending)
    texts = [text for text in TEXTS if ending != "tsv" or not set(text) & set("\n\t")]
    rows = [
        {
            "text": rng.choice(texts),
            "label": rng.randrange(-1, 9),
            "score": rng.randrange(99) / 8,
            "code": code,
        }
        for code in ("007", "1984", "x", "12")
    ]
    path = tmp_path / f"train.{ending}{compressed}"
    _write(path, rows)
    assert [row for _, row in read_rows(path)] == rows


def test_columns_keep_one_type(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,x,s\n1,1.5,1\n,2,\n3,,two\n")
    assert list(read_rows(path)) == [
        (2, {"n": 1, "x": 1.5, "s": "1"}),
        (3, {"n": None, "x": 2.0, "s": ""}),
        (4, {"n": 3, "x": None, "s": "two"}),
    ]


def test_numbers_are_the_lines_where_rows_start(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a\n"one\ntwo"\nthree\n')
    assert [number for number, _ in read_rows(path)] == [2, 4]
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [number for number, _ in read_rows(path)] == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl:2: malformed JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "a.jsonl:2: a list; expected a JSON object"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:1: byte 0xff is not UTF-8"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "a.csv:3: 3 cells, the header has 2"),
        ("a.csv", b'a,b\n1,2\n"x\n', "a.csv:3: malformed CSV"),
        ("a.csv", b"a,a\n1,2\n", "a.csv:1: empty or repeated column names"),
        ("a.tsv", b"a\tb\n1\n", "a.tsv:2: 1 cells, the header has 2"),
        ("a.parquet", b"PAR1 nothing", "a.parquet: no readable Parquet file"),
        ("a.parquet", b"", "a.parquet: no readable Parquet file"),
        ("a.xml", b"<a/>", "a.xml: unknown format"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(read_rows(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _write(path, [{"text": "abc" * index} for index in range(500)])
    content = bytearray(path.read_bytes())
    content[10:60] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet: no readable Parquet file"):
        list(read_rows(path))
