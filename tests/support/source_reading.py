"""Reads a source to its end as `iml prepare` and `iml tasks` do, and checks whatever comes out."""

from __future__ import annotations

import collections
from pathlib import Path

from iml_jax.bench.example import Demonstration, Example
from iml_jax.bench.sources.base import BrokenTask, Source, TaskInfo
from iml_jax.data.terms import METRICS, ROLES, SPLITS
from iml_jax.foundation.errors import UserError

REFUSED, SKIPPED, READ = "refused", "skipped", "read"


def read_all(
    source: Source,
    root: Path,
    changed: Path | None = None,
    *,
    strict: bool = True,
    skipped: collections.Counter[str] | None = None,
) -> str:
    """Lists every task of a source whose files lie below ``root`` and reads them, and what came of it.

    Args:
      source: the source.
      root: its data.
      changed: read only the tasks that are made from this file; where none is, all.
      strict: list them as ``iml prepare`` does, too, which a broken task ends.
      skipped: receives, by reason, one count for each row left out.

    Returns:
      ``REFUSED`` where anything was refused with a UserError, ``SKIPPED`` where rows were left out and
      counted, else ``READ``.

    Raises:
      AssertionError: an error that does not say where, or an example that is none.
      Exception: whatever else escaped from the source.
    """
    refused = False
    skipped = collections.Counter() if skipped is None else skipped
    try:
        if strict:
            source.tasks()
    except UserError as error:
        check_message(str(error), root)
        refused = True
    try:
        found = list(source.survey())
    except UserError as error:
        check_message(str(error), root)
        return REFUSED
    tasks = []
    for task in found:
        if isinstance(task, BrokenTask):
            check_message(task.reason, root)
            refused = True
        else:
            check_task(task)
            tasks.append(task)
    for task in [task for task in tasks if changed in task.files] or ([] if refused else tasks):
        try:
            assert source.templates(task) >= 0
            for split in task.splits:
                for example in source.examples(task, split, skipped):
                    check_example(example, task, split)
        except UserError as error:
            check_message(str(error), root)
            refused = True
    for reason, count in skipped.items():
        assert reason and _one_line(reason) and count > 0, f"odd skip {reason!r}: {count}"
    return REFUSED if refused else SKIPPED if skipped else READ


def check_message(text: str, root: Path) -> None:
    """One line that names a file or folder of the data, and is no longer than a person reads."""
    assert _one_line(text), f"not one line: {text!r}"
    assert str(root) in text, f"names no file: {text}"
    assert len(text) < 2000, f"{len(text)} characters: {text[:200]}"


def check_task(task: TaskInfo) -> None:
    """What tables and file names are made of."""
    for text in (task.benchmark, task.task, task.category):
        assert text and isinstance(text, str) and _one_line(text) and "\t" not in text, f"odd name {text!r}"
        assert _encodable(text), f"a name that is not Unicode {text!r}"
    assert task.role in ROLES
    assert task.metric in METRICS
    assert set(task.splits) <= set(SPLITS)
    assert all(isinstance(path, Path) for path in task.files)


def check_example(example: Example, task: TaskInfo, split: str) -> None:
    """What ``Example`` promises."""
    assert (example.benchmark, example.task, example.split) == (task.benchmark, task.task, split)
    texts = (example.instruction, example.source, *example.references, *example.options)
    for text in (*texts, example.example_id, example.template):
        assert isinstance(text, str), f"a {type(text).__name__} where text belongs"
    assert all(map(_encodable, texts)), "text that is not Unicode"
    assert isinstance(example.references, tuple) and example.references, "no reference"
    assert isinstance(example.options, tuple)
    assert example.references[0].strip(), "an empty target"
    assert all(isinstance(shown, Demonstration) for shown in example.demonstrations)
    assert all(_encodable(shown.source) and _encodable(shown.target) for shown in example.demonstrations)


def _one_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and "\0" not in text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
