"""Files of JSON lines: read from both ends, cut after a step, damaged lines passed over."""

import json
import os

import numpy as np
import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.storage import journal


def write(path, steps, **more):
    path.write_text("".join(json.dumps({"step": step, **more}) + "\n" for step in steps))
    return path


def steps(path):
    return [record and record["step"] for record in journal.records(path)]


@pytest.mark.parametrize("block", [1, 2, 7, 64, 1 << 16])
def test_lines_from_the_end_are_the_lines_backwards(tmp_path, monkeypatch, block):
    monkeypatch.setattr(journal, "_BLOCK", block)
    rng = np.random.default_rng()
    path = tmp_path / "lines"
    for _ in range(40):
        content = bytes(rng.choice(list(b"ab\n"), int(rng.integers(0, 60)), p=[0.4, 0.4, 0.2]))
        path.write_bytes(content)
        wanted, offset = [], 0
        for line in content.splitlines(keepends=True):
            wanted.append((offset, line))
            offset += len(line)
        assert list(journal.lines_from_end(path)) == wanted[::-1]


def test_only_the_end_of_a_long_file_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "metrics.jsonl", range(1, 20_001), loss=1.0)
    size, parsed = path.stat().st_size, []
    parse = journal.parse
    monkeypatch.setattr(journal, "parse", lambda line, where: parsed.append(line) or parse(line, where))
    assert journal.cut_after(path, 19_997) == 0
    assert len(parsed) == 4
    assert steps(path)[-1] == 19_997
    assert path.stat().st_size == size - 3 * len(parsed[0])


@pytest.mark.parametrize(
    ("end", "kept", "damaged"),
    [
        ("", [1, 2, 2, 3], 0),
        ('{"step": 4}\n{"step": 5}\n', [1, 2, 2, 3], 0),
        ('{"step": 4}\n{"ste', [1, 2, 2, 3], 1),
        ('{"st', [1, 2, 2, 3], 1),
        ("\0" * 4096, [1, 2, 2, 3], 1),
        ('not json\n{"step": 4}\n', [1, 2, 2, 3, None], 1),
        ('{"step": 4}\nnot json\n{"step": 5}\n', [1, 2, 2, 3], 1),
        ('{"step": NaN}\n', [1, 2, 2, 3, None], 1),
        ('{"step": 3, "kind": "evaluation"}', [1, 2, 2, 3, 3], 0),
        (f'{{"step": {"9" * 400}}}\n', [1, 2, 2, 3, None], 1),
        ("[" * 100_000 + "\n", [1, 2, 2, 3, None], 1),
        ('"\\xff"\n', [1, 2, 2, 3, None], 1),
    ],
)
def test_what_comes_after_the_step_goes_and_nothing_before(tmp_path, end, kept, damaged):
    path = write(tmp_path / "metrics.jsonl", [1, 2, 2, 3])
    with path.open("a", encoding="latin-1") as file:
        file.write(end)
    assert journal.cut_after(path, 3) == damaged
    assert steps(path) == kept
    with journal.open_to_append(path) as file:
        file.write('{"step": 4}\n')
    assert steps(path) == [*kept, 4]


def test_a_restart_from_the_beginning_and_a_missing_file(tmp_path):
    assert journal.cut_after(tmp_path / "none", 0) == 0
    assert steps(tmp_path / "none") == []
    path = write(tmp_path / "metrics.jsonl", [1, 2])
    journal.cut_after(path, 0)
    assert path.read_bytes() == b""


def test_special_files_and_lines_without_end_are_one_line(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    for use in (lambda path: journal.cut_after(path, 1), journal.open_to_append, steps):
        with pytest.raises(UserError, match="a FIFO, not a regular file"):
            use(tmp_path / "fifo")
        with pytest.raises(UserError, match="Is a directory"):
            use(tmp_path)
    monkeypatch.setattr(journal, "LINE_LIMIT", 1000)
    monkeypatch.setattr(journal, "_BLOCK", 64)
    (tmp_path / "long").write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match="a line longer than 1000 bytes"):
        journal.cut_after(tmp_path / "long", 1)
