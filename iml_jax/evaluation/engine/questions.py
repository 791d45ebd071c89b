"""Evaluation records of a prepared directory, as questions for a model."""

from __future__ import annotations

import dataclasses
import fnmatch
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iml_jax.data import record_format
from iml_jax.data.manifest import Manifest, TaskEntry
from iml_jax.data.records import Features
from iml_jax.data.shards import RecordList, ShardPool
from iml_jax.foundation.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """One evaluation record; ids without ``</s>`` in front, candidates' ids with ``</s>`` at their end.

    The last tokens of a very long prompt are stored (``data.record_format``), all but ``cut``; ``prompt`` is
    the whole text.
    """

    task: str
    example_id: str
    template: str
    prompt: str
    prompt_ids: np.ndarray
    references: tuple[str, ...]
    options: tuple[str, ...]
    option_ids: tuple[np.ndarray, ...]
    cut: int = 0


def select_tasks(manifest: Manifest, patterns: Sequence[str]) -> tuple[TaskEntry, ...]:
    """The evaluated tasks whose name, or ``benchmark:task``, matches any pattern (all, if there is none).

    Raises:
      UserError: a pattern matches no evaluated task, or none is evaluated at all.
    """
    evaluated = manifest.evaluated
    if not evaluated:
        raise UserError(
            f"manifest {manifest.name!r} has no task to evaluate; prepare a mixture that holds some out"
        )
    if not patterns:
        return evaluated

    def matches(entry: TaskEntry, pattern: str) -> bool:
        names = (entry.name, f"{entry.benchmark}:{entry.task}")
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)

    for pattern in patterns:
        if not any(matches(entry, pattern) for entry in evaluated):
            raise UserError(
                f"Evaluate.tasks: {pattern!r} matches none of the {len(evaluated)} evaluated tasks "
                f"(the first is {evaluated[0].name})"
            )
    return tuple(entry for entry in evaluated if any(matches(entry, pattern) for pattern in patterns))


def split_of(entry: TaskEntry, split: str) -> str:
    """The split to evaluate: ``split``, or where that is empty the manifest's choice.

    Raises:
      UserError: the task has no such split.
    """
    chosen = split or entry.evaluation_split
    if chosen == "train" or chosen not in entry.splits:
        have = ", ".join(sorted(set(entry.splits) - {"train"}))
        raise UserError(f"Evaluate.split is {chosen!r}, but task {entry.name} can be evaluated on: {have}")
    return chosen


def sample(name: str, total: int, count: int) -> list[int]:
    """Which records to evaluate: all, or ``count`` sampled with a seed made from the task's name."""
    if count <= 0 or count >= total:
        return list(range(total))
    return sorted(np.random.default_rng(zlib.crc32(name.encode())).permutation(total)[:count].tolist())


def read(  # noqa: PLR0917
    prepared_dir: Path, entry: TaskEntry, split: str, count: int, start: int = 0, stop: int | None = None
) -> list[Question]:
    """The questions of one task, in file order.

    Args:
      prepared_dir, entry, split: where they are.
      count: the number of questions asked of the task (``sample``); 0 for all.
      start, stop: the range of those that is read; by default all.

    Raises:
      UserError: a shard is missing or damaged, it holds another number of records than the manifest says, or
        a record is not an evaluation record.
    """
    pool = ShardPool(prepared_dir, max_open=1)
    try:
        records = RecordList(pool, entry.splits[split].files)
        if len(records) != entry.splits[split].examples:
            raise UserError(
                f"{prepared_dir}: {entry.name} has {len(records)} records of split {split}, but its manifest "
                f"says {entry.splits[split].examples}; run `iml prepare` again"
            )
        chosen = sample(entry.name, len(records), count)[start:stop]
        return [_question(entry.name, records[index], records.place(index)) for index in chosen]
    finally:
        pool.close()


def _question(task: str, record: Features, place: str) -> Question:
    try:
        lengths = np.asarray(record[record_format.OPTION_LENGTHS], np.int64)
        ids = np.asarray(record[record_format.OPTION_IDS], np.int64)
        options = _texts(record, record_format.OPTIONS)
        if len(options) != len(lengths) or ids.size != lengths.sum() or (lengths < 1).any():
            raise UserError(f"{place}: its options and their token ids disagree; run `iml prepare` again")
        return Question(
            task=task,
            example_id=_texts(record, record_format.EXAMPLE_ID)[0],
            template=(_texts(record, record_format.TEMPLATE) or ("",))[0],
            prompt=_texts(record, record_format.PROMPT_TEXT)[0],
            prompt_ids=np.asarray(record[record_format.PROMPT_IDS], np.int64),
            references=_texts(record, record_format.REFERENCES),
            options=options,
            option_ids=tuple(np.split(ids, np.cumsum(lengths)[:-1])) if len(lengths) else (),
            cut=_cut(record),
        )
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(f"{place}: not an evaluation record ({error!r}); run `iml prepare` again") from None


def _cut(record: Features) -> int:
    name = record_format.PROMPT_TOKENS_CUT
    return int(record[name][0]) if name in record else 0


def _texts(record: Features, name: str) -> tuple[str, ...]:
    return tuple(value.decode("utf-8") for value in record[name])
