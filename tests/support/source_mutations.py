"""Damage done to files of every format that the sources read, drawn from a seeded generator."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import yaml
from pyarrow import parquet

from support.source_hostile import HOSTILE, JINJA, PYTHON, TEXTS, TOKENS, XML, YAML

Json = Any


def mutate(path: Path, draws: random.Random) -> str:
    """Damages the file in place in one way or two, fitting its format or not, and names what was done."""
    names = [_once(path, draws)]
    if draws.random() < 0.2 and path.is_file():
        names.append(_once(path, draws))
    return " + ".join(names)


def _once(path: Path, draws: random.Random) -> str:
    name = path.name.removesuffix(".gz")
    fitting = [(name_, way) for ending, name_, way in _FITTING if name.endswith(ending)]
    if fitting and draws.random() < 0.6:
        label, way = draws.choice(fitting)
        content = _unpacked(path)
        # A second damage may meet what is no longer of its format: it is left to the first one.
        with contextlib.suppress(*_UNFIT):
            path.write_bytes(_packed(path, way(content, draws)))
        return label
    label, plain_way = draws.choice(_ANY)
    if label == "a folder":
        path.unlink()
        path.mkdir()
    elif label.startswith("gzip"):
        path.write_bytes(plain_way(gzip.compress(path.read_bytes()), draws))
    elif path.suffix == ".gz" and draws.random() < 0.6:
        path.write_bytes(_packed(path, plain_way(_unpacked(path), draws)))
    else:
        path.write_bytes(plain_way(path.read_bytes(), draws))
    return label


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except Exception:  # already damaged
        return content


def _packed(path: Path, content: bytes) -> bytes:
    return gzip.compress(content) if path.suffix == ".gz" else content


# What the writers below raise on content that is not, or no longer, of their format.
_UNFIT = (ValueError, RecursionError, LookupError, TypeError, AttributeError, OSError, csv.Error)
_UNFIT = (*_UNFIT, pyarrow.ArrowException, yaml.YAMLError)


def _cut(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(len(content) + 1)]


def _hole(content: bytes, draws: random.Random) -> bytes:
    first = draws.randrange(len(content) + 1)
    return content[:first] + content[first + draws.randrange(1, 40) :]


def _flip(content: bytes, draws: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draws.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[draws.randrange(len(changed))] = draws.randrange(256)
    return bytes(changed)


def _insert(content: bytes, draws: random.Random) -> bytes:
    at = draws.randrange(len(content) + 1)
    return content[:at] + draws.choice(TEXTS) + content[at:]


def _replace(content: bytes, draws: random.Random) -> bytes:
    """One mark of the format, wherever it stands, becomes another."""
    old, new = draws.sample((b"\t", b"\n", b",", b'"', b":", b"|", b" ", b"{", b"[", b"1", b"e", b""), 2)
    return content.replace(old or b"a", new)


def _lines(content: bytes, draws: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = draws.randrange(len(lines))
    match draws.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[draws.randrange(len(lines))])
        case 2:
            draws.shuffle(lines)
        case _:
            lines[at] = b""
    return b"\n".join(lines)


def _utf16(content: bytes, draws: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(draws.choice(("utf-16", "utf-16-le", "utf-32")))


def _latin(content: bytes, draws: random.Random) -> bytes:
    at = draws.randrange(len(content) + 1)
    return content[:at] + "\u00e9\u00fc".encode("latin-1") + content[at:]


_ANY: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("cut", _cut),
    ("a hole", _hole),
    ("bytes flipped", _flip),
    ("bytes put in", _insert),
    ("bytes put in", _insert),
    ("marks replaced", _replace),
    ("lines", _lines),
    ("UTF-16", _utf16),
    ("Latin-1", _latin),
    ("byte order mark", lambda content, _: b"\xef\xbb\xbf" + content),
    ("empty", lambda _, __: b""),
    ("spaces", lambda _, __: b" \n\t\n\n"),
    ("CRLF", lambda content, _: content.replace(b"\n", b"\r\n")),
    ("noise", lambda _, draws: draws.randbytes(draws.randrange(1, 3000))),
    ("twice", lambda content, _: content + content),
    ("a folder", lambda content, _: content),
    ("gzip without .gz, or twice", lambda packed, _: packed),
    ("gzip cut", _cut),
)


def _json(content: bytes, draws: random.Random) -> bytes:
    """A change somewhere inside one JSON value of a document, or of its lines."""
    text = content.decode("utf-8").removeprefix("\ufeff")
    try:
        return _dumped(_changed(json.loads(text), draws), draws)
    except ValueError:
        lines = text.split("\n")
        at = draws.choice([index for index, line in enumerate(lines) if line.strip()] or [0])
        if draws.random() < 0.15:  # all lines alike: a schema of another version
            seed = draws.random()
            changed = [
                _dumped(_changed(json.loads(line), random.Random(seed)), draws) for line in lines if line
            ]
            return b"\n".join(changed)
        lines[at] = _dumped(_changed(json.loads(lines[at]), draws), draws).decode("utf-8", "surrogatepass")
        return "\n".join(lines).encode("utf-8", "surrogatepass")


def _dumped(value: Json, draws: random.Random) -> bytes:
    text = json.dumps(value)
    if draws.random() < 0.05:
        text = (
            text.replace('": "', '": "x", "y": "', 1)
            if draws.random() < 0.5
            else text.replace('": ', '":: ', 1)
        )
    elif draws.random() < 0.05 and text.startswith("{"):
        text = text[:-1] + (", " if len(text) > 2 else "") + text[1:]  # every key twice
    return text.encode("utf-8", "surrogatepass")


def _places(value: Json, depth: int = 0) -> list[tuple[Json, Any]]:
    """(container, key or index) of everything inside a value."""
    found: list[tuple[Json, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found.append((value, key))
        if depth < 12:
            found += _places(inner, depth + 1)
    return found


def _changed(value: Json, draws: random.Random) -> Json:  # noqa: PLR0912
    places = _places(value)
    if not places or draws.random() < 0.04:
        return draws.choice((draws.choice(HOSTILE), [value], {"data": value}, [value, value]))
    for _ in range(draws.choice((1, 1, 1, 2, 5))):
        holder, key = draws.choice(places)
        if (isinstance(holder, dict) and key not in holder) or (
            isinstance(holder, list) and key >= len(holder)
        ):
            continue  # an earlier change took it
        match draws.randrange(10):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draws.choice(("", "x", "\ud800", "text", "label", "a-b", "answer_choices"))] = (
                    holder.pop(key)
                )
            case 1:
                holder.insert(key, draws.choice(HOSTILE))
            case 2:
                holder[key] = [holder[key]]
            case 3:
                holder[key] = {"text": holder[key]}
            case 4:
                holder[key] = str(holder[key])
            case 5:
                other, index = draws.choice(places)
                if (isinstance(other, dict) and index in other) or (
                    isinstance(other, list) and index < len(other)
                ):
                    holder[key] = json.loads(json.dumps(other[index]))
            case 6 if isinstance(holder[key], str):
                at = draws.randrange(len(holder[key]) + 1)
                hostile = [text for text in HOSTILE if isinstance(text, str)]
                holder[key] = holder[key][:at] + draws.choice((*hostile, *TOKENS)) + holder[key][at:]
            case 7 if isinstance(holder[key], list) and holder[key]:
                holder[key] = holder[key][: draws.randrange(len(holder[key]))]
            case _:
                holder[key] = draws.choice(HOSTILE)
    return value


def _separated(delimiter: str) -> Callable[[bytes, random.Random], bytes]:
    def change(content: bytes, draws: random.Random) -> bytes:
        text = content.decode("utf-8")
        rows = [line.split(delimiter) for line in text.split("\n")]
        if delimiter == ",":
            rows = [list(row) for row in csv.reader(io.StringIO(text))]
        row = draws.choice([row for row in rows if row])
        at = draws.randrange(len(row))
        match draws.randrange(7):
            case 0:
                del row[at]
            case 1:
                row.insert(at, str(draws.choice(HOSTILE)))
            case 2:
                row[at] = row[at][: len(row[at]) // 2]
            case 3:
                row[at] += draws.choice(TOKENS)
            case 4:
                rows.insert(draws.randrange(len(rows) + 1), ["x"] * draws.randrange(1, 60))
            case 5:
                row[:] = draws.sample(row, len(row))
            case _:
                row[at] = str(draws.choice(HOSTILE))
        if delimiter != ",":
            return "\n".join(delimiter.join(row) for row in rows).encode("utf-8", "surrogatepass")
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        return out.getvalue().encode("utf-8", "surrogatepass")

    return change


def _yaml(content: bytes, draws: random.Random) -> bytes:
    if draws.random() < 0.5:
        return draws.choice(YAML).encode()
    loaded = yaml.safe_load(content)
    if draws.random() < 0.6:
        entry = draws.choice(list(loaded["templates"].values()))
        entry[draws.choice(("jinja", "jinja", "answer_choices"))] = draws.choice(JINJA)
        return yaml.safe_dump(loaded).encode()
    return yaml.safe_dump(_changed(loaded, draws)).encode("utf-8", "surrogatepass")


def _instead(texts: tuple[str, ...]) -> Callable[[bytes, random.Random], bytes]:
    return lambda _, draws: draws.choice(texts).encode("utf-8", "surrogatepass")


def _parquet(content: bytes, draws: random.Random) -> bytes:
    table = _other_table(parquet.read_table(io.BytesIO(content)), draws)
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def _arrow(content: bytes, draws: random.Random) -> bytes:
    table = _other_table(pyarrow.ipc.open_stream(content).read_all(), draws)
    out = io.BytesIO()
    with pyarrow.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def _other_table(table: pyarrow.Table, draws: random.Random) -> pyarrow.Table:
    """A column of another type or name, one more, one less, or no rows."""
    at = draws.randrange(table.num_columns)
    name, rows = table.column_names[at], table.num_rows
    match draws.randrange(6):
        case 0:
            return table.remove_column(at)
        case 1:
            return table.append_column(name, table.column(at))  # the name twice
        case 2:
            return table.rename_columns([f"x{n}" if n == name else n for n in table.column_names])
        case 3:
            return table.slice(0, 0)
        case _:
            values = draws.choice(
                (
                    pyarrow.array([b"\xff\xfe"] * rows),
                    pyarrow.array([None] * rows, pyarrow.string()),
                    pyarrow.nulls(rows),
                    pyarrow.array([[1.5, None]] * rows),
                    pyarrow.array([{"text": "x"}] * rows),
                    pyarrow.array([float("nan")] * rows),
                    pyarrow.array([2**62] * rows, pyarrow.timestamp("ns")),
                    pyarrow.array([2**62] * rows, pyarrow.timestamp("s")),
                    pyarrow.array([["x"]] * rows),
                    pyarrow.array(["x"] * rows).dictionary_encode(),
                    pyarrow.StringArray.from_buffers(
                        rows,
                        pyarrow.py_buffer(b"".join((n * 2).to_bytes(4, "little") for n in range(rows + 1))),
                        pyarrow.py_buffer(b"\xff\xfe" * rows),
                    ),
                )
            )
            return table.set_column(at, name, values)


_FITTING: tuple[tuple[str, str, Callable[[bytes, random.Random], bytes]], ...] = (
    *((ending, "JSON values", _json) for ending in (".json", ".jsonl", ".jsonlines", ".arrow.json")),
    (".csv", "cells", _separated(",")),
    (".tsv", "cells", _separated("\t")),
    (".txt", "cells", _separated("\t")),
    (".yaml", "YAML", _yaml),
    (".py", "Python", _instead(PYTHON)),
    (".xml", "XML", _instead(XML)),
    (".parquet", "columns", _parquet),
    (".arrow", "columns", _arrow),
)
