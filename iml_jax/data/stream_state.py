"""Where a training stream stands, as a checkpoint keeps it: checked before anything is restored from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage.decoding import decode

# Of examples, rows and batches. Above it the order of a mixture, which is computed in float64, is not exact.
_MOST = 1 << 48


@dataclasses.dataclass(frozen=True)
class ExamplesState:
    """The examples of one virtual shard: the index of the next."""

    next_index: int


@dataclasses.dataclass(frozen=True)
class RowsState:
    """The packed rows of one virtual shard.

    Attributes:
      parent: of the examples, before the present rows were filled.
      next_row: how many of the present rows were handed out.
      counter: rows handed out since the start of the run.
    """

    parent: ExamplesState
    next_row: int
    counter: int


@dataclasses.dataclass(frozen=True)
class StreamState:
    """What ``Loader.state`` says besides the settings.

    Attributes:
      batches: handed out since the start of the run.
      shards: virtual shard -> its rows.
      sampled_before, sampled_since: examples by task, up to the last restore and after it.
    """

    batches: int
    shards: dict[str, RowsState]
    sampled_before: tuple[int, ...]
    sampled_since: tuple[int, ...]


def checked(state: Mapping[str, Any], where: str, *, tasks: int, rows: int, bins: int) -> StreamState:
    """The state of a checkpoint, which somebody may have changed.

    Args:
      state: as JSON gave it.
      where: the checkpoint, for the message.
      tasks: trained tasks.
      rows: of a batch that come from one virtual shard.
      bins: rows that a virtual shard fills at a time, at most.

    Raises:
      UserError: a value is missing, of another type, out of range, or does not fit the others.
    """
    try:
        names = [field.name for field in dataclasses.fields(StreamState)]
        found: StreamState = decode(StreamState, {name: state[name] for name in names if name in state}, "it")
        _check_range(found, tasks, rows, bins)
    except ValueError as error:
        raise UserError(
            f"{where}: damaged data state ({error}); remove this checkpoint to resume from the one before it"
        ) from error
    return found


def _check_range(state: StreamState, tasks: int, rows: int, bins: int) -> None:
    """Raises ValueError where numbers are out of range or contradict each other."""
    for name in ("sampled_before", "sampled_since"):
        counts = getattr(state, name)
        if len(counts) != tasks:
            raise ValueError(f"{name} has {len(counts)} counts for {tasks} tasks")
        _check_count(name, *counts)
    _check_count("batches", state.batches)
    for shard, of_rows in state.shards.items():
        name = f"shards[{shard!r:.60}]"
        _check_count(f"{name}.next_index", of_rows.parent.next_index)
        if not 0 <= of_rows.next_row < bins:
            raise ValueError(f"{name}.next_row is {_short(of_rows.next_row)}, of {bins} rows")
        if of_rows.counter != state.batches * rows:
            says = f"{_short(of_rows.counter)} rows of {rows} in each of {_short(state.batches)} batches"
            raise ValueError(f"{name}.counter says {says}")


def _check_count(name: str, *counts: int) -> None:
    for count in counts:
        if not 0 <= count < _MOST:
            raise ValueError(f"{name} is {_short(count)}, which is no count")


def _short(number: int) -> str:
    """A number of any size; one of more than 4,300 digits Python does not write."""
    return str(number) if abs(number) < _MOST else "a number of more than 14 digits"
