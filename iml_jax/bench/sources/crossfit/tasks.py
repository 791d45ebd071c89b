"""What is known of CrossFit's tasks: their types, and a sentence of instruction each (OPT-IML appendix A.1).

CrossFit has no instructions; the authors of OPT-IML wrote one simple sentence for each task, ours are in
``instructions.tsv``. ``type`` is what the ``task_type`` of CrossFit's scripts says, except that
``kilt_fever`` and ``google_wellformed_query`` are classification, as CrossFit's own task lists have it.
``choices`` is ``in_input`` where the input lists the answers.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from pathlib import Path

from iml_jax.bench.sources.formats.rows import table_rows
from iml_jax.foundation.errors import UserError

TABLE = Path(__file__).with_name("instructions.tsv")
CLASSIFICATION = "classification"
TYPES = (CLASSIFICATION, "text_to_text", "regression", "sequence_tagging")
_COLUMNS = ("task", "type", "choices", "instruction")


@dataclasses.dataclass(frozen=True, slots=True)
class KnownTask:
    """One row of the table.

    Attributes:
      type: one of ``TYPES``.
      choices: the input lists the answers, one of which is the output: ``(A) .. (B) ..``.
      instruction: a sentence that says what to do.
      table: the file that it was read from.
    """

    type: str
    choices: bool
    instruction: str
    table: Path

    @property
    def single(self) -> bool:
        """Whether a row of the task has one output: a label, a number or a choice."""
        return self.choices or self.type in (CLASSIFICATION, "regression")


@functools.cache
def _known() -> Mapping[str, KnownTask]:
    return read_table(TABLE)


def known_tasks(own_table: str = "") -> Mapping[str, KnownTask]:
    """CrossFit's 160 tasks, and those of a table of the user's own, whose rows go before.

    Raises:
      UserError: as ``read_table``.
    """
    return {**_known(), **read_table(Path(own_table))} if own_table else _known()


def read_table(path: Path) -> dict[str, KnownTask]:
    """Task -> row of a TSV file with the columns task, type, choices and instruction.

    Raises:
      UserError: the file is missing or malformed; names the line.
    """
    known: dict[str, KnownTask] = {}
    for line, row in table_rows(path):
        if missing := [column for column in _COLUMNS if column not in row]:
            raise UserError(f"{path}:1: no column {missing[0]}; its columns are {', '.join(_COLUMNS)}")
        task, kind, choices, instruction = (str(row[column] or "").strip() for column in _COLUMNS)
        if kind not in TYPES:
            raise UserError(f"{path}:{line}: type {kind!r}; use one of {', '.join(TYPES)}")
        if choices not in ("", "in_input"):
            raise UserError(f"{path}:{line}: choices {choices!r}; use in_input, or leave it empty")
        if not task or not instruction:
            raise UserError(f"{path}:{line}: no task or no instruction; fill both columns")
        if task in known:
            raise UserError(f"{path}:{line}: a second row of {task}; remove one")
        known[task] = KnownTask(kind, bool(choices), instruction, path)
    return known


def lookup(known: Mapping[str, KnownTask], task: str, example: Path) -> KnownTask:
    """The row of a task.

    Raises:
      UserError: there is none; names the file that asked and the nearest task.
    """
    if task not in known:
        near = difflib.get_close_matches(task, known, 1)
        hint = f"; the nearest that has one is {near[0]}" if near else ""
        raise UserError(
            f"{example}: no instruction is known for the task {task}{hint}; add a row to a table of your own "
            "and bind CrossFit.instructions to it, or move the files elsewhere"
        )
    return known[task]
