"""What a finished task leaves in its cache folder, and how a cache job reports (no TensorFlow)."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from iml_jax.data.manifest import SplitEntry
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import local
from iml_jax.storage.decoding import decode
from iml_jax.storage.reading import open_binary, read_json
from iml_jax.storage.writing import atomic_file, write_atomically

FILE_NAME = "prepared.json"
LEASE = ".lease"  # of the prepared directory: who writes there holds it
_JOB = ".job"


def task_folder(output_dir: Path, name: str) -> Path:
    """``OUTPUT/cache/BENCHMARK/TASK/VARIANT``, as SeqIO lays out its cache."""
    return output_dir.joinpath("cache", *name.split(":"))


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a buffered file


def write(folder: Path, fingerprint: str, splits: Mapping[str, SplitEntry]) -> None:
    """Writes ``prepared.json``; ``splits`` name their shards relative to ``folder``.

    Raises:
      Fault: the file cannot be written.
    """
    content = {
        "fingerprint": fingerprint,
        "splits": {split: dataclasses.asdict(entry) for split, entry in splits.items()},
    }
    write_atomically(folder / FILE_NAME, json.dumps(content, indent=1) + "\n")


def read(output_dir: Path, name: str, fingerprint: str) -> dict[str, SplitEntry] | None:
    """The splits of a task that is prepared with this fingerprint, every shard there in full; else None.

    Shard paths are relative to ``output_dir``.
    """
    folder = task_folder(output_dir, name)
    try:
        content = read_json(folder / FILE_NAME)
        if content["fingerprint"] != fingerprint:
            return None
        splits = {}
        for split, entry in content["splits"].items():
            found: SplitEntry = decode(SplitEntry, entry, FILE_NAME)
            if any((folder / file.path).stat().st_size != file.bytes for file in found.files):
                return None
            relative = folder.relative_to(output_dir)
            moved = tuple(dataclasses.replace(file, path=str(relative / file.path)) for file in found.files)
            splits[split] = dataclasses.replace(found, files=moved)
        return splits
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # missing or damaged in any way: it is prepared again


def start(output_dir: Path) -> None:
    """Clears what a killed job left: unfinished folders and old notes."""
    local.remove_tree(output_dir / _JOB)
    for leftover in (output_dir / "cache").glob("*/*/.*.tmp"):
        local.remove_tree(leftover)
    local.make_directory(output_dir / _JOB)


def note(output_dir: Path, name: str, error: Exception | None) -> None:
    """Notes a task's outcome where the process that started the job looks for it."""
    kind = "" if error is None else type(error).__name__
    text = json.dumps({"name": name, "kind": kind, "message": str(error or "")})
    key = hashlib.sha256(name.encode()).hexdigest()[:24]
    file = output_dir / _JOB / f"{key}.json"
    with contextlib.suppress(OSError), atomic_file(file) as stream:  # a full disk: `finish` misses the note
        stream.write(text.encode())


def noted(output_dir: Path) -> int:
    """How many tasks have an outcome by now."""
    return sum(1 for _ in (output_dir / _JOB).glob("*.json"))


def finish(output_dir: Path, expected: int) -> None:
    """Reads all outcomes, removes the notes, and raises the first failure by name of its task.

    Raises:
      UserError, Fault: as the task's worker raised it; says how many others failed.
      Fault: fewer than ``expected`` tasks left a note.
    """
    outcomes = [read_json(path) for path in (output_dir / _JOB).glob("*.json")]
    local.remove_tree(output_dir / _JOB)
    failures = sorted((o for o in outcomes if o["kind"]), key=lambda o: o["name"])
    if failures:
        others = len(failures) - 1
        more = f" (and {others} more {'task' if others == 1 else 'tasks'} failed)" if others else ""
        kind = UserError if failures[0]["kind"] == "UserError" else Fault
        raise kind(f"{failures[0]['message']}{more}")
    if len(outcomes) != expected:
        missing = expected - len(outcomes)
        raise Fault(
            f"{output_dir}: {missing} of {expected} tasks reported nothing (disk full, or a worker died?)"
        )
