"""The tasks of the miniature, read from ``tasks.tsv``.

The table has a row for each task; ``Spec`` describes its columns. ``maker`` names one of ``MAKERS``, and
``arguments`` is a JSON list or object of its arguments; ``text`` is a JSON list of texts. FLAN's two forms of
files are the benchmarks ``flan`` (rows and patterns) and ``flan_v2`` (rendered prompts; the first text of a
task follows the sentence, the second precedes it). Where a format takes further tasks, these have names of
their own, ``mini_...``; where its reader knows its tasks by name, they carry a known name and its rows'
columns, with generated content.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.miniature import makers, structures
from iml_jax.bench.sources.miniature.lexicon import SLOTS
from iml_jax.bench.sources.miniature.makers import Asking, Maker, Spec, labels_of
from iml_jax.storage import tables
from iml_jax.storage.reading import parse_json

TABLE = Path(__file__).with_name("tasks.tsv")
FLAN_COLLECTION = "flan_v2"
_FREE = ("",)


def _slot(make: Callable[..., Maker]) -> Callable[..., tuple[Maker, tuple[str, ...]]]:
    """A maker whose last two arguments are a slot and a map; the labels are the values of the map."""
    return lambda *arguments: (make(*arguments), labels_of(*arguments[-2:]))


def _free(make: Callable[..., Maker]) -> Callable[..., tuple[Maker, tuple[str, ...]]]:
    """A maker without labels to balance."""
    return lambda *arguments, **named: (make(*arguments, **named), _FREE)


def _fixed(make: Maker, *labels: str) -> Callable[[], tuple[Maker, tuple[str, ...]]]:
    """A maker without arguments, and its labels."""
    return lambda: (make, labels)


# Name in the table -> (arguments -> the maker and its labels).
MAKERS: Mapping[str, Callable[..., tuple[Maker, tuple[str, ...]]]] = {
    "analogy": _slot(makers.analogy),
    "asked_for": _fixed(structures.asked_for, *structures.WH_LABELS),
    "asked_options": lambda frame, slot: (structures.asked_options(frame, slot), labels_of(slot, "itself")),
    "asking": _slot(Asking),
    "composed": _free(makers.composed),
    "conversation": _fixed(structures.conversation, *_FREE),
    "entailed": _fixed(makers.entailed, "yes", "no"),
    "listing": lambda position: (makers.listing(position), SLOTS["thing"]),
    "pronoun": _fixed(structures.pronoun, *_FREE),
    "rewriting": _free(makers.rewriting),
    "same_kind": _fixed(makers.same_kind, "yes", "no"),
    "slots_of": _free(structures.slots_of),
    "spanish": _free(structures.spanish),
    "table_claim": lambda *arguments: (structures.table_claim(*arguments), ("entailed", "refuted")),
    "table_question": _free(structures.table_question),
    "telling": _slot(makers.telling),
}


def _spec(row: Mapping[str, str]) -> Spec:
    arguments: Any = parse_json(row["arguments"] or "[]", TABLE)
    build = MAKERS[row["maker"]]
    make, labels = build(**arguments) if isinstance(arguments, dict) else build(*arguments)
    answers = row["answers"]
    return Spec(
        name=row["task"],
        category=row["category"],
        text=tuple(parse_json(row["text"] or "[]", TABLE)),
        labels=labels,
        make=make,
        evaluation=row["role"] == "held",
        closed=answers != "free",
        choices=int(answers) if answers.isdigit() else 0,
    )


@functools.cache
def specs() -> dict[str, tuple[Spec, ...]]:
    """Benchmark, or ``flan_v2`` for FLAN's rendered prompts -> its tasks, in the order of the table."""
    found: dict[str, list[Spec]] = {}
    for row in tables.rows(TABLE):
        found.setdefault(row["benchmark"], []).append(_spec(row))
    return {benchmark: tuple(tasks) for benchmark, tasks in found.items()}


def all_specs() -> Iterator[tuple[str, Spec]]:
    """(benchmark, task) of the whole miniature; the benchmark of FLAN's two forms is ``flan``."""
    for benchmark, tasks in specs().items():
        for spec in tasks:
            yield "flan" if benchmark == FLAN_COLLECTION else benchmark, spec
