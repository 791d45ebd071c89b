"""BIG-bench's JSON tasks (google/BIG-bench, ``benchmark_tasks``), evaluation only."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.example import Example
from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.base import Item, Outcome, TaskInfo
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.records import Record, head_of, listed
from iml_jax.bench.sources.suites.evaluation_only import CANARY, EMPTY, EvaluationOnly, has_canary
from iml_jax.config.paths import SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import walk

_CHOICE = "multiple_choice_grade"
_EXACT = ("exact_str_match", _CHOICE)
NO_BEST = "no option is better than the others"


@dataclasses.dataclass(frozen=True)
class BigBench(EvaluationOnly):
    """Folders ``TASK/task.json`` or ``TASK/SUBTASK/task.json`` (or ``.gz``); programmatic tasks are not read.

    The prompt is BIG-bench's own: task prefix, then input prefix, input, choices and output prefix of each
    example. The choices stand in an order drawn for each row, as in BIG-bench (json_task.py permutes the
    sorted choices): in many files the right one is the first. Rows of hails/bigbench, which
    lm-evaluation-harness reads, keep the files' order and so differ.

    Where the task prefers the multiple-choice grade, the options are scored and those with the highest target
    score are right; else the answer is generated and compared (exact match, or Rouge-L where the task prefers
    an overlap metric). Demonstrations are other examples of the task. The canary stays out of prompts. Never
    trained on.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder ``benchmark_tasks``."})

    name = "bigbench"

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; each task file is parsed when it is described."""
        return {name: functools.partial(self._info, name, path) for name, path in self._find()[0].items()}

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return self._find()[1]

    def _find(self) -> tuple[dict[str, Path], Copies]:
        """Task -> its file; and copies."""
        root = directory(self.data_dir, "BigBench.data_dir")
        found, twins = copies.once(
            (
                (place.relative_to(root).as_posix(), place / name)
                for place, _, files in walk(root)
                for name in ("task.json", "task.json.gz")
                if name in files
            ),
            "task",
        )
        if not found:
            raise UserError(f"{root}: no TASK/task.json below it; bind BIG-bench's folder benchmark_tasks")
        return found, twins

    def _info(self, name: str, path: Path) -> TaskInfo:
        content = head_of(path, "examples")
        metric = "exact_match" if content.text("preferred_score", "") in _EXACT else "rouge_l"
        return TaskInfo(
            benchmark=self.name,
            task=name,
            category="BIG-bench",
            role="evaluation",
            splits=("test",),
            metric="accuracy" if _scored(content) else metric,
            files=(path,),
        )

    def demonstrations(self, task: TaskInfo, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.demonstrations``: the task has no other rows than those asked."""
        yield from self.examples(task, "test", skipped)

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``."""
        content = head_of(task.files[0], "examples")
        scored = _scored(content)
        for row in listed(task.files[0], "examples", wanted="a JSON task"):
            order = _permuted(task.task, row)
            right, options = _answers(row, order, scored=scored)
            text = _question(content, row, order)
            identity = str(row.number - 1)
            if reason := _unusable(row, text, right):
                yield identity, reason
                continue
            item = Item(
                source=text.strip(),
                references=right,
                options=options if scored else (),
                instruction=content.text("task_prefix", ""),
                completion=True,  # the output prefix is the delimiter
            )
            yield identity, item


def _scored(content: Record) -> bool:
    return content.text("preferred_score", "") == _CHOICE


def _verbatim(record: Record, key: str, default: str) -> str:
    """A text with its spaces; ``default`` where the key is missing."""
    record.text(key, default)
    value = record.values.get(key)
    return default if value is None else str(value)


def _permuted(task: str, row: Record) -> list[str]:
    """The row's choices in an order that follows from the task, the row and the choices alone."""
    return sorted(row.mapping("target_scores"), key=lambda choice: stable_hash(task, row.number, choice))


def _question(content: Record, row: Record, order: Sequence[str]) -> str:
    text = _verbatim(content, "example_input_prefix", "\nQ: ") + _verbatim(row, "input", "")
    # As BIG-bench reads it: any text counts as true, "false" too.
    if "target_scores" in row.values and bool(content.values.get("append_choices_to_input", True)):
        prefix = _verbatim(content, "choice_prefix", "\n  choice: ")
        text += "".join(prefix + choice for choice in order)
    return text + _verbatim(content, "example_output_prefix", "\nA: ")


def _answers(row: Record, order: Sequence[str], *, scored: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The right answers, and all options, in ``order``; none is right where no option is better."""
    scores = row.mapping("target_scores")
    for option, score in scores.items():
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise row.error(f"the target score of {option[:40]!r} must be a number")
    options = tuple(option.strip() for option in order)
    if not scored and "target" in row.values:
        return tuple(text for text in row.texts("target") if text), ()
    if not scores:
        raise row.error("has neither 'target_scores' nor a 'target' that its preferred score can use")
    best = max(scores.values())
    right = tuple(option.strip() for option in order if scores[option] == best)
    return (right if len(set(right)) < len(set(options)) else ()), options


def _unusable(row: Record, text: str, right: Sequence[str]) -> str:
    """Why an example cannot be asked; empty if it can."""
    # Some tasks ask nothing: the likelier of their options is the answer.
    if not text.strip() or not (row.text("input", "") or "target_scores" in row.values):
        return EMPTY
    if not right or not all(right):
        return NO_BEST if "target_scores" in row.values else "no target"
    return CANARY if has_canary(text, *right) else ""
