"""Damage to one file, drawn from a seeded generator: to its bytes, a value inside it, or the file itself.

A damage to a value leaves the file valid in its own format (JSON that parses, a shard whose records can be
read) or is a value that the format does not have (NaN in JSON). On a file that carries a checksum of ours
any other value will do; on other people's files only values of a wrong type, since a changed letter in
a prompt is simply another prompt.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

VALUE, BYTES, FILE = "value", "bytes", "file"
_DEEP = 100_000
# Put into JSON as text, since Python's writer would refuse or normalise them.
_RAW = ("NaN", "-Infinity", "1e999", "9" * 400, "[" * _DEEP + "]" * _DEEP, '"\\ud83d half"', "01", "'x'")
_TYPED: tuple[Any, ...] = (None, True, 7, -1, 1.5, 2**70, "text", "", [], {}, [[1]], {"a": None}, ["\x1b[2J"])
_HOLE = "\0hole\0"


def damage(path: Path, form: str, own: bool, draws: random.Random) -> tuple[str, str]:
    """Damages ``path`` in place.

    Args:
      path: a regular file.
      form: ``json``, ``jsonl``, ``gin``, ``lines``, ``safetensors``, ``shard`` or ``binary``.
      own: whether the file carries a checksum of ours, so that any changed value must be noticed.
      draws: the generator that decides everything.

    Returns:
      the class (VALUE, BYTES or FILE) and the name of the damage.
    """
    draw = draws.random()
    ways = _VALUES.get(form, ())
    if ways and draw < 0.6:
        name, way = draws.choice(ways)
        changed = way(path.read_bytes(), own, draws)
        if changed is not None:
            path.write_bytes(changed)
            return VALUE, name
    if draw > 0.93:
        name, act = draws.choice(_FILES if own else _FILES_FOREIGN)
        if act is _missing and form == "jsonl" and not own:  # rows of a split that nothing else names
            name, act = "a link to itself", _loop
        act(path, draws)
        return FILE, name
    if own or form == "binary":
        name, plain = draws.choice(_BYTES)
    else:
        name, plain = draws.choice(_BYTES_LINES if form in ("lines", "jsonl", "gin") else _BYTES_FOREIGN)
    path.write_bytes(plain(path.read_bytes(), draws))
    return BYTES, name


# ----------------------------------------------------------------------------------------------- values


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        found += _paths(child, (*path, key))
    return found


def _put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def _get(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _other(old: Any, own: bool, draws: random.Random) -> str:
    """JSON text of a value that is not ``old``; of another type unless the file is ours."""
    if draws.random() < 0.35:
        return draws.choice(_RAW)
    if own and draws.random() < 0.5:
        if isinstance(old, bool):
            return json.dumps(not old)
        if isinstance(old, int | float):
            return json.dumps(old + draws.choice((1, -1, 0.5)))
        if isinstance(old, str):
            return json.dumps(draws.choice((old + "x", old[:-1], old.upper() + "\u202e", "../" + old)))
    choices = [one for one in _TYPED if not _alike(one, old)]
    return json.dumps(draws.choice(choices))


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, str | int | float) and isinstance(other, str | int | float):
        # A number where a text stands is often the text of that number: not a damage.
        return True
    return type(one) is type(other)


def _json_value(content: bytes, own: bool, draws: random.Random) -> bytes | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    paths = _paths(value)
    if not paths:
        return draws.choice(_RAW).encode()
    path = draws.choice(paths)
    text = _other(_get(value, path), own, draws)
    _put(value, path, _HOLE)
    return json.dumps(value).replace(json.dumps(_HOLE), text).encode()


def _json_key(content: bytes, own: bool, draws: random.Random) -> bytes | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    keyed = [path for path in _paths(value) if isinstance(path[-1], str)]
    if not keyed:
        return None
    path = draws.choice(keyed)
    holder = _get(value, path[:-1])
    removed = holder.pop(path[-1])
    if draws.random() < 0.5:
        holder[f"{path[-1]}_"] = removed
    return json.dumps(value).encode()


def _jsonl(way: Callable[..., bytes | None]) -> Callable[..., bytes | None]:
    def one(content: bytes, own: bool, draws: random.Random) -> bytes | None:
        lines = content.split(b"\n")
        number = draws.randrange(max(1, len(lines) - 1))
        changed = way(lines[number], own, draws)
        if changed is None:
            return None
        lines[number] = changed
        return b"\n".join(lines)

    return one


def _gin_value(content: bytes, own: bool, draws: random.Random) -> bytes | None:
    lines = content.decode().split("\n")
    bound = [number for number, line in enumerate(lines) if " = " in line]
    if not bound:
        return None
    number = draws.choice(bound)
    name, _, value = lines[number].partition(" = ")
    wrong = (
        "{",
        "@Nope()",
        "%NOPE",
        "'unclosed",
        "[1, 2",
        "1e999",
        "9" * 400,
        "(" * 500,
        "\x1b[2J",
        "{'a': 1}",
    )
    lines[number] = draws.choice(
        (
            *(f"{name} = {text}" for text in wrong),
            f"{name}x = {value}",
            f"Nope.{name} = {value}",
            f"{name} {value}",
            f"{name} = __import__('os').getcwd()",
            f"include 'nope_{name}.gin'",
        )
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _line(content: bytes, own: bool, draws: random.Random) -> bytes | None:
    """A line that cannot be what the file's lines are."""
    lines = content.split(b"\n")
    wrong = (
        b"\x00\x00",
        b"\xff\xfe",
        b"x" * 300_000,
        b"\xed\xa0\xbd",
        b"one\ttoo\tmany\tcells\there\tand\there",
    )
    lines[draws.randrange(len(lines))] = draws.choice(wrong)
    return b"\n".join(lines)


def _safetensors(content: bytes, own: bool, draws: random.Random) -> bytes | None:
    (size,) = struct.unpack("<Q", content[:8])
    header = (draws.choice((_json_value, _json_key)))(content[8 : 8 + size], True, draws)
    if header is None:
        return None
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _shard(content: bytes, own: bool, draws: random.Random) -> bytes | None:
    """The shard written again with one byte of one record changed: a valid file of the same records."""
    import tempfile

    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        old.write_bytes(content)
        reader = ArrayRecordReader(str(old))
        records = [bytearray(record) for record in reader.read_all()]
        reader.close()
        if not records:
            return None
        record = draws.choice(records)
        record[draws.randrange(len(record))] ^= 1 << draws.randrange(8)
        writer = ArrayRecordWriter(str(new), "group_size:1")
        for one in records:
            writer.write(bytes(one))
        writer.close()
        return new.read_bytes()


_VALUES: dict[str, tuple[tuple[str, Callable[..., bytes | None]], ...]] = {
    "json": (("a value", _json_value), ("a value", _json_value), ("a key", _json_key)),
    "jsonl": (
        ("a value of a line", _jsonl(_json_value)),
        ("a value of a line", _jsonl(_json_value)),
        ("a key of a line", _jsonl(_json_key)),
    ),
    "gin": (("a binding", _gin_value),),
    "lines": (("a line", _line),),
    "safetensors": (("a value of the header", _safetensors),),
    "shard": (("a value of a record", _shard),),
}


# ------------------------------------------------------------------------------------------------ bytes


def _flip(content: bytes, draws: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(draws.choice((1, 1, 5))):
        changed[draws.randrange(len(changed))] ^= 1 << draws.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(max(1, len(content)))]


def _hole(content: bytes, draws: random.Random) -> bytes:
    first = draws.randrange(max(1, len(content)))
    return content[:first] + content[first + draws.randrange(1, 40) :]


def _zeros(content: bytes, draws: random.Random) -> bytes:
    changed = bytearray(content or b"x")
    first = draws.randrange(len(changed))
    last = min(len(changed), first + draws.choice((1, 64, 4096)))
    changed[first:last] = bytes(last - first)
    return bytes(changed)


def _not_text(content: bytes, draws: random.Random) -> bytes:
    first = draws.randrange(max(1, len(content)))
    return content[:first] + draws.choice((b"\xff", b"\xc3(", b"\xed\xa0\xbd")) + content[first:]


def _appended(content: bytes, draws: random.Random) -> bytes:
    return content + draws.choice((b"\0" * 100, b"}", b"\xff\xff", content[:200]))


_BYTES: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("flipped bits", _flip),
    ("cut short", _cut),
    ("bytes missing", _hole),
    ("zeros", _zeros),
    ("appended", _appended),
    ("no UTF-8", _not_text),
    ("empty", lambda content, draws: b""),
)
# A flipped bit in somebody's text is another text, and fewer lines are another list; what is left is damage.
_BYTES_FOREIGN = (
    ("cut short", _cut),
    ("no UTF-8", _not_text),
    ("no UTF-8", _not_text),
    ("empty", lambda content, draws: b""),
)
_BYTES_LINES = (("no UTF-8", _not_text),)


# ------------------------------------------------------------------------------------------------ files


def _fifo(path: Path, draws: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, draws: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _device(path: Path, draws: random.Random) -> None:
    path.unlink()
    path.symlink_to(draws.choice(("/dev/zero", "/dev/full", "/dev/null")))


def _missing(path: Path, draws: random.Random) -> None:
    path.unlink()


def _loop(path: Path, draws: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _swapped(path: Path, draws: random.Random) -> None:
    others = [one for one in sorted(path.parent.iterdir()) if one.is_file() and one != path]
    if others:
        shutil.copyfile(draws.choice(others), path)
    else:
        path.unlink()


_FILES: tuple[tuple[str, Callable[[Path, random.Random], None]], ...] = (
    ("a FIFO", _fifo),
    ("a folder", _folder),
    ("a device", _device),
    ("missing", _missing),
    ("a link to itself", _loop),
    ("another file's content", _swapped),
)
_FILES_FOREIGN = _FILES[:-1]  # somebody's other file is simply another input
