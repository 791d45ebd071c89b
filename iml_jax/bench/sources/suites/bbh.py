"""BIG-Bench Hard (arXiv 2210.09261): 27 files of 23 tasks, answered in free text."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iml_jax.bench.example import Demonstration
from iml_jax.bench.sources.base import Item, Outcome, TaskInfo
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.records import listed
from iml_jax.bench.sources.suites.evaluation_only import CANARY, EvaluationOnly, has_canary, packed, with_gz
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables
from iml_jax.storage.folders import entries
from iml_jax.storage.reading import read_text

_PROMPTS = "cot-prompts"
# What the authors' chain-of-thought prompts open every answer with, the asked question's too.
LEAD = "Let's think step by step."
# The names of the 27 files.
TASKS = tuple(row["task"] for row in tables.rows(Path(__file__).with_name("bbh_tasks.tsv")))


@dataclasses.dataclass(frozen=True)
class BigBenchHard(EvaluationOnly):
    """A clone of suzgunmirac/BIG-Bench-Hard: ``bbh/TASK.json``, ``cot-prompts/TASK.txt``, plain or ``.gz``.

    The prompt is the authors' answer-only one: the first paragraphs of the prompt file as the instruction,
    its three solved questions as demonstrations without their reasoning, then ``Q: ... A:``; the answer is
    generated. Without the prompt files there is neither instruction nor demonstration. The canary strings of
    both kinds of files stay out of prompts. Never trained on.

    The chain-of-thought form is a benchmark of its own, ``bbh_cot``: the same instruction, the three
    demonstrations with their reasoning, as published, then ``Q: ... A: Let's think step by step.``; right is
    an answer that states what is right after its last "the answer is" (``data.stated``).
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder with TASK.json, or the one above (``bbh`` below it)."}
    )
    prompt_dir: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "the folder with TASK.txt; empty: ``cot-prompts`` in the same folder or the one above."
        },
    )
    chain_of_thought: bool = dataclasses.field(
        default=False, metadata={"help": "ask for the reasoning, and show it."}
    )

    @property
    def name(self) -> str:  # type: ignore[override]
        """``bbh``, or ``bbh_cot`` for the chain-of-thought form: one mixture may evaluate both."""
        return "bbh_cot" if self.chain_of_thought else "bbh"

    def expected(self) -> tuple[str, ...]:
        """As ``Source.expected``."""
        return TASKS

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; no file is opened."""
        found, _ = self._find()
        prompts = self._prompts()
        return {
            task: functools.partial(self._info, task, path, with_gz(prompts, f"{task}.txt"))
            for task, path in found.items()
        }

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        found, twins = self._find()
        prompts = self._prompts()
        for task in found:
            twins |= packed(prompts, f"{task}.txt")
        return twins

    def _folder(self) -> Path:
        root = directory(self.data_dir, "BigBenchHard.data_dir")
        return root / "bbh" if (root / "bbh").is_dir() else root

    def _prompts(self) -> Path:
        """The folder of the prompt files."""
        if self.prompt_dir:
            return directory(self.prompt_dir, "BigBenchHard.prompt_dir")
        folder = self._folder()
        beside = (folder / _PROMPTS, folder.parent / _PROMPTS)
        return next((place for place in beside if place.is_dir()), folder)

    def _find(self) -> tuple[dict[str, Path], Copies]:
        """Task -> its file; and copies."""
        folder = self._folder()
        found, twins = copies.once(
            (
                (path.name.removesuffix(".gz").removesuffix(".json"), path)
                for path in entries(folder)
                if path.name.endswith((".json", ".json.gz")) and path.is_file()
            ),
            "task",
        )
        if not found:
            raise UserError(f"{folder}: no file TASK.json (or .json.gz); bind the folder bbh of the clone")
        return found, twins

    def _info(self, task: str, path: Path, prompt: Path | None) -> TaskInfo:
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category="BBH chain of thought" if self.chain_of_thought else "BBH",
            role="evaluation",
            splits=("test",),
            metric="stated_answer" if self.chain_of_thought else "exact_match",
            files=(path,) if prompt is None else (path, prompt),
        )

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"chain_of_thought": True} if self.chain_of_thought else {}

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``."""
        reasoned = self.chain_of_thought
        instruction, shown = "", tuple[Demonstration, ...]()
        if len(task.files) > 1:
            instruction, shown = read_prompt(task.files[1], reasoned=reasoned)
        for record in listed(task.files[0], "examples", wanted="a file of BBH"):
            text, answer = record.text("input"), record.text("target")
            identity = str(record.number - 1)
            if reason := _unusable(text, answer):
                yield identity, reason
                continue
            item = Item(
                source=f"Q: {text}\nA: {LEAD}" if reasoned else f"Q: {text}\nA:",
                references=(answer,),
                instruction=instruction,
                demonstrations=shown,
                completion=reasoned,
            )
            yield identity, item


def _unusable(text: str, answer: str) -> str:
    if not text or not answer:
        return "empty question or answer"
    return CANARY if has_canary(text, answer) else ""


def read_prompt(path: Path, *, reasoned: bool = False) -> tuple[str, tuple[Demonstration, ...]]:
    """The instruction of a prompt file, and its solved questions.

    The file: a line with the canary, one of dashes, the instruction, then ``Q:`` and ``A:`` paragraphs; each
    answer ends in ``the answer is X.``.

    Args:
      path: the file.
      reasoned: keep the reasoning: source and target of a demonstration are then the published text up to
        "the answer is" and the rest of it, with the space between them taken out; else the target is ``X``.

    Raises:
      UserError: a question has no answer of that form; names the file and the question.
    """
    lines = read_text(path).replace("\r\n", "\n").split("\n")
    rule = next((number for number, line in enumerate(lines[:10]) if re.fullmatch(r"-{3,}\s*", line)), -1)
    kept = "\n".join(line for line in lines[rule + 1 :] if not has_canary(line))
    head, *blocks = re.split(r"(?:\A|\n)Q: ?", kept)
    shown = []
    for number, block in enumerate(blocks, start=1):
        question, separator, answer = block.partition("\nA:")
        answer = answer.strip()
        stated = re.search(r"(?s:.*)answer is ([^\n]+?)\.?$", answer) if separator else None
        if stated is None or not question.strip():
            raise UserError(
                f"{path}: question {number} has no answer that ends in 'the answer is X.'; fix the prompt"
            )
        asked, at = f"Q: {question.strip()}\nA:", stated.start(1)
        if reasoned:
            shown.append(Demonstration(f"{asked} {answer[:at].rstrip()}", answer[at:]))
        else:
            shown.append(Demonstration(asked, stated[1].strip()))
    return head.strip(), tuple(shown)
