"""The wall between preparing and training: what was prepared, as JSON (no TensorFlow)."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable
from pathlib import Path

from iml_jax.data.terms import LEVELS, METRICS, ROLES, SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.decoding import decode
from iml_jax.storage.reading import read_json
from iml_jax.storage.sealed import fingerprint_of
from iml_jax.storage.writing import write_atomically

FORMAT = 3
FILE_NAME = "manifest.json"


@dataclasses.dataclass(frozen=True)
class FileEntry:
    """One ArrayRecord shard: ``path`` relative to the prepared directory, its records, bytes and SHA-256."""

    path: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class SplitEntry:
    """What one split of a task holds once prepared.

    Attributes:
      files: its shards; records are numbered through them in this order.
      examples: records written; ``tokens`` and ``loss_tokens`` count over these, untruncated.
      tokens: ids of ``inputs`` and ``targets`` together.
      loss_tokens: ids of ``targets`` (the final ``</s>`` is one of them); one less for each example without
        ``inputs``, whose first id nothing predicts.
      left_truncated: examples of which the manifest's ``length`` positions cut something off.
      dropped: rows that became no example, by reason.
      demonstrations: those that its prompts show, and those wanted but not shown, by reason.
    """

    files: tuple[FileEntry, ...]
    examples: int
    tokens: int
    loss_tokens: int
    left_truncated: int
    dropped: dict[str, int]
    demonstrations: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """One prepared task.

    Attributes:
      name: ``benchmark:task:variant``.
      level: ``""`` for a task that is not evaluated, else one of ``LEVELS``.
      evaluation_split: the split to evaluate (a key of ``splits``), ``""`` where not evaluated.
      cap: min(train examples, eta): what its rate is proportional to (OPT-IML paper, section 3).
      rate: share of the training stream, 0 where the task is not trained; all rates sum to 1.
      fingerprint: over sources, settings, prompt and tokenizer; same fingerprint, same records.
    """

    name: str
    benchmark: str
    task: str
    category: str
    role: str
    level: str
    metric: str
    trained: bool
    evaluated: bool
    evaluation_split: str
    cap: int
    rate: float
    fingerprint: str
    splits: dict[str, SplitEntry]


@dataclasses.dataclass(frozen=True)
class VocabularyEntry:
    """The tokenizer: real ids, rows of the embedding (a multiple of 8), fingerprint, directory."""

    tokens: int
    rows: int
    fingerprint: str
    directory: str = "tokenizer"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything a training or evaluation process knows of the data.

    ``length`` is the row length in tokens for which truncation was counted (records are stored
    untruncated).
    """

    name: str
    length: int
    vocabulary: VocabularyEntry
    tasks: tuple[TaskEntry, ...]
    format: int = FORMAT

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything in the manifest."""
        return fingerprint_of(dataclasses.asdict(self))

    def task(self, name: str) -> TaskEntry:
        """The task of that name.

        Raises:
          UserError: there is none.
        """
        for entry in self.tasks:
            if entry.name == name:
                return entry
        raise UserError(f"manifest {self.name!r} holds no task {name!r}")

    @property
    def trained(self) -> tuple[TaskEntry, ...]:
        """The tasks of the training mixture."""
        return tuple(entry for entry in self.tasks if entry.trained)

    @property
    def evaluated(self) -> tuple[TaskEntry, ...]:
        """The tasks that are evaluated."""
        return tuple(entry for entry in self.tasks if entry.evaluated)


def save(manifest: Manifest, path: str | Path) -> None:
    """Writes the manifest (a directory stands for its ``manifest.json``), atomically.

    Raises:
      Fault: the file cannot be written.
    """
    record = dataclasses.asdict(manifest)
    record["fingerprint"] = manifest.fingerprint
    write_atomically(_file(path), json.dumps(record, indent=1, sort_keys=True, ensure_ascii=True) + "\n")


def load(path: str | Path) -> Manifest:
    """Reads a manifest (a directory stands for its ``manifest.json``).

    Raises:
      UserError: the file is missing, not JSON, of another format, or inconsistent; one line
        that names the file, the place and the remedy.
    """
    file = _file(path)
    try:
        found = file.stat()
    except OSError:
        raise UserError(f"{file}: no such manifest; `iml prepare` writes it") from None
    return _load(file.absolute(), (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def is_manifest(path: str | Path) -> bool:
    """Whether a file was written by ``save`` of this version or an earlier one and is unchanged."""
    try:
        record = read_json(_file(path))
    except UserError:
        return False
    if not isinstance(record, dict) or record.get("format") not in range(1, FORMAT + 1):
        return False
    expected = record.pop("fingerprint", None)
    return expected == fingerprint_of(record)


@functools.lru_cache(maxsize=2)  # a command asks several times
def _load(file: Path, version: tuple[int, ...]) -> Manifest:
    """The manifest, read once for each ``version`` of the file."""
    again = "run `iml prepare` again"
    record = read_json(file)
    if not isinstance(record, dict):
        raise UserError(f"{file}: not a manifest (a JSON object is expected); {again}")
    if record.get("format") != FORMAT:
        raise UserError(
            f"{file}: prepared in format {record.get('format')!r}, but this version reads {FORMAT}; {again}"
        )
    expected = record.pop("fingerprint", None)
    try:
        manifest = decode(Manifest, record, "manifest")
        _validate(manifest)
    except ValueError as error:
        raise UserError(f"{file}: {error}; {again}") from None
    if manifest.fingerprint != expected:
        raise UserError(f"{file}: its fingerprint does not match its content (edited by hand?); {again}")
    return manifest


def check_files(manifest: Manifest, directory: str | Path, names: Iterable[str] | None = None) -> None:
    """Checks that every shard is there with the bytes it was written with (content is not read).

    Args:
      manifest: the manifest of ``directory``.
      directory: the prepared directory.
      names: only these tasks (default: all).

    Raises:
      UserError: a shard is missing, or shorter or longer than when it was written.
    """
    wanted = None if names is None else set(names)
    entries = [entry for entry in manifest.tasks if wanted is None or entry.name in wanted]
    for entry in entries:
        for split in entry.splits.values():
            for shard in split.files:
                path = Path(directory, shard.path)
                try:
                    size = path.stat().st_size
                except OSError:
                    raise UserError(
                        f"{path}: shard of {entry.name} is missing; run `iml prepare` again"
                    ) from None
                if size != shard.bytes:
                    raise UserError(
                        f"{path}: {size} bytes where the manifest says {shard.bytes} (truncated or "
                        "overwritten); run `iml prepare` again"
                    )


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path / FILE_NAME if path.is_dir() or path.suffix != ".json" else path


def _validate(manifest: Manifest) -> None:
    """ValueError on what no prepare can have written."""
    names = [entry.name for entry in manifest.tasks]
    if len(set(names)) != len(names):
        raise ValueError("a task is listed twice")
    if manifest.length < 2:
        raise ValueError(f"length must be at least 2, not {manifest.length}")
    vocabulary = manifest.vocabulary
    if vocabulary.rows < vocabulary.tokens or vocabulary.rows % 8:
        raise ValueError(f"vocabulary.rows {vocabulary.rows} must be a multiple of 8, >= {vocabulary.tokens}")
    for entry in manifest.tasks:
        _validate_task(entry)
    total = sum(entry.rate for entry in manifest.trained)
    if manifest.trained and abs(total - 1) > 1e-6:
        raise ValueError(f"the rates sum to {total}, not 1")


def _validate_task(entry: TaskEntry) -> None:
    """ValueError on an impossible task."""
    for field, allowed in (("role", ROLES), ("metric", METRICS), ("level", ("", *LEVELS))):
        if getattr(entry, field) not in allowed:
            raise ValueError(f"task {entry.name}: {field} {getattr(entry, field)!r} is none of {allowed}")
    if entry.evaluated != bool(entry.level) or entry.evaluated != bool(entry.evaluation_split):
        raise ValueError(
            f"task {entry.name}: an evaluated task, and only such, has a level and a split for it"
        )
    if entry.evaluated and entry.evaluation_split not in entry.splits:
        raise ValueError(f"task {entry.name}: its split {entry.evaluation_split!r} is not there")
    if not (math.isfinite(entry.rate) and 0 <= entry.rate <= 1) or (entry.rate > 0 and not entry.trained):
        raise ValueError(f"task {entry.name}: rate {entry.rate} is impossible")
    for split, content in entry.splits.items():
        if split not in SPLITS:
            raise ValueError(f"task {entry.name}: unknown split {split!r}")
        if sum(shard.records for shard in content.files) != content.examples:
            raise ValueError(f"task {entry.name}: the shards of {split} do not hold its examples")
        if any(Path(shard.path).is_absolute() or ".." in Path(shard.path).parts for shard in content.files):
            raise ValueError(f"task {entry.name}: a shard lies outside the prepared directory")
