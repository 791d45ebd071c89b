"""Which prompts of a split are used: caps, and one pool over all templates (OPT-IML section 2.4)."""

from __future__ import annotations

import collections
import heapq
from collections.abc import Callable, Iterator

from iml_jax.bench.example import Example
from iml_jax.bench.hashing import stable_hash

OVER_CAP = "over the example cap"
NOT_DRAWN = "prompt not drawn (as many are as there are examples)"
BUFFERED_CHARACTERS = 1 << 26  # of text held while sampling; a split with more is read twice
Read = Callable[[collections.Counter[str]], Iterator[Example]]


def sampled(
    read: Read, cap: int, seed: int, dropped: collections.Counter[str], *, pooled: bool
) -> Iterator[Example]:
    """A uniform sample of a split's prompts, in the order of the files.

    A source yields an example once per template that applies to it, as that many prompts with one
    example_id. Pooled, N prompts are sampled out of all (example, template) pairs of N examples, so that the
    size of a task does not depend on its number of templates (OPT-IML section 2.4); some examples are then
    sampled more than once and some not at all. ``cap`` bounds the number of prompts in either case.

    A prompt is sampled by the rank of a hash of its number in the split, so the sample depends neither on the
    process that reads the split nor on whether it is read once or twice. Memory is bounded by ``cap`` hashes
    and ``BUFFERED_CHARACTERS`` characters.

    Args:
      read: reads the split from its start; counts skipped rows in the counter given.
      cap: maximum number of prompts; 0 for no maximum.
      seed: of the hash.
      dropped: receives the rows that the source skips and the prompts that are not sampled, by reason.
      pooled: sample N prompts for N examples.
    """
    if not cap and not pooled:
        yield from read(dropped)
        return
    reservoir = _Reservoir(cap, seed)
    for example in read(dropped):
        reservoir.add(example)
    chosen = reservoir.chosen(pooled=pooled)
    if left_out := reservoir.prompts - len(chosen):
        dropped[OVER_CAP if len(chosen) == cap else NOT_DRAWN] += left_out
    if reservoir.buffer is not None:
        yield from (reservoir.buffer[number] for number in sorted(chosen))
        return
    for number, example in enumerate(read(collections.Counter())):
        if number in chosen:
            yield example


class _Reservoir:
    """The hashes of a split's prompts, and their texts as long as these are few.

    Attributes:
      buffer: number -> prompt of those that may be sampled; None once they have more than
        ``BUFFERED_CHARACTERS`` characters.
      prompts: how many were added.
    """

    def __init__(self, cap: int, seed: int) -> None:
        self._cap, self._seed = cap, seed
        self._heap: list[tuple[int, int]] = []  # (hash, number) of the largest hashes
        self._ids: set[str] = set()
        self._characters = 0
        self.buffer: dict[int, Example] | None = {}
        self.prompts = 0

    def add(self, example: Example) -> None:
        """Adds the next prompt of the split."""
        number = self.prompts
        self.prompts += 1
        if not self._cap or len(self._ids) < self._cap:  # more ids than the cap change nothing
            self._ids.add(example.example_id)
        key = stable_hash("cap", self._seed, example.benchmark, example.task, example.split, number)
        if self._cap and len(self._heap) >= self._cap:
            removed = heapq.heappushpop(self._heap, (key, number))[1]
            if removed == number:
                return
            self._remove(removed)
        else:
            heapq.heappush(self._heap, (key, number))
        self._buffer(number, example)

    def _buffer(self, number: int, example: Example) -> None:
        if self.buffer is None:
            return
        self._characters += _characters(example)
        if self._characters > BUFFERED_CHARACTERS:
            self.buffer = None
        else:
            self.buffer[number] = example

    def _remove(self, number: int) -> None:
        if self.buffer is not None:
            self._characters -= _characters(self.buffer.pop(number))

    def chosen(self, *, pooled: bool) -> set[int]:
        """The numbers of the sampled prompts."""
        count = min(len(self._heap), len(self._ids)) if pooled else len(self._heap)
        return {number for _, number in heapq.nlargest(count, self._heap)}


def _characters(example: Example) -> int:
    """Of the texts that belong to this example only; instruction, options and demonstrations are shared."""
    return len(example.source) + sum(map(len, example.references))
