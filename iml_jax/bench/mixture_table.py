"""The mixture table: what a prepared directory holds and what was lost on the way, per task and in total."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench import left_out
from iml_jax.bench.left_out import LeftOut
from iml_jax.bench.sources.formats.shortening import kept, lost
from iml_jax.data.manifest import Manifest, SplitEntry, TaskEntry
from iml_jax.storage.reading import split_lines
from iml_jax.storage.writing import write_atomically

TEXT, JSON = "mixture_table.txt", "mixture_table.json"
_COUNTS = ("examples", "tokens", "loss_tokens", "left_truncated")


def as_record(manifest: Manifest, left: Sequence[LeftOut] = ()) -> dict[str, Any]:
    """The table as JSON: ``tasks`` (a row for each), ``totals`` (per split and over all), and more.

    ``benchmarks`` has the share of the training stream of each, ``left_out`` what was not used and why.
    """
    tasks = [
        {
            **{name: getattr(entry, name) for name in _TASK_FIELDS},
            "splits": {split: _row(content) for split, content in entry.splits.items()},
        }
        for entry in manifest.tasks
    ]
    splits = sorted({split for entry in manifest.tasks for split in entry.splits})
    totals = {
        split: _total([e.splits[split] for e in manifest.tasks if split in e.splits]) for split in splits
    }
    totals["all"] = _total([content for entry in manifest.tasks for content in entry.splits.values()])
    return {
        "name": manifest.name,
        "fingerprint": manifest.fingerprint,
        "length": manifest.length,
        "trained_tasks": len(manifest.trained),
        "evaluated_tasks": len(manifest.evaluated),
        "tasks": tasks,
        "totals": totals,
        "benchmarks": shares(manifest),
        "left_out": [dataclasses.asdict(one) for one in left],
    }


def shares(manifest: Manifest) -> dict[str, float]:
    """Benchmark -> its part of the training stream, sorted by name."""
    sums: dict[str, float] = {}
    for entry in manifest.trained:
        sums[entry.benchmark] = sums.get(entry.benchmark, 0.0) + entry.rate
    return dict(sorted(sums.items()))


_TASK_FIELDS = ("name", "category", "role", "level", "metric", "trained", "evaluated", "cap", "rate")


def _row(content: SplitEntry) -> dict[str, Any]:
    counts = {name: getattr(content, name) for name in _COUNTS}
    return {
        **counts,
        "dropped": lost(content.dropped),
        "shortened": kept(content.dropped),
        "demonstrations": content.demonstrations,
    }


def _total(contents: list[SplitEntry]) -> dict[str, Any]:
    sums = {name: sum(getattr(content, name) for content in contents) for name in _COUNTS}
    reasons = {}
    for name in ("dropped", "demonstrations"):
        counts: Counter[str] = Counter()
        for content in contents:
            counts.update(getattr(content, name))
        reasons[name] = dict(sorted(counts.items()))
    dropped = reasons["dropped"]
    return {
        "splits": len(contents),
        **sums,
        "dropped": lost(dropped),
        "shortened": kept(dropped),
        "demonstrations": reasons["demonstrations"],
    }


def render(manifest: Manifest, left: Sequence[LeftOut] = ()) -> str:
    """The table as text: one line a task and split, as wide as its longest name needs; totals at the end.

    Then what was dropped of rows, the part of each benchmark, and what else was left out.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"mixture {manifest.name}, rows of {manifest.length} tokens", box=None, pad_edge=False
    )
    table.add_column("task", no_wrap=True)
    table.add_column("split")
    for column in ("examples", "tokens", "loss tokens", "truncated", "dropped", "cap", "rate"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in manifest.tasks:
        for split, content in entry.splits.items():
            table.add_row(entry.name, split, *_cells(content), *_rate_cells(entry, split))
    record = as_record(manifest)
    for split, total in record["totals"].items():
        counts = [f"{total[name]:,}" for name in _COUNTS]
        lost = sum(total["dropped"].values())
        table.add_row(f"total ({total['splits']} splits)", split, *counts, f"{lost:,}", "", "")
    stream = io.StringIO()
    width = 120 + max((len(entry.name) for entry in manifest.tasks), default=0)
    console = Console(
        file=stream, width=width, color_system=None, force_terminal=False, emoji=False, markup=False
    )
    console.print(table)
    trained, evaluated = len(manifest.trained), len(manifest.evaluated)
    console.print(f"\n{len(manifest.tasks)} tasks: {trained} trained, {evaluated} evaluated")
    for reason, count in record["totals"]["all"]["dropped"].items():
        console.print(f"dropped {count:,}: {reason}", soft_wrap=True)
    for reason, count in record["totals"]["all"]["shortened"].items():
        console.print(f"shortened {count:,}: {reason} (of all prompts rendered)")
    for fate, count in record["totals"]["all"]["demonstrations"].items():
        console.print(f"demonstrations {count:,}: {fate}")
    if len(parts := shares(manifest)) > 1:
        listed = ", ".join(f"{name} {part:.5f}" for name, part in parts.items())
        console.print(f"shares of the training stream: {listed}", soft_wrap=True)
    for line in left_out.lines(left):
        console.print(line, soft_wrap=True)
    return "\n".join(line.rstrip() for line in split_lines(stream.getvalue())) + "\n"


def _cells(content: SplitEntry) -> list[str]:
    return [*(f"{getattr(content, name):,}" for name in _COUNTS), f"{sum(lost(content.dropped).values()):,}"]


def _rate_cells(entry: TaskEntry, split: str) -> tuple[str, str]:
    return (f"{entry.cap:,}", f"{entry.rate:.5f}") if entry.trained and split == "train" else ("", "")


def save(manifest: Manifest, directory: Path, left: Sequence[LeftOut] = ()) -> str:
    """Writes mixture_table.json and mixture_table.txt and returns the text.

    Args:
      manifest: what was prepared.
      directory: the prepared directory.
      left: what was left out before any row was read.

    Raises:
      Fault: a file cannot be written.
    """
    text = render(manifest, left)
    write_atomically(directory / JSON, json.dumps(as_record(manifest, left), indent=1) + "\n")
    write_atomically(directory / TEXT, text)
    return text


def summary(manifest: Manifest) -> str:
    """One line for the end of a log."""
    train = [entry.splits["train"] for entry in manifest.trained]
    counts = dataclasses.asdict(manifest.vocabulary)
    return (
        f"{len(manifest.trained)} tasks trained on {sum(c.examples for c in train):,} examples, "
        f"{sum(c.tokens for c in train):,} tokens ({sum(c.loss_tokens for c in train):,} with loss); "
        f"{len(manifest.evaluated)} tasks evaluated; vocabulary of {counts['tokens']:,} ids"
    )
