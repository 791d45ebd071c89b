"""Groups evaluated tasks: which are parts of one task, their categories and numbers of shots.

OPT-IML (section 4.1) takes sub-tasks together as one task (the 57 subjects of MMLU, the variants of
Winobias), averages a dataset that several benchmarks have (COPA) and keeps 0-shot and 5-shot apart. The table
``grouping.tsv`` says which tasks belong together; it is applied to names, so it holds for any prepared data.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from pathlib import Path

from iml_jax.storage import tables

TABLE = Path(__file__).with_name("grouping.tsv")
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SHOTS = re.compile(rf"({'|'.join(_WORDS)}|\d+)_shot")
ZERO_SHOT = "zero_shot"


@dataclasses.dataclass(frozen=True)
class TaskGroup:
    """Where a task's score enters the averages.

    Attributes:
      unit: the task that it is, or is a part of; tasks of several benchmarks with one unit are one dataset.
      category: the category to report it under.
      variant: its prompts, e.g. ``zero_shot``; what has another variant is never averaged with it.
      shots: demonstrations that these show; None where the variant does not fix it.
    """

    unit: str
    category: str
    variant: str
    shots: int | None


@functools.lru_cache(maxsize=1 << 16)
def group_of(name: str, benchmark: str, task: str, category: str) -> TaskGroup:
    """The group of a task.

    Args:
      name: ``benchmark:task:variant``; a name without variant counts as 0-shot.
      benchmark, task, category: as in the manifest.
    """
    variant = name.rpartition(":")[2] if ":" in name else ZERO_SHOT
    unit = f"{benchmark}:{task}"
    for row in tables.rows(TABLE):
        if row["benchmark"] == benchmark and fnmatch.fnmatchcase(task, row["task"]):
            unit, category = row["unit"], row["category"] or category
            break
    return TaskGroup(unit, category, variant, shots_of(variant))


def shots_of(variant: str) -> int | None:
    """Demonstrations of ``zero_shot``, ``five_shot_n2``, ``32_shot_options``...; None for ``metaicl_a2``."""
    found = _SHOTS.match(variant)
    if not found:
        return None
    return _WORDS.index(found[1]) if found[1] in _WORDS else int(found[1])


def variant_order(variant: str) -> tuple[int, str]:
    """Sorts columns: fewest shots first, those that fix none last."""
    shots = shots_of(variant)
    return (10**6 if shots is None else shots), variant


def variant_title(variant: str) -> str:
    """A column's title: ``0-shot``, ``5-shot``, ``5-shot, n2``, ``metaicl_a2``."""
    found = _SHOTS.match(variant)
    if not found:
        return variant
    rest = variant[found.end() :].strip("_").replace("_", ", ")
    return f"{shots_of(variant)}-shot" + (f", {rest}" if rest else "")
