"""The pass over the training side as an Apache Beam pipeline: a shard is an element, hits merge by task."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from iml_jax.bench import beam_options, overlap
from iml_jax.bench.ngrams import Index, Words
from iml_jax.bench.overlap import Hits, Side, Texts
from iml_jax.bench.quiet_beam import beam
from iml_jax.data.manifest import FileEntry
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import local
from iml_jax.storage.writing import atomic_file, write_atomically

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
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(local.temporary_directory(directory, ".leakage-"))
        except OSError as error:
            raise Fault(f"{directory}: cannot be written: {error.strerror or error}") from error
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


def _elements(trained: Sequence[Side]) -> Iterator[_Element]:
    for side in trained:
        first = 0
        for shard in side.files:
            yield side.key, first, shard
            first += shard.records


def _merge(parts: Iterable[Hits]) -> Hits:
    return Hits.merge(list(parts))


def _save(index: Index, folder: Path) -> None:
    write_atomically(folder / "words", "\n".join(index.words.listed()))
    for name in _ARRAYS:
        _save_array(folder / f"{name}.npy", getattr(index, name))


def _save_array(file: Path, array: np.ndarray) -> None:
    with atomic_file(file) as stream:  # a runner may do an element twice at once
        np.save(stream, array)


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
            write_atomically(Path(self._folder, f"error-{name}"), str(error))


class _Keep(beam.DoFn):
    """Writes the hits of a task beside the index."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[str, Hits]) -> Iterator[str]:
        key, hits = element
        arrays = [getattr(hits, field.name) for field in dataclasses.fields(Hits)]
        _save_array(_file(Path(self._folder), key), np.stack(arrays))
        yield key
