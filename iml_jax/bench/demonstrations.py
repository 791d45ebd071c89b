"""Solved examples that a prompt shows, drawn from the train split of the same task (OPT-IML section 2.4)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from iml_jax.bench.example import Example
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.variants import identity

POOL = 1024  # examples of a task that demonstrations are drawn from: at most 64 MiB of text
_LONGEST = 1 << 16  # characters; no row of 2,048 tokens shows more


class Demonstrator:
    """Draws demonstrations for the examples of one task.

    An example that brings its own (Super-NaturalInstructions' positive examples) shows these before any
    other. The rest come from a pool of ``POOL`` examples of the train split, a uniform
    sample of it (all, where there are no more): those rendered by the example's own template first. The pool
    is read when it is first needed.
    """

    def __init__(
        self, read: Callable[[], Iterator[Example]], seed: int, *, own_in_order: bool = True
    ) -> None:
        """Nothing is read yet.

        Args:
          read: streams the examples of the train split.
          seed: decides the draws.
          own_in_order: an example's own demonstrations come in their order, the first ones first; else they
            are drawn as well.
        """
        self._read = read
        self._seed = seed
        self._own_in_order = own_in_order

    @functools.cached_property
    def _pool(self) -> dict[str, list[Example]]:
        """By template, in the order of the files."""
        by_template: dict[str, list[Example]] = collections.defaultdict(list)
        for example in sample_pool(self._read(), POOL, self._seed):
            by_template[example.template].append(example)
        return by_template

    def can_show(self, example: Example) -> bool:
        """Whether there is anything to show for a task's examples, be it this one itself."""
        return bool(example.demonstrations or self._pool)

    def draw(self, example: Example, count: int) -> list[Example]:
        """``count`` demonstrations, fewer if the task has no more; the same on every machine.

        None of them is the example itself, by its id or by its text, and none is another's twin.
        """
        if not count or not example.source.strip():
            return []
        chosen: list[Example] = []
        texts, ids = {_text(example)}, {(example.split, example.example_id)}
        for candidate in self._candidates(example):
            place = (candidate.split, candidate.example_id)
            if _text(candidate) in texts or (candidate.example_id and place in ids):
                continue
            texts.add(_text(candidate))
            ids.add(place)
            chosen.append(candidate)
            if len(chosen) == count:
                break
        return chosen

    def _candidates(self, example: Example) -> Iterator[Example]:
        key = identity(example, self._seed)
        own = [
            dataclasses.replace(
                example,
                source=given.source,
                references=(given.target,),
                example_id="",  # they have none
                template="",
                demonstrations=(),
            )
            for given in example.demonstrations
        ]
        yield from own if self._own_in_order else shuffled(own, "own demonstration", *key)
        yield from shuffled(self._pool.get(example.template, []), "demonstration", *key)
        others = [e for name in sorted(self._pool) if name != example.template for e in self._pool[name]]
        yield from shuffled(others, "demonstration of another template", *key)


def sample_pool(examples: Iterable[Example], size: int, seed: int) -> list[Example]:
    """At most ``size`` examples that can be shown, each equally likely, in their order.

    Without a target, without an input or of more than 65,536 characters, an example cannot be shown.
    """
    kept: list[tuple[int, int, Example]] = []
    for number, example in enumerate(examples):
        if not example.source.strip() or not example.references or not example.references[0].strip():
            continue
        if len(example.source) + len(example.references[0]) > _LONGEST:
            continue
        key = stable_hash("pool", seed, example.benchmark, example.task, number)
        push = heapq.heappush if len(kept) < size else heapq.heappushpop
        push(kept, (key, number, example))
    return [example for _, _, example in sorted(kept, key=lambda entry: entry[1])]


def shuffled(entries: Sequence[Example], *parts: str | int) -> Iterator[Example]:
    """The entries in a uniformly random order, worked out one draw at a time (Fisher and Yates)."""
    moved: dict[int, int] = {}
    for place in range(len(entries)):
        other = place + stable_hash(*parts, place) % (len(entries) - place)
        yield entries[moved.get(other, other)]
        moved[other] = moved.get(place, place)


def _text(example: Example) -> str:
    return example.source.strip()
