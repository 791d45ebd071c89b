"""Rendered prompts, shown before anything is prepared (``iml tasks --show``)."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import fnmatch
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench import mixtures
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.mixtures import MixtureConfig, PlannedTask, task_name
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.prompting import PromptedExample
from iml_jax.bench.sources import default_sources
from iml_jax.bench.sources.base import BrokenTask
from iml_jax.data import positions
from iml_jax.data.positions import Positions
from iml_jax.foundation.errors import UserError

POSITION_ROWS = 2000  # rows of a split whose right options are counted by position
_WINDOW = 40  # prompts read for each one shown: the first ones are often one row in all its templates


def of_mixture(config: MixtureConfig, pattern: str, count: int, seed: int = 0) -> Iterator[str]:
    """Prompts of every task that a mixture trains on or evaluates, in each of its variants.

    Args:
      config: of the mixture.
      pattern: shell-style; only tasks whose ``benchmark:task`` matches.
      count: prompts of each split, drawn by a hash among its first ``40 * count``.
      seed: as ``Prepare.seed``.

    Yields:
      The text of one prompt after the other.

    Raises:
      UserError: the mixture or a file is malformed, or no task matches.
    """
    planned = mixtures.plan(config)
    _check(pattern, [task.info.key for task in planned])
    found: dict[str, Positions] = {}
    for task in planned:
        if fnmatch.fnmatchcase(task.info.key, pattern):
            yield from _shown(task, count, seed, found)
    yield from _uneven(found)


def of_folder(data_dir: str | Path, pattern: str, count: int, seed: int = 0) -> Iterator[str]:
    """Zero-shot prompts of every task in a folder that ``sources.default_sources`` reads.

    Of each task one split: train where there is one. What is broken is said in its place.

    Args:
      data_dir: the folder (docs/data.md).
      pattern, count, seed: as for ``of_mixture``.

    Yields:
      The text of one prompt, or of one failure, after the other.

    Raises:
      UserError: the folder is not of that layout, a source can list nothing, or no task matches.
    """
    sources = default_sources(data_dir)
    listed = [(source, task) for source in sources for task in source.survey()]
    keys = [f"{source.name}:{task.task}" for source, task in listed]
    _check(pattern, keys)
    found: dict[str, Positions] = {}
    for (source, task), key in zip(listed, keys, strict=True):
        if not fnmatch.fnmatchcase(key, pattern):
            continue
        if isinstance(task, BrokenTask):
            yield f"===== {key}: broken: {task.reason}\n"
        elif not task.splits:
            yield f"===== {key}: no split is present\n"
        else:
            split = "train" if "train" in task.splits else task.splits[0]
            planned = PlannedTask(task_name(task), task, source, split == "train", "", {split: 0})
            try:
                yield from _shown(planned, count, seed, found)
            except UserError as error:
                yield f"===== {key}: broken: {error}\n"
    yield from _uneven(found)


def _check(pattern: str, keys: Sequence[str]) -> None:
    if not fnmatch.filter(keys, pattern):
        near = difflib.get_close_matches(pattern, keys, n=1, cutoff=0.3)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise UserError(f"--tasks {pattern!r} matches no task{hint}")


def _shown(planned: PlannedTask, count: int, seed: int, found: dict[str, Positions]) -> Iterator[str]:
    """The prompts of all planned splits; caps and pooling do not count here, which need whole splits.

    Args:
      found: receives, by task and split, where the right options stand.
    """
    plain = dataclasses.replace(planned, caps=dict.fromkeys(planned.caps, 0), pooled=())
    for split in plain.caps:
        skipped: collections.Counter[str] = collections.Counter()
        rows = prompted_examples(plain, split, seed, skipped)
        window = list(itertools.islice(rows, count * _WINDOW))
        for row in _drawn(window, count, f"{seed} {plain.name} {split}"):
            yield _text(f"{plain.info.key}:{plain.variant.name}", split, row)
        more = itertools.islice(rows, max(0, POSITION_ROWS - len(window)))
        placed = _positions(itertools.chain(window, more)) if any(row.options for row in window) else None
        if placed:
            name = f"{plain.info.key}:{plain.variant.name} | {split}"
            found[name] = placed
            yield _counted(name, placed)
        if skipped:
            reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(skipped.items()))
            yield f"===== {plain.info.key}:{plain.variant.name} | {split} | skipped before these: {reasons}\n"


def _positions(rows: Iterable[PromptedExample]) -> Positions | None:
    """``positions.examine`` of the examples, each by the first template that asks it."""
    first: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
    for row in rows:
        first.setdefault(row.example_id, (row.options, row.references))
    return positions.examine(first.values())


def _counted(name: str, found: Positions) -> str:
    right = ", ".join(f"{place}: {number:,}" for place, number in enumerate(found.right, start=1))
    return (
        f"===== {name} | right options by position: {right} (of {found.rows:,} examples); always option "
        f"{found.best} would score {found.score:.1f}; p = {found.p_value:.2g} for a random order\n"
    )


def _uneven(found: Mapping[str, Positions]) -> Iterator[str]:
    """One line on the tasks whose position gives answers away, after Holm's correction over all shown."""
    named = positions.uneven(found)
    if named:
        listed = "; ".join(f"{name}: always option {one.best} {one.score:.1f}" for name, one in named.items())
        yield (
            f"===== warning: in {len(named)} of {len(found)} the right option's position is not random "
            f"(Holm-corrected over them, p < {positions.SIGNIFICANT}): {listed}\n"
        )


def _drawn(rows: Iterable[PromptedExample], count: int, key: str) -> list[PromptedExample]:
    """``count`` of the rows by their hashes, of different examples as far as there are."""
    ordered = sorted(
        rows,
        key=lambda row: stable_hash("show", key, row.example_id, row.template),
    )
    seen: set[tuple[str, str]] = set()
    firsts: list[PromptedExample] = []
    others: list[PromptedExample] = []
    for row in ordered:
        # Neither the same row of the data twice, nor the same template, before others had their turn.
        marks = {("example", row.example_id), ("template", row.template or row.example_id)}
        if marks & seen:
            others.append(row)
        else:
            firsts.append(row)
            seen |= marks
    return [*firsts, *others][:count]


def _text(name: str, split: str, row: PromptedExample) -> str:
    """Heading, source text, the target between markers (a space joins them), then what else is known."""
    heading = " | ".join(
        filter(None, (name, split, row.example_id, row.template and f"template {row.template!r}"))
    )
    lines = [f"===== {heading}", f"{row.prompt_text}[[ {row.target_text} ]]"]
    if row.references[1:]:
        lines.append(f"----- also correct: {list(row.references[1:])}")
    if row.options:
        lines.append(f"----- options: {list(row.options)}")
    return "\n".join(lines) + "\n"
