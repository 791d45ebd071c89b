"""The training stream: a manifest's mixture as packed batches, the same for any number of hosts."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from grain.experimental import ThreadPrefetchIterDataset

from iml_jax.data import manifest as manifests
from iml_jax.data.batch import Batch
from iml_jax.data.mixing import MixtureOrder, mix_bits
from iml_jax.data.packing import batch_of_rows, pack, training_example
from iml_jax.data.record_format import LONGEST_ROW, PROMPT_IDS, TARGET_IDS
from iml_jax.data.records import Features
from iml_jax.data.shards import RecordList, ShardPool, read_split
from iml_jax.data.stream_state import checked
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.seeds import check_seed

__all__ = ["Loader", "LoaderConfig", "make_loader", "merge_states", "read_split"]

_STATE_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
    """How the training stream is cut into batches."""

    batch_size: int = dataclasses.field(metadata={"help": "rows of the global batch."})
    length: int = dataclasses.field(default=0, metadata={"help": "positions of a row; 0: the manifest's."})
    seed: int = dataclasses.field(default=0, metadata={"help": "of the order of tasks and records."})
    virtual_shards: int = dataclasses.field(
        default=0,
        metadata={
            "help": "streams the data is dealt to, a multiple of the number of hosts and a divisor of "
            "``batch_size``; part of the data order, so it stays as it is when a run moves to "
            "another number of hosts. 0: the greatest common divisor of ``batch_size`` and 8."
        },
    )
    packing_bins: int = dataclasses.field(
        default=64,
        metadata={
            "help": "rows each virtual shard fills at a time, or a few less. More waste less; "
            "restoring refills them."
        },
    )
    prefetch: int = dataclasses.field(
        default=4, metadata={"help": "batches prepared ahead in a background thread; 0: none, no thread."}
    )

    def __post_init__(self) -> None:
        check_seed("Loader.seed", self.seed)


class Loader(Iterator[Batch[np.ndarray]]):
    """Endless iterator over this host's rows of each global batch (numpy); made by ``make_loader``.

    ``state()`` and ``restore()`` are exact: after a restore the stream continues with the same rows that
    would have followed. The state of a run on several hosts is ``merge_states`` of theirs, and restores
    any number of hosts.
    """

    def __init__(
        self,
        batches: grain.DatasetIterator,
        pool: ShardPool,
        tasks: Sequence[str],
        identity: Mapping[str, Any],
        shards: Sequence[int],
    ) -> None:
        # Grain's iterators complain when they are still alive at the interpreter's exit; a finalizer
        # runs before that, and so does ``close``.
        self._opened = [batches]
        self._finalizer = weakref.finalize(self, _release, self._opened, pool)
        self._pool = pool
        self._tasks = tuple(tasks)
        self._identity = dict(identity)
        self._shards = shards
        self._base = np.zeros(len(tasks), np.int64)
        self._own = np.zeros(len(tasks), np.int64)
        self._handed_out = 0

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch[np.ndarray]:
        """The next batch: fields [batch_size / hosts, length].

        Raises:
          UserError: a shard is missing, truncated or damaged, or a record is not what prepare writes.
        """
        self._pool.check()
        batch, counts = next(self._batches)
        self._own += counts
        self._handed_out += 1
        return batch

    @property
    def batches(self) -> int:
        """Batches handed out since the start of the run."""
        return self._handed_out

    def state(self) -> dict[str, Any]:
        """Where the stream stands after the last batch handed out, JSON-able; prefetching never shows.

        Waits until every shard read so far is compared with its checksum: nothing is saved that was trained
        on a damaged one.

        Raises:
          UserError: a shard is damaged.
        """
        self._pool.settle()
        states = self._batches.get_state()
        return {
            "format": _STATE_FORMAT,
            **self._identity,
            "batches": self._handed_out,
            "shards": {str(shard): state for shard, state in zip(self._shards, states, strict=True)},
            "sampled_before": self._base.tolist(),
            "sampled_since": self._own.tolist(),
        }

    def restore(self, state: Mapping[str, Any], where: str = "the checkpoint") -> None:
        """Goes to where ``state`` was taken; records are not replayed (at most ``packing_bins`` rows are).

        Args:
          state: of a loader of the same manifest and settings; of all hosts (``merge_states``) where
            they were several.
          where: the file that it is from, for messages.

        Raises:
          UserError: it is of another mixture, other settings, lacks a virtual shard of this host, or is
            damaged. The loader is then as it was.
        """
        if not isinstance(state, Mapping):
            raise UserError(f"{where}: its data state is a {type(state).__name__}, not an object; remove it")
        if state.get("format") != _STATE_FORMAT:
            raise UserError(
                f"{where}: data state of format {state.get('format')!r:.60}, but this version reads "
                f"{_STATE_FORMAT}; resume with the version that wrote it, or start a new run"
            )
        for name, value in self._identity.items():
            if state.get(name) != value:
                what = "another prepared mixture" if name == "manifest" else f"another {name}"
                raise UserError(
                    f"{where}: data state is of {what} ({state.get(name)!r:.80}, now {value!r}); resume "
                    "with the run's own prepared directory and Loader settings, or start a new run"
                )
        found = checked(
            state,
            where,
            tasks=len(self._tasks),
            rows=self._identity["batch_size"] // self._identity["virtual_shards"],
            bins=self._identity["packing_bins"],
        )
        missing = [shard for shard in self._shards if str(shard) not in found.shards]
        if missing:
            raise UserError(
                f"{where}: data state lacks virtual shards {missing}: it is of one host of several; "
                "merge the states of all hosts"
            )
        self._batches.set_state([state["shards"][str(shard)] for shard in self._shards])
        self._base = np.array(found.sampled_before, np.int64) + np.array(found.sampled_since, np.int64)
        self._own = np.zeros_like(self._own)
        self._handed_out = found.batches

    def sampled_counts(self) -> dict[str, int]:
        """Examples by task in the batches handed out since the start of the run.

        On one of several hosts: all hosts' up to the last restore, this host's since.
        """
        return dict(zip(self._tasks, (self._base + self._own).tolist(), strict=True))

    def close(self) -> None:
        """Ends the prefetching thread and closes the shards; afterwards the loader is of no use."""
        self._finalizer()

    @property
    def _batches(self) -> grain.DatasetIterator:
        if not self._opened:
            raise ValueError("the loader is closed")
        return self._opened[0]


def _release(opened: list[grain.DatasetIterator], pool: ShardPool) -> None:
    while opened:
        opened.pop().close()
    pool.close()


def merge_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One state from those of all hosts after the same step; restores any number of hosts.

    Hosts that read the same rows (a model axis that spans hosts) count once.

    Raises:
      UserError: they are not of the same step of one run.
    """
    own = ("shards", "sampled_since")
    common = {name: value for name, value in states[0].items() if name not in own}
    shards: dict[str, Any] = {}
    sampled = np.zeros(len(common["sampled_before"]), np.int64)
    for state in states:
        known = shards.keys() & state["shards"].keys()
        same_rows = len(known) == len(state["shards"])
        agree = all(shards[name] == state["shards"][name] for name in known)
        if {name: state[name] for name in common} != common or not agree or (known and not same_rows):
            raise UserError("the hosts' data states are not of the same step of one run")
        if not same_rows:
            shards.update(state["shards"])
            sampled += np.asarray(state["sampled_since"])
    return {**common, "shards": shards, "sampled_since": sampled.tolist()}


def make_loader(
    prepared_dir: str | Path,
    config: LoaderConfig,
    *,
    process_index: int = 0,
    process_count: int = 1,
    rows: Sequence[tuple[int, int]] | None = None,
) -> Loader:
    """Opens the training stream of a prepared directory on one host.

    Row r of the global batch belongs to virtual shard r // (batch_size / virtual_shards); host h reads
    virtual shards h x virtual_shards / hosts onwards, and with them the rows of its share, in order.

    Args:
      prepared_dir: what ``iml prepare`` wrote.
      config: how to batch.
      process_index: this host.
      process_count: how many there are.
      rows: spans [start, stop) of the global batch that this host reads, instead of its share by number; its
        batches hold them one after the other.

    Raises:
      UserError: the manifest is unusable, trains nothing, or names shards that are not there; or the
        numbers of hosts, virtual shards and rows do not divide one another.
    """
    manifest = manifests.load(prepared_dir)
    shards = config.virtual_shards or math.gcd(config.batch_size, 8)
    _check_divisible(config, shards, process_count)
    tasks = [task for task in manifest.trained if task.rate > 0]
    if not tasks:
        raise UserError(f"{prepared_dir}: manifest {manifest.name!r} trains no task; check its mixture")
    for task in tasks:
        if "train" not in task.splits or not task.splits["train"].examples:
            raise UserError(
                f"{prepared_dir}: task {task.name} has rate {task.rate} but no training examples; "
                "run `iml prepare` again"
            )
    manifests.check_files(manifest, prepared_dir, [task.name for task in tasks])
    length = config.length or manifest.length
    pool = ShardPool(prepared_dir, background=True)
    records = [RecordList(pool, task.splits["train"].files) for task in tasks]
    rates, sizes = np.array([task.rate for task in tasks]), np.array([len(part) for part in records])
    if rows is None:
        share = config.batch_size // process_count
        rows = [(process_index * share, (process_index + 1) * share)]
    own = _shards_of(rows, config.batch_size // shards, shards)
    streams = []
    for shard in own:
        order = MixtureOrder(rates, sizes, config.seed, shard, shards)
        examples = _Stream(_Examples(order, records, length))
        packing_seed = int(mix_bits(np.uint64(config.seed % 2**64), np.uint64(shard))) % 2**32
        # Bins are filled all at once, then emptied row by row. Unequal numbers of them keep the shards
        # from being filled in the same step, each time.
        bins = config.packing_bins - shard % max(1, config.packing_bins // 4)
        streams.append(pack(examples, length, bins, packing_seed))
    batches: grain.IterDataset = _Batches(streams, config.batch_size // shards, len(tasks))
    if config.prefetch:
        batches = ThreadPrefetchIterDataset(batches, prefetch_buffer_size=config.prefetch)
    identity = {
        "manifest": manifest.fingerprint,
        "batch_size": config.batch_size,
        "length": length,
        "seed": config.seed,
        "virtual_shards": shards,
        "packing_bins": config.packing_bins,
    }
    return Loader(iter(batches), pool, [task.name for task in tasks], identity, own)


def _check_divisible(config: LoaderConfig, shards: int, process_count: int) -> None:
    for name, value in (
        ("batch_size", config.batch_size),
        ("virtual_shards", shards),
        ("packing_bins", config.packing_bins),
    ):
        if value < 1:
            raise UserError(f"Loader.{name} must be at least 1, not {value}")
    for name, value in (("length", config.length), ("prefetch", config.prefetch)):
        if value < 0:
            raise UserError(f"Loader.{name} must be at least 0, not {value}")
    if config.length > LONGEST_ROW:
        raise UserError(f"Loader.length = {config.length}: of an example {LONGEST_ROW} positions are stored")
    if config.batch_size % shards:
        raise UserError(
            f"Loader.virtual_shards = {shards} does not divide Loader.batch_size = {config.batch_size}"
        )
    if shards % process_count:
        raise UserError(
            f"{process_count} hosts do not divide Loader.virtual_shards = {shards}; choose a multiple of "
            "the number of hosts that divides Loader.batch_size"
        )


def _shards_of(rows: Sequence[tuple[int, int]], each: int, shards: int) -> list[int]:
    """The virtual shards, of ``each`` rows, that make up the rows of a host."""
    own: list[int] = []
    for start, stop in rows:
        if start % each or stop % each:
            raise UserError(
                f"this host's devices hold rows {start} to {stop - 1}, which are no whole virtual shards of "
                f"{each} rows (Loader.virtual_shards = {shards}); choose a multiple of the number of hosts "
                "that divides Loader.batch_size"
            )
        own.extend(range(start // each, stop // each))
    return sorted(set(own))


class _Examples:
    """The examples of one virtual shard, by index, ready to be packed."""

    def __init__(self, order: MixtureOrder, records: Sequence[RecordList], length: int) -> None:
        self._order = order
        self._records = records
        self._length = length

    def __getitem__(self, index: int) -> dict[str, Any]:
        task, record = self._order[index]
        features = self._records[task][record]
        tokens = training_example(*self._ids(features, task, record), self._length)
        if not len(tokens):
            place = self._records[task].place(record)
            raise UserError(f"{place} has no token to train on; run `iml prepare` again")
        return {"tokens": tokens, "task": task}

    def _ids(self, features: Features, task: int, record: int) -> tuple[np.ndarray, np.ndarray]:
        prompt, target = features.get(PROMPT_IDS), features.get(TARGET_IDS)
        if not isinstance(prompt, np.ndarray) or not isinstance(target, np.ndarray) or not len(target):
            place = self._records[task].place(record)
            raise UserError(
                f"{place} lacks token ids in `{PROMPT_IDS}` or `{TARGET_IDS}`; run `iml prepare` again"
            )
        return prompt, target


class _Stream(grain.IterDataset):
    """The examples of a virtual shard in turn, without threads: whole batches are prefetched.

    As ``MapDataset.source(examples).to_iter_dataset()``, whose bookkeeping takes several times what reading
    a record takes.
    """

    def __init__(self, examples: _Examples) -> None:
        super().__init__()
        self._examples = examples

    def __iter__(self) -> grain.DatasetIterator:
        return _StreamIterator(self._examples)


class _StreamIterator(grain.DatasetIterator):
    """State: the index of the next example."""

    def __init__(self, examples: _Examples) -> None:
        super().__init__()
        self._examples = examples
        self._next = 0

    def __next__(self) -> dict[str, Any]:
        example = self._examples[self._next]
        self._next += 1
        return example

    def get_state(self) -> dict[str, int]:
        return {"next_index": self._next}

    def set_state(self, state: dict[str, int]) -> None:
        self._next = state["next_index"]


class _Batches(grain.IterDataset):
    """Deals the rows of the virtual shards into batches: elements (Batch, int64 [tasks] examples in it)."""

    def __init__(self, shards: Sequence[grain.IterDataset], rows: int, tasks: int) -> None:
        super().__init__(shards)
        self._rows = rows
        self._tasks = tasks

    def __iter__(self) -> grain.DatasetIterator:
        return _BatchIterator([iter(parent) for parent in self._parents], self._rows, self._tasks)


class _BatchIterator(grain.DatasetIterator):
    """State: the list of the shards' own states."""

    def __init__(self, shards: Sequence[grain.DatasetIterator], rows: int, tasks: int) -> None:
        super().__init__(shards)
        self._rows = rows
        self._tasks = tasks

    def __next__(self) -> tuple[Batch[np.ndarray], np.ndarray]:
        rows = [next(shard) for shard in self._parents for _ in range(self._rows)]
        tasks = np.concatenate([row["task"] for row in rows])
        return batch_of_rows(rows), np.bincount(tasks, minlength=self._tasks)

    def get_state(self) -> list[Any]:
        return [shard.get_state() for shard in self._parents]

    def set_state(self, state: list[Any]) -> None:
        for shard, shard_state in zip(self._parents, state, strict=True):
            shard.set_state(shard_state)
