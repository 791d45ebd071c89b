"""Files that would take all memory or time, read one after the other in a process of their own.

``python source_bombs.py FOLDER [EVERY FIRST]`` prints one JSON line for each: {base, name, outcome, message,
long, MiB}; with two numbers of each EVERY bombs the one at FIRST.
Long is the count of rows above the bound, MiB the peak of the resident set above what the process held
before the file.
"""

from __future__ import annotations

import collections
import gzip
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from iml_jax.bench.sources.formats.bounds import LONG_ROW
from iml_jax.bench.sources.formats.side_files import UNUSED
from support.source_bases import BASES, build
from support.source_reading import read_all

GIGABYTE = 1 << 30
LINE = 160 << 20  # bytes, ten times ``reading.LINE_LIMIT``; the test allows less memory than that
_TEXTS = "jsonl json jsonlines csv tsv txt bio lst en sgm xml yaml py nltktok dev discourse tagged"
_LONG = 20  # MiB of lines: more than one row or dialogue may have
_WHOLE = 30  # MiB of one document: more than a row may have


def _sparse(path: Path) -> None:
    """One long line of NULs, which takes no room on the disk."""
    os.truncate(path, LINE)


def _packed(path: Path) -> None:
    """Gzip members that hold one long line of "a"."""
    member = gzip.compress(b"a" * (LINE >> 5))
    path.write_bytes(member * 32)


def _many(path: Path, first: str, part: str, last: str, mebibytes: int) -> None:
    block = part * ((1 << 20) // len(part))
    with path.open("w") as stream:
        stream.write(first)
        for _ in range(mebibytes):
            stream.write(block)
        stream.write(last)


def _json_bombs() -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield "nested a million deep", lambda path: path.write_text("[" * 1_000_000) and None
    yield "objects a million deep", lambda path: path.write_text('{"a":' * 1_000_000) and None
    yield "an object of lists", lambda path: _many(path, '{"a": [', "[],", "0]}", _WHOLE)
    yield "an array of lists", lambda path: _many(path, "[", "[],", "0]", _WHOLE)
    yield "a list of objects on one line", lambda path: _many(path, "[[", '{"a":[]},', "0]]", 15)
    yield (
        "one text of four bytes a character",
        lambda path: _many(path, '{"a": "', "a\U0001f600", '"}', _WHOLE),
    )


def _counted(path: Path) -> None:
    path.write_text("".join(f"{number} a\tb\n" for number in range(1, 600_000)))


_CSV = (
    ("a quote that never ends", lambda path: _many(path, 'a,b\n"', "x\n", "", _LONG)),
    ("one row over all lines", lambda path: _many(path, 'a,b\n"', 'x\n","', "", _LONG)),
    ("a header of millions", lambda path: _many(path, "", "ab,", "\n", 15)),
)
# Of what has no end by itself, ending of the file -> its lines.
_LINES = {
    ".bio": ("a sentence that never ends", lambda path: _many(path, "", "O\ta\n", "", _LONG)),
    "trn.txt": ("a dialogue that never ends", _counted),
    "speech_train.txt": (
        "turns that never end",
        lambda path: _many(path, "", "text:a\tlabels:b\n", "", _LONG),
    ),
    "tagged": ("a call that never ends", lambda path: _many(path, "", "A.1: a/B\nB.2: c/D\n", "", _LONG)),
}
_XML = (
    ("elements that never end", lambda path: _many(path, "<x>", "<Post>a</Post>", "</x>", _LONG)),
    ("nested", lambda path: _many(path, "", "<x>", "", _LONG)),
    ("a tag that never ends", lambda path: _many(path, "<x ", "a='b' ", "", _LONG)),
    ("segments", lambda path: _many(path, "", "<seg>", "", 15)),
)
# Whose readers of JSON differ: a whole file, elements one by one, lines.
_JSON = ("Super-NaturalInstructions", "FLAN, collection", "UnifiedSKG")
_UNREAD = ("info.train.json", "dataset_info.json")  # read for some rows of others only
_ANCHORS = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 10)}]\n"
    for before, name in zip(["", *"abcdefghijk"], "abcdefghijkl", strict=True)
)
_YAML = (
    ("anchors", lambda path: path.write_text(f"{_ANCHORS}templates: {{t: *l}}\n") and None),
    ("nested", lambda path: path.write_text("templates: " + "[" * 1_000_000) and None),
    ("scalars", lambda path: _many(path, "templates: [", "a,", "]\n", 15)),
)


def bombs(root: Path, every: int = 1, first: int = 0) -> Iterator[tuple[str, str]]:
    """(base, name) of each bomb, or of one in ``every``, while it lies in the base's folder."""
    number = 0
    for base in BASES:
        folder = root / base.replace(" ", "_")
        _, files = build(base, folder)
        seen: set[str] = set()
        for path in files:
            for name, write in _of(path, base):
                # A reader that all files of an ending share is seen in one of them.
                if (kind := f"{path.suffix} {name}") in seen:
                    continue
                seen.add(kind)
                number += 1
                if number % every != first:
                    continue
                content = path.read_bytes()
                write(path)
                yield base, f"{path.relative_to(folder)}: {name}"
                path.write_bytes(content)


def _of(path: Path, base: str) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """(name, writer) of the bombs that a file may become."""
    name = path.name
    if name in _UNREAD:
        return
    if name.endswith(".gz"):
        yield "a long line, packed", _packed
        return
    if name.rpartition(".")[2] not in _TEXTS.split():
        return
    yield "a long line", _sparse
    if name.endswith((".json", ".jsonl")) and base in _JSON:
        yield from _json_bombs()
    if name.endswith(".csv") and base in ("PromptSource", "Reasoning", "Dialogue"):
        yield from _CSV
    yield from (bomb for ending, bomb in _LINES.items() if name.endswith(ending))
    if name.endswith((".xml", ".sgm")):
        yield from _XML
    if name.endswith(".yaml"):
        yield from _YAML


def _resident(field: str) -> int:
    """KiB, from /proc: ``VmRSS`` now, ``VmHWM`` the most since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise AssertionError(f"no {field}")


def main(root: Path, every: int = 1, first: int = 0) -> None:
    """Reads the bombs; what no reader should need ends as a MemoryError, not as a full machine."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * GIGABYTE, 8 * GIGABYTE))
    for base, name in bombs(root, every, first):
        source, _ = BASES[base](root / base.replace(" ", "_"))
        path = root / base.replace(" ", "_") / name.partition(": ")[0]
        skipped: collections.Counter[str] = collections.Counter()
        before, began = _resident("VmRSS"), time.process_time()
        Path("/proc/self/clear_refs").write_text("5")  # the most resident starts anew
        try:
            outcome, message = read_all(source, root, path, strict=False, skipped=skipped), ""
        except BaseException as error:
            outcome, message = type(error).__name__, str(error)[:300]
        if "IML_BOMB_TIMES" in os.environ:
            print(f"{time.process_time() - began:.1f} s", base, name, file=sys.stderr)
        grown = (_resident("VmHWM") - before) >> 10
        unused = sum(count for reason, count in skipped.items() if reason.startswith(UNUSED))
        told = {"outcome": outcome, "message": message, "long": skipped[LONG_ROW], "unused": unused}
        told |= {"MiB": grown}
        print(json.dumps({"base": base, "name": name, **told}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
