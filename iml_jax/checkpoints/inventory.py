"""The inventory of a checkpoint: size and checksum of every file, written after the commit.

``inventory.json`` holds the sizes of all files and checksums (XXH3, 128 bits); of a run on several hosts each
writes the checksums of its share, host N to ``inventory.N.json``. A checkpoint without them (a process killed
between the commit and the inventory, or one of an older version) is still usable, only unverified.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.reading import open_binary, read_json
from iml_jax.storage.writing import atomic_file

FILE = "inventory.json"
FORMAT = 2  # 1 was an object of sizes by name
ALGORITHM = "xxh3_128"
_BLOCK = 1 << 20
# Temporary names that a killed process left: ``.NAME.NUMBER.tmp``, of older versions ``NAME.tmp``.
_PARTS = re.compile(r"\.?inventory(\.[0-9]+)?\.json(\.[0-9]+)?(\.tmp)?")
_THREADS = max(1, min(8, (os.cpu_count() or 1) // 2))


class Inventory(NamedTuple):
    """By file name (POSIX, relative to the step directory): sizes in bytes, and checksums as hexadecimal."""

    sizes: dict[str, int]
    checksums: dict[str, str]


class Verdict(NamedTuple):
    """What comparing the checksums found: the ``damage`` or ``""``, and how many files have no checksum."""

    damage: str
    unverified: int


def checksum(file: Path) -> str:
    """The checksum (XXH3, 128 bits, hexadecimal) of a regular file.

    Raises:
      UserError: it is missing or not a regular file.
      Fault: the device failed.
    """
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(_BLOCK))
    with open_binary(file) as stream:
        while size := stream.readinto(block):  # type: ignore[attr-defined]  # a buffered file
            digest.update(block[:size])
    return digest.hexdigest()


def write(step_directory: Path, host: int = 0, hosts: int = 1) -> None:
    """Records sizes and checksums of a committed checkpoint: those of the share of ``host``.

    Raises:
      OSError: the file cannot be written.
      UserError: a file vanished meanwhile.
      Fault: a file cannot be read.
    """
    sizes = _sizes_on_disk(step_directory)
    content: dict[str, Any] = {"format": FORMAT, "algorithm": ALGORITHM}
    if host == 0:
        content["sizes"] = sizes
    content["checksums"] = _checksums(step_directory, share(sizes, host, hosts))
    target = step_directory / (FILE if host == 0 else f"inventory.{host}.json")
    with atomic_file(target) as file:  # the directory must exist: it may have been removed
        file.write((json.dumps(content, indent=1) + "\n").encode())


def compare_sizes(step_directory: Path) -> str:
    """Why the files are not those of the inventory, by their sizes; ``""`` where nothing differs."""
    try:
        sizes = read(step_directory).sizes
        for name, size in sizes.items():
            file = step_directory / name
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                return f"it is damaged ({name} has {found if found is not None else 'no'} bytes of {size})"
    except (OSError, ValueError, UserError, Fault):
        return f"it is damaged ({FILE} cannot be read)"
    return ""


def verify(step_directory: Path, host: int = 0, hosts: int = 1) -> Verdict:
    """Compares the checksums of the share of ``host`` with the inventory's."""
    try:
        inventory = read(step_directory)
    except (OSError, ValueError, UserError, Fault):
        return Verdict(f"it is damaged ({FILE} cannot be read)", 0)
    names = share(inventory.sizes or _sizes_on_disk(step_directory), host, hosts)
    known = [name for name in names if name in inventory.checksums]
    try:
        found = _checksums(step_directory, known)
    except (UserError, Fault) as error:
        return Verdict(f"it is damaged ({error})", 0)
    for name in known:
        if found[name] != inventory.checksums[name]:
            return Verdict(f"it is damaged ({name} does not have the checksum that it was saved with)", 0)
    return Verdict("", len(names) - len(known))


def read(step_directory: Path) -> Inventory:
    """What the inventory files say; both empty where there is none.

    Raises:
      UserError, Fault, ValueError: one cannot be read or is none.
    """
    sizes: dict[str, Any] = {}
    checksums: dict[str, Any] = {}
    for file in sorted(step_directory.glob("inventory*.json")):
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError(f"{file}: a JSON object is expected")
        if all(type(size) is int for size in content.values()):
            content = {"format": FORMAT, "algorithm": ALGORITHM, "sizes": content, "checksums": {}}
        if content.get("format") != FORMAT or content.get("algorithm") != ALGORITHM:
            raise ValueError(f"{file}: not an inventory of format {FORMAT}")
        if (file.name == FILE) != ("sizes" in content) or not isinstance(content.get("checksums"), dict):
            raise ValueError(f"{file}: sizes or checksums are missing")
        for part, name, kind in ((sizes, "sizes", int), (checksums, "checksums", str)):
            stated = content.get(name, {})
            if not isinstance(stated, dict) or not all(type(value) is kind for value in stated.values()):
                raise ValueError(f"{file}: {name} is no table of {kind.__name__}")
            part.update(stated)
    if sizes and not checksums.keys() <= sizes.keys():
        raise ValueError(f"{step_directory}: a checksum without a size")
    for name in sizes.keys() | checksums.keys():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{step_directory}: {name} lies outside the checkpoint")
    return Inventory(sizes, checksums)


def share(sizes: dict[str, int], host: int, hosts: int) -> list[str]:
    """The files that ``host`` of ``hosts`` reads: each file has one host, each host about as many bytes.

    The order is that of Orbax's directories, one a process, so that a host of a job of the same size reads
    what it also restores.
    """
    names = sorted(sizes, key=_natural)
    total, before, own = max(1, sum(sizes.values())), 0, []
    for name in names:
        if min(hosts - 1, (2 * before + sizes[name]) * hosts // (2 * total)) == host:
            own.append(name)
        before += sizes[name]
    return own


def _natural(name: str) -> list[str | int]:
    """Text and numbers in turn, so that process_10 comes after process_9."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _checksums(step_directory: Path, names: Sequence[str]) -> dict[str, str]:
    largest_first = sorted(names, key=lambda name: -(step_directory / name).stat().st_size)
    with concurrent.futures.ThreadPoolExecutor(_THREADS, "checksums") as threads:
        found = threads.map(lambda name: checksum(step_directory / name), largest_first)
        return dict(zip(largest_first, found, strict=True))


def _sizes_on_disk(step_directory: Path) -> dict[str, int]:
    files = [file for file in sorted(step_directory.rglob("*")) if file.is_file()]
    return {
        file.relative_to(step_directory).as_posix(): file.stat().st_size
        for file in files
        if file.parent != step_directory or not _PARTS.fullmatch(file.name)
    }
