"""T0's table of PromptSource's datasets: what T0 is trained on, and what it is evaluated on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.sources.formats.rows import table_rows
from iml_jax.bench.sources.promptsource.filter import task_name
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import is_there

TRAIN_SETS = ("BASE", "GPT_EVAL", "SGLUE")
_COLUMNS = ("HF_name", "subset", "do_train", "do_eval")
# Published splits by their first word: also cut, numbered or matched ones (train_r1, validation_matched).
_SPLIT = re.compile(r"(?P<word>train|validation|valid|val|dev|test)([-_.].*)?")
_WORDS = {"train": "train", "test": "test"}


def read_roles(path: Path, train_sets: Sequence[str]) -> dict[str, str]:
    """``DATASET[/SUBSET]`` -> role, one of ``data.terms.ROLES``.

    Args:
      path: T0's datasets.csv.
      train_sets: the ``do_train`` entries that are trained on.

    Raises:
      UserError: it is no such table.
    """
    roles = {}
    for number, row in table_rows(path):
        if missing := [column for column in _COLUMNS if column not in row]:
            raise UserError(f"{path}:1: no column {missing[0]!r}; give T0's datasets.csv")
        name, subset, train, evaluate = (str(row[column] or "").strip() for column in _COLUMNS)
        if not name:
            raise UserError(f"{path}:{number}: empty HF_name; fix the row")
        role = "evaluation" if evaluate else "train" if train in train_sets else "excluded"
        roles[task_name(name, subset)] = role
    return roles


def role_table_in(folder: Path) -> str:
    """The role table beside the rows of a benchmark's folder; empty where there is none."""
    path = folder / "datasets.csv"
    return str(path) if is_there(path) else ""


def role_of(roles: Mapping[str, str] | None, task: str) -> str:
    """A task's role; without a table every task is trained on."""
    return "train" if roles is None else roles.get(task, "excluded")


def split_of(published: str) -> str:
    """Which of ``SPLITS`` a published split belongs to; empty: none (``unsupervised``, ``challenge``)."""
    match = _SPLIT.fullmatch(published)
    return _WORDS.get(match["word"], "validation") if match else ""


def published_of(published: Iterable[str], role: str, split: str) -> list[str]:
    """The published splits that make up one of the offered, in the order given."""
    names = list(published)
    own = [name for name in names if split_of(name) == split]
    if not own and role == "evaluation" and split == "test":
        return [name for name in names if split_of(name) == "train"]
    return own
