"""The pass over the training side as an Apache Beam pipeline: a shard is an element, hits merge by task."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from iml_jax.bench import beam_options, overlap
from iml_jax.bench.ngrams import Index, Words
from iml_jax.bench.overlap import Hits, Side, Texts
from iml_jax.bench.quiet_beam import beam
from iml_jax.data.manifest import FileEntry
from iml_jax.foundation.errors import Fault, UserError

_ARRAYS = ("stream", "starts", "keys", "ends", "places", "filter", "wording")
_Element = tuple[str, int, FileEntry]  # task, number of the shard's first record in its split, shard


def find(index: Index, directory: Path, trained: Sequence[Side], options: Sequence[str]) -> dict[str, Hits]:
    """As ``overlap.find``, on Beam's workers.

    Args:
      index: the evaluation side; workers read it from a folder below ``directory`` that goes away at the end.
      directory: the prepared directory, the same folder for all workers.
      trained: what to stream.
      options: Beam's pipeline options, e.g. ``--runner=DirectRunner``.

    Raises:
      UserError: Beam refuses the options, or a shard is missing or damaged.
    """
    pipeline = beam_options.pipeline(options)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".leakage-", dir=directory))
    except OSError as error:
        raise Fault(f"{directory}: cannot be written: {error.strerror or error}") from error
    try:
        _save(index, folder)
        with pipeline:
            _ = (
                pipeline
                | "shards" >> beam.Create(list(_elements(trained)))
                | "spread" >> beam.Reshuffle()
                | "scan" >> beam.ParDo(_Scan(str(directory), str(folder)))
                | "merge" >> beam.CombinePerKey(_merge)
                | "keep" >> beam.ParDo(_Keep(str(folder)))
            )
        for note in sorted(folder.glob("error-*")):
            raise UserError(note.read_text("utf-8"))
        return {side.key: _kept(folder, side.key) for side in trained}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _elements(trained: Sequence[Side]) -> Iterator[_Element]:
    for side in trained:
        first = 0
        for shard in side.files:
            yield side.key, first, shard
            first += shard.records


def _merge(parts: Iterable[Hits]) -> Hits:
    return Hits.merge(list(parts))


def _save(index: Index, folder: Path) -> None:
    (folder / "words").write_text("\n".join(index.words.listed()), encoding="utf-8")
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(index, name))


def _load(folder: Path) -> Index:
    """The index as ``_save`` left it; its arrays are mapped, so that processes of one machine share them."""
    text = (folder / "words").read_text(encoding="utf-8")
    index = Index.__new__(Index)
    index.words = Words(text.split("\n") if text else ())
    for name in _ARRAYS:
        setattr(index, name, np.load(folder / f"{name}.npy", mmap_mode="r"))
    return index


def _file(folder: Path, key: str) -> Path:
    return folder / f"hits-{hashlib.sha256(key.encode()).hexdigest()}.npy"


def _kept(folder: Path, key: str) -> Hits:
    file = _file(folder, key)  # a task without a shard has none
    return Hits(*np.load(file)) if file.exists() else Hits.none()


class _Scan(beam.DoFn):
    """Shard -> (task, hits); a user's mistake is noted, since Beam would bury it in a traceback."""

    def __init__(self, directory: str, folder: str) -> None:
        self._directory, self._folder = directory, folder

    def setup(self) -> None:
        self._index = _load(Path(self._folder))

    def process(self, element: _Element) -> Iterator[tuple[str, Hits]]:
        key, first, shard = element
        try:
            texts = Texts(self._directory).read([shard])
            yield key, overlap.scan(self._index, enumerate(texts, start=first))
        except UserError as error:
            name = hashlib.sha256(shard.path.encode()).hexdigest()
            Path(self._folder, f"error-{name}").write_text(str(error), "utf-8")


class _Keep(beam.DoFn):
    """Writes the hits of a task beside the index."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[str, Hits]) -> Iterator[str]:
        key, hits = element
        file = _file(Path(self._folder), key)
        # Under a name of its own first: a runner may do an element twice at once.
        temporary = file.with_name(f"{uuid.uuid4().hex}.npy")
        np.save(temporary, np.stack([getattr(hits, field.name) for field in dataclasses.fields(Hits)]))
        temporary.replace(file)
        yield key
