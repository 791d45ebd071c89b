"""The comparison of two versions' rows: totals, what differs, and nothing where nothing does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import rows_before_after as script


def test_two_versions_read_with_their_own_interpreters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "texts"
    data.mkdir()
    (data / "a.txt").write_text("One.\n")
    (data / "b.jsonl").write_text('{"text": "Two."}\n{"text": ""}\n')
    (data / "c.png").write_text("")
    gin = tmp_path / "m.gin"
    gin.write_text(
        f'Mixture.name = "m"\nMixture.data_dir = "{tmp_path}"\nMixture.sources = (@PretrainingText(),)\n'
        'PretrainingText.data_dir = "texts"\n'
    )
    found = script.read(sys.executable, [f"--gin_file={gin}"])
    (held,) = found.values()
    assert held.rows == {"a train": {"": 1}, "b train": {"": 1, "empty text": 1}}
    assert held.left == {"neither .txt nor .jsonl": 1} and not held.broken
    script.main([sys.executable, sys.executable, f"--gin_file={gin}"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == ["| PretrainingText texts | 2 | 2 | 1 | 1 | - |"]


def test_differences_are_told_once() -> None:
    old = {
        "a": script.Held({"t train": {"": 5, "x": 1}, "u train": {"": 5, "x": 1}, "v train": {"": 2}}, {}, {})
    }
    new = {
        "a": script.Held(
            {"t train": {"": 4, "x": 2}, "u train": {"": 4, "x": 2}, "v train": {"": 2}},
            {"w": "why"},
            {"no task": 3},
        )
    }
    text = "\n".join(script.tables(old, new))
    assert "| a | 3 | 12 -> 10 | 2 -> 4 | 0 -> 3 | - -> w |" in text
    assert "| 2 such as t train | used 5 -> 4; x 1 -> 2 |" in text
    assert "| (left out before any row is read) | no task 0 -> 3 |" in text
    assert "| w | broken: no -> why |" in text
    assert "v train" not in text


def test_prepared_directories(tmp_path: Path) -> None:
    table = {
        "tasks": [{"name": "b:t:zero_shot", "splits": {"train": {"examples": 3, "dropped": {"long": 2}}}}],
        "left_out": [
            {"benchmark": "b", "kind": "file", "reason": "as /x/y, which is read", "count": 2, "rows": 1200}
        ],
    }
    (tmp_path / "mixture_table.json").write_text(json.dumps(table))
    held = script.prepared(str(tmp_path))["b"]
    assert held.rows == {"t:zero_shot train": {"": 3, "long": 2}}
    assert held.left == {"file, 1,200 rows: as y, which is read": 2}


def test_two_interpreters_are_wanted() -> None:
    with pytest.raises(SystemExit, match="Give two interpreters"):
        script.main(["one"])
