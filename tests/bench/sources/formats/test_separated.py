"""CSV and TSV with rows above the bound: passed over without being held, the others as ``csv`` reads them."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench.sources.formats import separated
from iml_jax.bench.sources.formats.separated import csv_lines
from iml_jax.foundation.errors import UserError

CELLS = st.text(st.sampled_from('ab",\né '), max_size=30)


def written(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=8),
    limit=st.integers(1, 40),
    piece=st.integers(1, 7),
)
def test_rows_above_the_limit_are_passed_over(tmp_path_factory, rows, limit, piece) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(b"".join(map(written, rows)))
    expected, line = [], 1
    for cells in rows:
        content = written(cells)
        expected.append((line, cells if len(content) <= limit else None))
        line += content.count(b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separated, "_PIECE", piece)
        assert list(csv_lines(path, limit=limit)) == expected


def test_quotes_inside_a_cell_without_quotes_and_carriage_returns(tmp_path: Path) -> None:
    """A quote opens a cell only at its beginning."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\naaaaaaaaaaaaaaa"b,"c\r\n"\r\nd,e\r\n')
    assert list(csv_lines(path, limit=8)) == [(1, ["a", "b"]), (2, None), (4, ["d", "e"])]


def test_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('a\tb\n"aaaaaaaaaaaaaaaaaaaaaaaaaaa\tb\n"c\td\n')
    assert list(csv_lines(path, tabs=True, limit=8)) == [(1, ["a", "b"]), (2, None), (3, ['"c', "d"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a,b\n"' + "x\n" * 50, r"a\.csv:2: malformed CSV \(a quote without an end\)"),
        ('a,b\n"' + "x" * 50 + '"y,b\n', r"a\.csv:2: malformed CSV \(',' expected after"),
    ],
)
def test_a_long_row_may_be_malformed(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        list(csv_lines(tmp_path / "a.csv", limit=16))


def test_a_long_row_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w") as stream:
        stream.write('a,b\n"')
        for _ in range(300):
            stream.write('x\n""' * 5_000)
        stream.write('",b\nc,d\n')
    assert path.stat().st_size > 5 << 20
    tracemalloc.start()
    try:
        rows = list(csv_lines(path, limit=1 << 16))
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
    assert rows == [(1, ["a", "b"]), (2, None), (2 + 300 * 5_000 + 1, ["c", "d"])]
