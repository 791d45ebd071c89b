"""Files with the prompts of many tasks: JSON Lines, packed or not, and Parquet."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.sources.flan import collected_rows
from iml_jax.bench.sources.flan.collected_rows import RenderedPrompt, index_of, is_collected, prompts
from iml_jax.foundation.errors import UserError

ROWS = [
    {
        "inputs": f"in {number} \u00e9",
        "targets": f"out {number}",
        "task_source": ("Flan2021", "CoT")[number % 2],
        "task_name": ("glue/cola:2.0.0", "cot_gsm8k", "aeslc:1.0.0", "cot_gsm8k")[number % 4],
        "template_type": "zs_opt",
    }
    for number in range(50)
]


def _write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=4)
        return path
    text = "\ufeff" + "".join(json.dumps(row, ensure_ascii=False) + "\r\n\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_rows_of_one_task(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected_rows, "_BATCH", 3)
    path = _write(tmp_path / name)
    assert is_collected(path)
    index = index_of(path)
    assert set(index.tasks) == {row["task_name"] for row in ROWS}
    assert {task: rows.source for task, rows in index.tasks.items()} == {
        "glue/cola:2.0.0": "Flan2021",
        "cot_gsm8k": "CoT",
        "aeslc:1.0.0": "Flan2021",
    }
    for task in index.tasks:
        wanted = [(number, row) for number, row in enumerate(ROWS) if row["task_name"] == task]
        places = [number + 1 if name.endswith("parquet") else 2 * number + 1 for number, _ in wanted]
        assert list(prompts(path, index, task)) == [
            (place, RenderedPrompt(row["inputs"], row["targets"], "zs_opt"))
            for place, (_, row) in zip(places, wanted, strict=True)
        ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_the_other_column_and_a_changed_file(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, [{"inputs": "i", "targets": "t", "task": "aeslc_10templates"}])
    index = index_of(path)
    assert index.column == "task"
    assert list(prompts(path, index, "aeslc")) == [(1, RenderedPrompt("i", "t", ""))]
    _write(path, ROWS)
    assert set(index_of(path).tasks) == {row["task_name"] for row in ROWS}


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_other_files(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, [{"inputs": "i", "label": 1}])
    assert not is_collected(path)
    with pytest.raises(UserError, match="has not the columns inputs, targets, task_name"):
        index_of(path)
    (tmp_path / "empty.jsonl").write_text("\n\n")
    assert not is_collected(tmp_path / "empty.jsonl")


def _row(**changes: Any) -> str:
    return json.dumps(ROWS[0] | changes) + "\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_row() + "{", "a.jsonl:2: malformed JSON"),
        (_row() + "[1]", "a.jsonl:2: a list; each line must be a JSON object"),
        (_row() + _row(task_name=None), "a.jsonl:2: 'task_name' must be the name of a task"),
        (_row() + _row(task_name=" "), "a.jsonl:2: 'task_name' must be the name of a task"),
        (_row(inputs=None), "a.jsonl:1: 'inputs' must be a text"),
        (_row(targets=3), "a.jsonl:1: 'targets' must be a text"),
    ],
)
def test_malformed_rows(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=says):
        index = index_of(path)
        for task in index.tasks:
            list(prompts(path, index, task))


def test_rows_that_are_too_long_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ROWS[0], ROWS[0] | {"inputs": "x" * 70_000}, ROWS[0] | {"targets": "last"}]
    path = _write(tmp_path / "a.jsonl", rows)
    whole = index_of(path)
    monkeypatch.setattr(collected_rows, "LINE_LIMIT", 60_000)
    monkeypatch.setattr("iml_jax.storage.json_stream.LINE_LIMIT", 60_000)
    collected_rows._index.cache_clear()
    index = index_of(path)
    assert index == whole and is_collected(path)
    (task,) = index.tasks
    first, _, third = whole.tasks[task].numbers
    assert [number for number, _ in prompts(path, index, task)] == [first, third]


def test_malformed_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"a.parquet: no readable Parquet file"):
        is_collected(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_bytes(_row().encode() + b'{"inputs": "\xff"}')
    with pytest.raises(UserError, match=r"a.jsonl:2: byte 0xff is not UTF-8"):
        index_of(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"missing.jsonl: cannot be read"):
        is_collected(tmp_path / "missing.jsonl")
    whole = gzip.compress("".join(_row() for _ in range(100)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or cut-short gzip file"):
        index_of(tmp_path / "a.jsonl.gz")
