"""Rows of files that nobody reads are counted where that is cheap, and not guessed where it is not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.sources.formats.row_counts import RowCounter

ROWS = [{"a": n, "b": "x\ny"} for n in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def _put(path: Path, content: Any) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(content), path)
    elif path.suffix == ".arrow":
        table = pyarrow.Table.from_pylist(content)
        with pyarrow.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("train.parquet", ROWS, 5),
        ("data-0.arrow", ROWS, 5),
        ("train.jsonl", LINES + "\n \n", 5),
        ("train.jsonl.gz", LINES, 5),
        ("train.jsonl", LINES.rstrip("\n"), 5),
        ("train.json", LINES, 5),
        ("train.json", json.dumps(ROWS), 5),
        ("task1.json", json.dumps({"Definition": ["d"], "Instances": ROWS}), 5),
        ("navigate.json.gz", json.dumps({"canary": "c", "examples": ROWS}), 5),
        ("state.json", json.dumps({"_data_files": []}), 0),  # holds no rows
        ("vocab.json", "[1, 2]", 0),
        ("picture.png", "x", 0),
        ("train.csv", 'a,b\n1,"x\ny"\n2,z\n', 2),
        ("train.tsv.gz", "a\tb\n1\t2\n", 1),
        ("train.csv", 'a\n"b\n', None),  # malformed
        ("train.json", "{", None),
        ("train.parquet.gz", "x", None),
    ],
)
def test_every_form(tmp_path: Path, name: str, content: Any, rows: int | None) -> None:
    path = _put(tmp_path / name, content)
    assert RowCounter().count(path, header=True) == rows


def test_a_table_without_a_header(tmp_path: Path) -> None:
    path = _put(tmp_path / "x.tsv", "a\tb\n1\t2\n")
    counts = {header: RowCounter().count(path, header=header) for header in (True, False, None)}
    assert counts == {True: 1, False: 2, None: None}


def test_records(tmp_path: Path) -> None:
    record = (7).to_bytes(8, "little") + bytes(4) + b"payload" + bytes(4)
    path = tmp_path / "rte-train.tfrecord-00000-of-00001"
    path.write_bytes(record * 3)
    assert RowCounter().count(path, header=None) == 3
    path.write_bytes(record * 3 + record[:9])
    assert RowCounter().count(path, header=None) is None


def test_no_more_is_read_than_the_budget(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        _put(tmp_path / name, LINES)
    _put(tmp_path / "c.parquet", ROWS)
    assert RowCounter().count_all(tmp_path, header=None) == (15, True)
    assert RowCounter(len(LINES)).count_all(tmp_path, header=None) == (10, False)
    assert RowCounter().count_all(tmp_path / "gone", header=None) == (0, True)
