"""Files of others: bounded, decoded strictly, and named in every error."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from iml_jax.bench.sources.formats.files import directory
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable
from iml_jax.storage.reading import parse_json, read_lines, read_text


def test_lines_plain_and_gzip_are_equal(tmp_path: Path) -> None:
    content = "\ufeffone\r\ntwo\u2028still two\n\nlast".encode()
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content))
    wanted = [(1, "one"), (2, "two\u2028still two"), (3, ""), (4, "last")]
    assert list(read_lines(tmp_path / "a.txt")) == wanted
    assert list(read_lines(tmp_path / "a.txt.gz")) == wanted
    assert read_text(tmp_path / "a.txt.gz") == content.decode().removeprefix("\ufeff")


def test_bad_bytes_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\nfine\nb\xe9d\n")
    for read in (read_text, lambda path: list(read_lines(path))):
        with pytest.raises(UserError, match=r"a\.txt:3: byte 0xe9 is not UTF-8"):
            read(path)


@pytest.mark.parametrize("damage", ["cut", "not gzip", "flipped"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    content = bytearray(gzip.compress(b"a line that is long enough to be cut\n" * 50))
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "not gzip":
        content = bytearray(b"plain text\n")
    else:
        content[-6] ^= 0xFF
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jsonl\.gz: damaged or cut-short gzip"):
        list(read_lines(path))


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(
        path, "wb", compresslevel=1
    ) as stream:  # 1 GiB once unpacked would take minutes and memory
        stream.write(b"ok\n")
        for _ in range(5):
            stream.write(b"x" * 1_000_000)
    lines = read_lines(path, limit=1 << 20)
    assert next(lines) == (1, "ok")
    with pytest.raises(UserError, match=r"a\.jsonl\.gz:2: line longer than 1048576 bytes"):
        next(lines)
    with pytest.raises(UserError, match="more than 1048576 bytes"):
        read_text(path, limit=1 << 20)


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path, tmp_path / "absent.json" / "x"):
        with pytest.raises(UserError, match="cannot be read"):
            read_text(path)
    for bound in ("", str(tmp_path / "absent")):
        with pytest.raises(UserError, match=r"Some\.field"):
            directory(bound, "Some.field")
    assert directory(str(tmp_path), "Some.field") == tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b": }', "x.json:8: malformed JSON, column 7"),
        ("[" * 100_000, "x.json:7: JSON that cannot be read"),
        ("9" * 5000, "x.json:7: JSON that cannot be read"),
        ("", "x.json:7: malformed JSON"),
    ],
)
def test_json_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_json(text, Path("x.json"), 7)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_lone_surrogates_are_seen() -> None:
    assert encodable("é", "\U0001f600")
    assert not encodable("fine", "\ud800")
