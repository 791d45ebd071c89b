"""What a mixture leaves out before any row is read, with the reason: benchmarks, tasks and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from iml_jax.printing import one_line

BENCHMARK, TASK, FILE = KINDS = ("benchmark", "task", "file")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Things of one kind that a mixture does not use for one reason.

    Attributes:
      benchmark: what they belong to.
      kind: one of ``KINDS``.
      reason: why they are left out.
      count: how many there are.
      example: the first of them by name.
    """

    benchmark: str
    kind: str
    reason: str
    count: int
    example: str


def counted(items: Iterable[tuple[str, str, str, str]]) -> tuple[LeftOut, ...]:
    """(benchmark, kind, reason, name) of each thing -> their counts, sorted; a name counts once."""
    names: dict[tuple[str, str, str], set[str]] = {}
    for benchmark, kind, reason, name in items:
        names.setdefault((benchmark, kind, reason), set()).add(name)
    return tuple(LeftOut(*key, len(names[key]), min(names[key])) for key in sorted(names))


def lines(left: Iterable[LeftOut]) -> Iterator[str]:
    """One line for each reason."""
    for one in left:
        yield one_line(_line(one))


def _line(one: LeftOut) -> str:
    if one.kind == BENCHMARK:
        return f"left out {one.example}: {one.reason}"
    things = f"1 {one.kind}" if one.count == 1 else f"{one.count:,} {one.kind}s"
    example = one.example if one.count == 1 else f"e.g. {one.example}"
    return f"left out {things} of {one.benchmark}: {one.reason} ({example})"
