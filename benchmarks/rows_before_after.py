"""Rows of every task before and after a change: used, or left out with the reason; and what differs.

    python benchmarks/rows_before_after.py BEFORE_PYTHON AFTER_PYTHON --gin_file=benchmarks/public_data.gin \
        --gin.Mixture.data_dir="'PACK'"
    python benchmarks/rows_before_after.py --prepared BEFORE_DIR AFTER_DIR

The first reads all splits of the mixture's sources with two interpreters, each with an ``iml_jax`` of its own
(a worktree of another commit with a virtual environment); the second compares two prepared directories.
Printed are tables in Markdown: what each source holds, and each task and split whose counts differ.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# Counts of rows: reason -> how many; the reason of those that became examples is empty.
Counts = Mapping[str, int]
_NUMBER = re.compile(r"(:\d+)+")
_READ = """
import collections, json, sys
import iml_jax
import iml_jax.commands
from iml_jax import config
try:
    from iml_jax.bench import mixtures, source_paths, unused_files
except ImportError:  # an earlier revision
    from iml_jax.bench import mixtures, mixtures as source_paths, unread as unused_files
from iml_jax.bench.sources.base import BrokenTask
from iml_jax.foundation.errors import UserError

made = {}
bound = config.load([flag.partition("=")[2] for flag in sys.argv[1:] if flag.startswith("--gin_file=")],
                    [flag for flag in sys.argv[1:] if flag.startswith("--gin.")])
mixture = bound.build("Mixture")
print(f"read by {iml_jax.__file__}", file=sys.stderr, flush=True)
sources = [source_paths.located(source, mixture.data_dir) for source in mixture.sources]
for source in mixtures.expand(sources):
    name = f"{type(source).__name__} {getattr(source, 'data_dir', '').rsplit(mixture.data_dir + '/')[-1]}"
    told = made[name] = {"rows": {}, "broken": {}, "unread": {}}
    try:
        tasks = list(source.survey())
    except UserError as error:
        told["broken"]["*"] = str(error)
        continue
    told["broken"] = {task.task: task.reason for task in tasks if isinstance(task, BrokenTask)}
    told["unread"] = {str(path): why for path, why in unused_files.of_source(source, tasks).items()}
    for task in tasks:
        if isinstance(task, BrokenTask):
            continue
        for split in task.splits or ("-",):
            counts = collections.Counter()
            try:
                used = sum(1 for _ in source.examples(task, split, counts)) if task.splits else 0
            except UserError as error:
                told["broken"][f"{task.task} {split}"] = str(error)
                continue
            told["rows"][f"{task.task} {split}"] = {"": used, **counts}
    print(f"{name}: {len(told['rows'])} splits", file=sys.stderr, flush=True)
print(json.dumps(made))
"""


@dataclasses.dataclass(frozen=True)
class Held:
    """What is known of one source or prepared directory.

    Attributes:
      rows: "TASK SPLIT" -> its counts.
      broken: task -> why it cannot be read.
      left: reason -> how many things were left out for it (files, tasks, splits).
    """

    rows: Mapping[str, Counts]
    broken: Mapping[str, str]
    left: Counts


def read(python: str, flags: list[str]) -> dict[str, Held]:
    """Source -> what it holds, read with an interpreter."""
    command = [python, "-P", "-c", _READ, *flags]  # -P: not the iml_jax of this folder
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {
        name: Held(told["rows"], told["broken"], collections.Counter(map(_general, told["unread"].values())))
        for name, told in json.loads(done.stdout).items()
    }


def prepared(directory: str) -> dict[str, Held]:
    """What the mixture table of a prepared directory says, by benchmark."""
    table = json.loads(Path(directory, "mixture_table.json").read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Counts]] = collections.defaultdict(dict)
    for task in table["tasks"]:
        benchmark, _, name = task["name"].partition(":")
        for split, content in task["splits"].items():
            rows[benchmark][f"{name} {split}"] = {"": content["examples"], **content["dropped"]}
    left: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in table.get("left_out", ()):
        told = f", {one['rows']:,} rows" if one.get("rows") else ""
        left[one["benchmark"]][f"{one['kind']}{told}: {_general(one['reason'])}"] += one["count"]
    return {name: Held(rows[name], {}, left[name]) for name in sorted({*rows, *left})}


def _general(reason: str) -> str:
    """A reason without the folders and the places that it names."""
    return _NUMBER.sub("", re.sub(r"/\S*/", "", reason))


def tables(before: Mapping[str, Held], after: Mapping[str, Held]) -> Iterator[str]:
    """Lines of Markdown: totals of each source, then what differs."""
    yield "| source | splits | rows used | rows left out | files and splits left out | refused |"
    yield "|---|---|---|---|---|---|"
    names = sorted({*before, *after})
    nothing = Held({}, {}, {})
    pairs = {name: (before.get(name, nothing), after.get(name, nothing)) for name in names}
    for name, pair in pairs.items():
        columns = zip(*map(_totals, pair), strict=True)
        cells = (f"{old}" if old == new else f"{old} -> {new}" for old, new in columns)
        yield f"| {name} | {' | '.join(cells)} |"
    for name, (old, new) in pairs.items():
        changed = list(_changes(old, new))
        if changed:
            yield f"\n**{name}**\n\n| task and split | before -> after |\n|---|---|"
            yield from changed


def _totals(held: Held) -> tuple[str, ...]:
    used = sum(counts.get("", 0) for counts in held.rows.values())
    lost = sum(sum(counts.values()) for counts in held.rows.values()) - used
    counts = (len(held.rows), used, lost, sum(held.left.values()))
    return *(f"{count:,}" for count in counts), ", ".join(held.broken) or "-"


def _changes(old: Held, new: Held) -> Iterator[str]:
    """A row for each task and split whose counts differ, alike ones together; then what else differs."""
    alike: dict[str, list[str]] = collections.defaultdict(list)
    for key in sorted({*old.rows, *new.rows}):
        if words := _difference(old.rows.get(key, {}), new.rows.get(key, {})):
            alike[words].append(key)
    for words, keys in alike.items():
        yield f"| {keys[0] if len(keys) == 1 else f'{len(keys)} such as {keys[0]}'} | {words} |"
    if words := _difference(old.left, new.left):
        yield f"| (left out before any row is read) | {words} |"
    for key in sorted({*old.broken, *new.broken}):
        if old.broken.get(key) != new.broken.get(key):
            yield f"| {key} | broken: {old.broken.get(key, 'no')} -> {new.broken.get(key, 'no')} |"


def _difference(old: Counts, new: Counts) -> str:
    reasons = sorted({*old, *new}, key=lambda reason: (reason != "", reason))
    return "; ".join(
        f"{reason or 'used'} {old.get(reason, 0):,} -> {new.get(reason, 0):,}"
        for reason in reasons
        if old.get(reason, 0) != new.get(reason, 0)
    )


def main(arguments: list[str]) -> None:
    """Prints the tables."""
    given = [word for word in arguments if not word.startswith("--")]
    if len(given) != 2:
        sys.exit(f"{__doc__}\nGive two interpreters, or --prepared and two directories")
    if "--prepared" in arguments:
        held = [prepared(place) for place in given]
    else:
        flags = [word for word in arguments if word.startswith("--gin")]
        held = [read(python, flags) for python in given]
    print("\n".join(tables(*held)))


if __name__ == "__main__":
    main(sys.argv[1:])
