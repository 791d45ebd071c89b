"""The tasks of UnifiedSKG by name: the keywords of their prompts, their metrics, their original files."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

from iml_jax.storage import tables

TABLE = Path(__file__).with_name("tasks.tsv")


@dataclasses.dataclass(frozen=True, slots=True)
class Keywords:
    """What an OPT-IML prompt writes before each field (OPT-IML appendix C shows some of these).

    Attributes:
      structure: the structured knowledge.
      text: the request.
      target: the answer to give; the prompt ends in it.
      context: earlier turns of a conversation; empty for tasks that are none.
    """

    structure: str
    text: str
    target: str
    context: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class SkgTask:
    """One task: a row of ``tasks.tsv``, which separates names by ``|`` and patterns by a space.

    The patterns of ``data`` and ``side`` are regular expressions for paths in the folder of the task, without
    ``.gz``; the table writes ``{SPLIT}`` for the name of a split in any of the public spellings (``SPLIT``).
    Where both are empty, only UnifiedSKG's preprocessed items are read.

    How OPT-IML scores Spider, DART and MultiWoZ is in its table 13; the other parsers and short answers are
    scored by exact match as in the UnifiedSKG paper, texts by Rouge-L, labels by accuracy.

    Attributes:
      name: of its loader in UnifiedSKG, ``tasks/NAME.py``.
      keywords: of its prompts.
      metric: one of ``data.terms.METRICS``.
      description: as UnifiedSKG's ``configure/META_TUNING`` words it.
      paper: it is one of the 21 tasks of the UnifiedSKG paper.
      options: the labels of a classification task.
      aliases: other names of its files and folders.
      data: patterns of its original split files, the preferred first; the first match of a split is read.
      side: patterns of the files that the rows refer to, such as tables.
      no_target: what the files write where there is no target.
    """

    name: str
    keywords: Keywords
    metric: str
    description: str
    paper: bool
    options: tuple[str, ...]
    aliases: tuple[str, ...]
    data: tuple[str, ...]
    side: tuple[str, ...]
    no_target: str

    def is_side(self, name: str) -> bool:
        """Whether a path, without ``.gz``, matches one of ``side``."""
        return any(re.fullmatch(pattern, name) for pattern in self.side)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that its files and folders may have."""
        return (self.name, *self.aliases)


# "train", "dev" and so on, in any of the words that the public files use.
SPLIT = r"(?:train|dev|devel|val|valid|validation|eval|test)"


def tasks() -> tuple[SkgTask, ...]:
    """The tasks of the table, sorted by name."""
    return tables.read(TABLE, _task)


def _task(**row: str) -> SkgTask:
    return SkgTask(
        name=row["task"],
        keywords=Keywords(row["structure"], row["text"], row["target"], row["context"]),
        metric=row["metric"],
        description=row["description"],
        paper=row["paper"] == "yes",
        options=tuple(filter(None, row["options"].split("|"))),
        aliases=tuple(filter(None, row["aliases"].split("|"))),
        data=_patterns(row["data"]),
        side=_patterns(row["side"]),
        no_target=row["no_target"],
    )


def _patterns(cell: str) -> tuple[str, ...]:
    return tuple(cell.replace("{SPLIT}", SPLIT).split())


@functools.cache
def by_name() -> dict[str, SkgTask]:
    """Every name and alias in lower case -> its task."""
    return {name: task for task in tasks() for name in task.names}
