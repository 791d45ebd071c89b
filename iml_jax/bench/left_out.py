"""Benchmarks, tasks, splits and files that a mixture leaves out before any row is read, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from iml_jax.foundation.printing import one_line

BENCHMARK, TASK, SPLIT, FILE = KINDS = ("benchmark", "task", "split", "file")


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    """One thing that a mixture does not use.

    Attributes:
      benchmark: what it belongs to.
      kind: one of ``KINDS``.
      reason: why it is left out.
      name: its name; a name of one kind and reason counts once.
      rows: how many rows it holds, as far as they were counted.
      all_counted: whether they are all of its rows.
    """

    benchmark: str
    kind: str
    reason: str
    name: str
    rows: int = 0
    all_counted: bool = False


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Things of one kind that a mixture does not use for one reason.

    Attributes:
      benchmark: what they belong to.
      kind: one of ``KINDS``.
      reason: why they are left out.
      count: how many there are.
      example: the first of them by name.
      rows: how many rows they hold, as far as they were counted (``sources.row_counts``).
      all_counted: whether they are all of their rows.
    """

    benchmark: str
    kind: str
    reason: str
    count: int
    example: str
    rows: int = 0
    all_counted: bool = False


def counted(things: Iterable[Thing]) -> tuple[LeftOut, ...]:
    """Things -> their counts by benchmark, kind and reason, sorted."""
    named: dict[tuple[str, str, str], dict[str, Thing]] = {}
    for one in things:
        named.setdefault((one.benchmark, one.kind, one.reason), {})[one.name] = one
    return tuple(
        LeftOut(
            *key,
            count=len(found),
            example=min(found),
            rows=sum(one.rows for one in found.values()),
            all_counted=all(one.all_counted for one in found.values()),
        )
        for key, found in sorted(named.items())
    )


def lines(left: Iterable[LeftOut]) -> Iterator[str]:
    """One line for each reason."""
    for one in left:
        yield one_line(_line(one))


def _line(one: LeftOut) -> str:
    if one.kind == BENCHMARK:
        return f"left out {one.example}: {one.reason}"
    things = f"1 {one.kind}" if one.count == 1 else f"{one.count:,} {one.kind}s"
    example = one.example if one.count == 1 else f"e.g. {one.example}"
    rows = f" with {'' if one.all_counted else 'at least '}{one.rows:,} rows" if one.rows else ""
    return f"left out {things} of {one.benchmark}{rows}: {one.reason} ({example})"
