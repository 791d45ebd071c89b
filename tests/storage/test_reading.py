"""Files that are no regular files, JSON that is no JSON, and lines that only \\n and \\r\\n end."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.storage import reading


def test_only_regular_files_are_opened(tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, said in (
        (fifo, "a FIFO, not a regular file"),
        (Path("/dev/zero"), "a device, not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "absent", "No such file"),
        (tmp_path / ("x" * 300), "name too long"),
        (Path("a\0b"), "null byte"),
    ):
        with pytest.raises(UserError, match=said):
            reading.read_text(path)


def test_gzip_is_read_and_damage_is_named(tmp_path: Path):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"a": 1}'))
    assert reading.read_json(path) == {"a": 1}
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(UserError, match=r"a\.json\.gz: damaged or cut-short gzip file"):
        reading.read_json(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": NaN}', "NaN is not a JSON value"),
        ("[-Infinity]", "-Infinity is not a JSON value"),
        ("[1e400]", "beyond float64"),
        (f"[{'9' * 400}]", "an integer of 400 digits"),
        ("[" * 100_000, "nested too deeply"),
        ("[1,\n2,,]", r"f:8: malformed JSON, column 3"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(text: str, said: str):
    with pytest.raises(UserError, match=said) as caught:
        reading.parse_json(text, Path("f"), 7)
    assert str(caught.value).startswith(("f:7: ", "f:8: "))


def test_numbers_of_float64_are_read_as_the_library_reads_them():
    text = f'[{"9" * 308}, 1e308, -1.5E+300, 1e-999, "{"9" * 400} 1e999"]'
    assert reading.parse_json(text, Path("f")) == json.loads(text)
    assert all(math.isfinite(value) for value in reading.parse_json(text, Path("f"))[:4])


def test_only_line_feeds_end_a_line(tmp_path: Path):
    text = "a\u2028b\u0085c\x0cd\r\ne\rf\n\ng"
    path = tmp_path / "lines"
    path.write_bytes(text.encode())
    expected = ["a\u2028b\u0085c\x0cd", "e\rf", "", "g"]
    assert reading.split_lines(text) == expected
    assert [line for _, line in reading.read_lines(path)] == expected
    assert reading.split_lines("") == []
    assert reading.split_lines("a\n") == ["a"]


@pytest.mark.parametrize(
    "text", ['["\\ud83d"]', '{"a": {"\\uDE00": 1}}', '"\\ud83d \\ude00"', '["\\ude00\\ud83d"]']
)
def test_halves_of_surrogate_pairs_are_refused_but_in_rows(text: str):
    with pytest.raises(UserError, match=r"^f:3: a text with half of a surrogate pair"):
        reading.parse_json(text, Path("f"), 3)
    value = reading.parse_json(text, Path("f"), 3, halves=True)
    assert value == json.loads(text) and not reading.encodable(json.dumps(value, ensure_ascii=False))


def test_whole_surrogate_pairs_and_what_looks_like_halves_are_read():
    text = r'["\ud83d\ude00", "\\ud83d", "\uD83D\uDE00\\\\ude00"]'
    assert reading.parse_json(text, Path("f")) == ["\U0001f600", "\\ud83d", "\U0001f600\\\\ude00"]


def test_json_that_a_recursive_reader_could_not_follow_is_refused():
    for opened, closed in (("[", "]"), ('{"a":', "}"), ('[{"a": ', "}]")):
        most = reading.DEPTH_LIMIT // (2 if opened.count("[") and opened.count("{") else 1)
        fine = opened * most + "1" + closed * most
        assert reading.parse_json(fine, Path("f")) == json.loads(fine)
        with pytest.raises(UserError, match="nested too deeply"):
            reading.parse_json(opened * (most + 1) + "1" + closed * (most + 1), Path("f"))
    flat = [[i] for i in range(1000)]
    assert reading.parse_json(json.dumps(flat), Path("f")) == flat


def test_lines_share_a_decoder() -> None:
    """A results file has a JSON text on each line: a decoder is not made for every one of them."""
    assert reading.make_decoder("[1, 2.5]") is reading.make_decoder('{"a": "b"}')
    assert reading.make_decoder("1" * 400) is not reading.make_decoder("1")
