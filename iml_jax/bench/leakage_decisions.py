"""What a person decided about pairs of overlapping tasks: a TSV of which side goes (OPT-IML section 2.3).

A line is training task, evaluation task, side and reason, separated by tabs; tasks are ``benchmark:task``.
The side is what is dropped: ``train``, ``evaluation``, or nothing (``keep``). Empty lines, lines that begin
with ``#`` and the heading are passed over.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from iml_jax.bench.roles import Use
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_lines

COLUMNS = ("train task", "evaluation task", "side", "reason")
TRAIN, EVALUATION, KEEP = SIDES = ("train", "evaluation", "keep")


@dataclasses.dataclass(frozen=True)
class Decision:
    """One line of the file."""

    train: str
    evaluation: str
    side: str
    reason: str
    line: int


def read(
    path: str | Path, known: Collection[str], moot: Callable[[str], None] | None = None
) -> dict[tuple[str, str], Decision]:
    """The decisions of a file by (train task, evaluation task).

    Args:
      path: the TSV.
      known: every task there may be, ``benchmark:task``.
      moot: receives a message for each line with a task that is not in ``known``, which is then passed over
        (a directory prepared with the file lacks what the file drops). None refuses such a line.

    Raises:
      UserError: the file cannot be read, or a line is malformed, names an unknown task, or decides a pair
        twice.
    """
    path = Path(path)
    decisions: dict[tuple[str, str], Decision] = {}
    for number, line in read_lines(path):
        cells = [cell.strip() for cell in line.removeprefix("\ufeff").split("\t")]
        if not any(cells) or cells[0].startswith("#") or tuple(cells) == COLUMNS:
            continue
        where = f"{path}:{number}"
        if len(cells) not in {3, 4}:
            raise UserError(f"{where}: {len(cells)} columns; write {', '.join(COLUMNS)} with tabs between")
        train, evaluation, side = cells[:3]
        if side not in SIDES:
            raise UserError(f"{where}: the side {side!r} is none of {', '.join(SIDES)}")
        if (train, evaluation) in decisions:
            first = decisions[train, evaluation].line
            raise UserError(f"{where}: this pair is decided in line {first} already; keep one of them")
        if unknown := [name for name in (train, evaluation) if name not in known]:
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.3)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            message = f"{where}: no task {unknown[0]!r}{hint}"
            if moot is None:
                raise UserError(f"{message} (see `iml tasks`)")
            moot(f"{message}; the line is ignored")
            continue
        reason = cells[3] if len(cells) == len(COLUMNS) else ""
        decisions[train, evaluation] = Decision(train, evaluation, side, reason, number)
    return decisions


def apply(uses: Sequence[Use], path: str) -> list[Use]:
    """The uses less what the file drops; an empty path drops nothing.

    Raises:
      UserError: as ``read``.
    """
    if not path:
        return list(uses)
    decisions = read(path, {use.info.key for use in uses}).values()
    dropped = {
        side: {getattr(each, side) for each in decisions if each.side == side} for side in (TRAIN, EVALUATION)
    }
    return [
        dataclasses.replace(
            use,
            trained=use.trained and use.info.key not in dropped[TRAIN],
            evaluated=use.evaluated and use.info.key not in dropped[EVALUATION],
        )
        for use in uses
    ]
