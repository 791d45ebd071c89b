"""Which rows of a dataset FLAN trains on, validates on and tests on: TFDS slices such as ``train[:-200]``.

FLAN cuts validation rows off the end of ``train`` where the labels of ``test`` are hidden. Every cut here is
FLAN's own (flan/tasks.py), with two rules for datasets that are smaller than it expects: at most a third of
a published split is cut off its end, so that a sample of a few hundred rows still trains; and training rows
that start where no row is left start at the first row.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
VALIDATION_ROWS = 200  # FLAN's NUM_VAL_EXAMPLES
_SPEC = re.compile(r"(?P<names>[\w|]+?)(\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\])?")
_LARGEST_CUT = 3  # at most one row in three is cut
# How others spell the published splits.
_SPELLINGS = {"train": ("train",), "validation": ("validation", "dev", "val", "valid"), "test": ("test",)}


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Rows ``start`` to ``stop`` (as Python counts; None: the end) of one published split.

    Attributes:
      names: the published names that the rows come under, read one after the other.
      start, stop: the bounds; negative ones count from the end.
      tail: rows that the task's slices cut off the end of this split; no slice from the start reaches them.
      wraps: starts at the first row where the split ends before ``start``.
    """

    names: tuple[str, ...]
    start: int = 0
    stop: int | None = None
    tail: int = 0
    wraps: bool = False

    def of(self, rows: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Streams the rows of the slice.

        Holds at most three times ``tail`` rows. A slice from the end reads all that precedes it.

        Args:
          rows: starts to read the published split from its first row.
        """
        stream = iter(rows())
        head = list(itertools.islice(stream, _LARGEST_CUT * self.tail))
        if len(head) < _LARGEST_CUT * self.tail:
            yield from self._of_few(head)
            return
        stream = itertools.chain(head, stream)
        if self.start < 0:
            last = collections.deque(stream, maxlen=-self.start)
            yield from itertools.islice(last, self.stop - self.start if self.stop else None)
            return
        stop = self.stop if self.stop is not None and self.stop >= 0 else None
        found = False
        for row in itertools.islice(_without_last(stream, self.tail), self.start, stop):
            found = True
            yield row
        if self.wraps and self.start and not found:
            yield from self._wrapped().of(rows)

    def _wrapped(self) -> Slice:
        stop = None if self.stop is None else self.stop - self.start
        return dataclasses.replace(self, start=0, stop=stop)

    def _of_few(self, rows: list[T]) -> Iterator[T]:
        """The slice of a split so small that less is cut off its end than FLAN cuts."""
        cut = len(rows) // _LARGEST_CUT

        def place(bound: int) -> int:
            return len(rows) - round(-bound * cut / self.tail) if bound < 0 else min(bound, len(rows) - cut)

        if self.start < 0:
            yield from rows[place(self.start) : len(rows) if self.stop is None else place(self.stop)]
            return
        used = self._wrapped() if self.wraps and self.start >= len(rows) - cut else self
        yield from rows[place(used.start) : len(rows) - cut if used.stop is None else place(used.stop)]


def _without_last(rows: Iterable[T], count: int) -> Iterator[T]:
    held: collections.deque[T] = collections.deque()
    for row in rows:
        held.append(row)
        if len(held) > count:
            yield held.popleft()


def slices(specs: dict[str, str], published: Collection[str]) -> dict[str, Slice]:
    """Our split -> its rows, for those of the task's slices whose published split is there.

    Where nothing is published that FLAN tests on but there is a validation split, that is the test split,
    and the last 200 rows of ``train`` are the validation split.

    Args:
      specs: our split -> FLAN's slice, e.g. ``train_xl|train[:30000]`` (the first name that is published).
      published: the dataset's own names of its splits.

    Raises:
      ValueError: a spec is malformed (they are ours, not the user's).
    """
    made = {split: made for split, spec in specs.items() if (made := _slice(spec, published))}
    spare = _named("validation", published)
    train = made.get("train", Slice(()))
    ordinary = specs["test"].split("|")[-1] in ("test", "validation")
    if "test" not in made and ordinary and spare and train.names != spare:
        made["test"] = Slice(spare)
        made.pop("validation", None)
        if train.names:
            made["validation"] = Slice(train.names, -VALIDATION_ROWS)
    if "train" in made:
        made["train"] = dataclasses.replace(train, wraps=True)
    tails: dict[tuple[str, ...], int] = collections.defaultdict(int)
    for part in made.values():
        tails[part.names] = max(tails[part.names], -part.start, -(part.stop or 0))
    return {split: dataclasses.replace(part, tail=tails[part.names]) for split, part in made.items()}


def _slice(spec: str, published: Collection[str]) -> Slice | None:
    if not spec:
        return None
    match = _SPEC.fullmatch(spec)
    if not match:
        raise ValueError(f"{spec!r} is no slice of a split")
    for name in match["names"].split("|"):
        if names := _named(name, published):
            stop = None if match["stop"] is None else int(match["stop"])
            return Slice(names, int(match["start"] or 0), stop)
    return None


def _named(name: str, published: Collection[str]) -> tuple[str, ...]:
    """The published splits of this name: itself, another spelling, or several (``test_2016``, ``test_2017``).

    Only ``test`` may be several.
    """
    for spelling in (name, *_SPELLINGS.get(name, ())):
        if spelling in published:
            return (spelling,)
    if name != "test":
        return ()
    return tuple(sorted(split for split in published if split.startswith("test_")))
