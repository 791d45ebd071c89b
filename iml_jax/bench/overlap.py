"""Which evaluation examples share an n-gram with which training task: one pass over each side.

Memory: 4 bytes per word of the evaluation side, about 120 bytes per distinct word, and for the n-grams of one
part (``Index``) 45 bytes each while it is sorted, 23 after. More n-grams than the limit become several parts,
each with its own pass over the training side. The training side is streamed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iml_jax.bench import ngrams
from iml_jax.bench.ngrams import Ids, Index, StreamBuilder, Words
from iml_jax.data import tokenizer as bpe
from iml_jax.data.manifest import FileEntry, Manifest, TaskEntry
from iml_jax.data.record_format import EXAMPLE_ID, PROMPT_IDS, PROMPT_TEXT, TARGET_IDS, TARGET_TEXT, TEMPLATE
from iml_jax.data.shards import RecordList, ShardPool
from iml_jax.foundation.errors import UserError

_BATCH = 512  # training examples looked up at once


@dataclasses.dataclass(frozen=True)
class Side:
    """One task's split: ``key`` is ``benchmark:task``."""

    key: str
    entry: TaskEntry
    split: str

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Its shards."""
        return self.entry.splits[self.split].files

    @property
    def examples(self) -> int:
        """Its records."""
        return self.entry.splits[self.split].examples


def sides(manifest: Manifest) -> tuple[list[Side], list[Side]]:
    """What is trained on and what is evaluated, one prepared variant of each task, by key.

    Of several variants the zero-shot one counts, else the first by name: demonstrations come from the train
    split of the same task and would make every few-shot prompt overlap with it.
    """
    chosen: tuple[dict[str, Side], dict[str, Side]] = ({}, {})
    for entry in sorted(manifest.tasks, key=lambda e: (not e.name.endswith(":zero_shot"), e.name)):
        key = f"{entry.benchmark}:{entry.task}"
        if entry.trained:
            chosen[0].setdefault(key, Side(key, entry, "train"))
        if entry.evaluated:
            chosen[1].setdefault(key, Side(key, entry, entry.evaluation_split))
    trained, evaluated = ([side for _, side in sorted(of.items())] for of in chosen)
    return trained, evaluated


class Texts:
    """The instantiated sequences (source and target text) of prepared records."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)

    @functools.cached_property
    def _tokenizer(self) -> bpe.Tokenizer:
        return bpe.load(self._directory / "tokenizer")

    def read(self, files: Sequence[FileEntry]) -> Iterator[str]:
        """The text of every record, in file order.

        Raises:
          UserError: a shard is missing or damaged, or a record has neither text nor ids.
        """
        pool = ShardPool(self._directory, max_open=1)
        try:
            records = RecordList(pool, files)
            for index in range(len(records)):
                yield self._text(records[index], records, index)
        finally:
            pool.close()

    def templates(self, files: Sequence[FileEntry]) -> Iterator[str]:
        """The name of every record's template, empty where it has none, in file order."""
        pool = ShardPool(self._directory, max_open=1)
        try:
            records = RecordList(pool, files)
            for index in range(len(records)):
                yield _word(records[index].get(TEMPLATE))
        finally:
            pool.close()

    def _text(self, record: Any, records: RecordList, index: int) -> str:
        if PROMPT_TEXT in record and TARGET_TEXT in record:
            parts = [record[name] for name in (PROMPT_TEXT, TARGET_TEXT)]
            return " ".join(part[0].decode("utf-8", "replace") if part else "" for part in parts)
        try:  # what is trained on keeps only ids, which a byte-level BPE turns back into the same words
            return " ".join(self._tokenizer.decode(record[name]) for name in (PROMPT_IDS, TARGET_IDS))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{records.place(index)}: no text in it ({error}); run `iml prepare` again"
            ) from None

    def example_id(self, files: Sequence[FileEntry], index: int) -> str:
        """The id of one record."""
        pool = ShardPool(self._directory, max_open=1)
        try:
            value = RecordList(pool, files)[index].get(EXAMPLE_ID)
        finally:
            pool.close()
        return _word(value) or f"#{index}"


def _word(value: Any) -> str:
    return value[0].decode("utf-8", "replace") if isinstance(value, list) and value else ""


def evaluation_stream(texts: Texts, evaluated: Sequence[Side]) -> tuple[Words, Ids, Ids]:
    """Words, stream and starts (``Index``) of all evaluation examples, task after task."""
    builder = StreamBuilder(Words())
    for side in evaluated:
        for text in texts.read(side.files):
            builder.add(text)
    return (builder.words, *builder.finish())


def groups(texts: Texts, evaluated: Sequence[Side]) -> Ids:
    """For every evaluation example the number of its task and template: int64 [examples]."""
    numbers: dict[tuple[str, str], int] = {}
    return np.array(
        [
            numbers.setdefault((side.key, template), len(numbers))
            for side in evaluated
            for template in texts.templates(side.files)
        ],
        np.int64,
    )


def part_count(stream: Ids, limit: int) -> int:
    """Parts into which an index is cut to hold about ``limit`` n-grams at once."""
    return max(1, -(-len(stream) // limit))


@dataclasses.dataclass(frozen=True)
class Hits:
    """The evaluation examples that some training examples overlap with, and for each the first witness.

    int64 [n] each, ``example`` ascending: its number; 1 where all its n-grams in common are only wording
    (``Index.wording``), else 0; the number of the training record, the n-gram's number of words from the
    record's begin, and the n-gram's place in the index's stream.
    """

    example: Ids
    wording: Ids
    record: Ids
    word: Ids
    place: Ids

    @staticmethod
    def none() -> Hits:
        """No overlap."""
        empty = np.zeros(0, np.int64)
        return Hits(empty, empty, empty, empty, empty)

    @staticmethod
    def merge(parts: Sequence[Hits]) -> Hits:
        """The union; of several witnesses the first in the order of (wording, record, word, place)."""
        if not parts:
            return Hits.none()
        columns = [
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Hits)
        ]
        order = np.lexsort(columns[::-1])
        columns = [column[order] for column in columns]
        first = np.ones(len(order), bool)
        first[1:] = columns[0][1:] != columns[0][:-1]
        return Hits(*(column[first] for column in columns))


def scan(index: Index, numbered: Iterator[tuple[int, str]]) -> Hits:
    """The hits of some training examples, exact whatever the hashes collide in.

    Args:
      index: the evaluation side, or a part of it.
      numbered: (number of the record in its split, text), ascending.
    """
    found = Hits.none()
    finished = np.zeros(len(index.keys), bool)  # hashes all of whose places are hit already
    batch: list[tuple[int, list[int]]] = []
    for number, text in numbered:
        batch.append((number, ngrams.padded(index.words.find(ngrams.words_of(text)))))
        if len(batch) == _BATCH:
            found = _scan_batch(index, batch, finished, found)
            batch = []
    return _scan_batch(index, batch, finished, found) if batch else found


def _scan_batch(index: Index, batch: list[tuple[int, list[int]]], finished: Ids, found: Hits) -> Hits:
    lengths = [len(ids) for _, ids in batch]
    begins = np.cumsum([0, *lengths[:-1]])
    records = np.array([number for number, _ in batch], np.int64)
    stream = np.array([index_ for _, ids in batch for index_ in ids], np.uint32)
    places, values = ngrams.hashes(stream)
    keys = index.lookup(values)
    places, keys = places[keys >= 0], keys[keys >= 0]
    parts = [found]
    while True:
        open_ = ~finished[keys]
        places, keys = places[open_], keys[open_]
        if not len(keys):
            return found if len(parts) == 1 else Hits.merge(parts)
        # The first n-gram of each hash; where it is not all that the hash stands for, the next one's turn
        # comes in another round (only where hashes collide).
        _, first = np.unique(keys, return_index=True)
        for which, theirs, whole in index.equal(stream, places[first], keys[first]):
            finished[keys[first][whole]] = True
            mine = places[first][which]
            text = np.searchsorted(begins, mine, "right") - 1
            example = np.searchsorted(index.starts, theirs, "right") - 1
            wording = index.wording[theirs].astype(np.int64)
            parts.append(Hits.merge([Hits(example, wording, records[text], mine - begins[text], theirs)]))
        rest = np.ones(len(keys), bool)
        rest[first] = False
        places, keys = places[rest], keys[rest]


def find(
    index: Index, texts: Texts, trained: Sequence[Side], tick: Callable[[int], None] = lambda count: None
) -> dict[str, Hits]:
    """The hits of every training task, streamed in this process; ``tick`` gets each task's examples."""
    hits = {}
    for side in trained:
        hits[side.key] = scan(index, enumerate(texts.read(side.files)))
        tick(side.examples)
    return hits
