"""Chain-of-thought tasks: a question, its rationale and its answer (OPT-IML section 2.4)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.categories import category_of
from iml_jax.bench.sources.base import Item, NothingFoundError, Outcome, TaskInfo, TaskSource
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.reasoning import formats, sets
from iml_jax.bench.sources.reasoning.formats import Part
from iml_jax.bench.sources.reasoning.questions import Question
from iml_jax.bench.sources.reasoning.sets import DiscoveredFiles
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError

INSTRUCTION = "Answer the following question by reasoning step by step."


@dataclasses.dataclass(frozen=True)
class Reasoning(TaskSource):
    """The 14 reasoning sets, each in its public raw form or as FLAN v2's TSV file, plain or ``.gz``.

    TSV files ``NAME_train.tsv`` (also ``_validation`` or ``_dev``, and ``_test``) lie in the folder or in
    ``cot_data`` below it. Raw files lie anywhere below it as their repositories have them;
    ``docs/reasoning_and_corpora.md`` names them all. The target is ``RATIONALE The answer is ANSWER.``; a
    question with several rationales is several training examples, and one example with several references
    elsewhere. Sets with nothing to train on (zero-shot chain of thought's, ASDiv) are evaluated only.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder that holds the sets."})
    held_out_rows: int = dataclasses.field(
        default=0,
        metadata={
            "help": "number of first rows of every training file that become the test split (of tasks "
            "without one)."
        },
    )
    evaluation_tasks: tuple[str, ...] = dataclasses.field(
        default=(), metadata={"help": "names of tasks that are evaluated and not trained on."}
    )
    form: str = dataclasses.field(
        default="",
        metadata={
            "help": '"tsv" or "raw" to read the files of that form only; empty reads both, but no '
            "task twice: a task in both is read from its own files, or from the TSV if only "
            "that has training rows.",
            "choices": ("", *formats.FORMS),
        },
    )
    commonsenseqa_dir: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={"help": "where CommonsenseQA's questions are (for CoS-E and ECQA); empty: below data_dir."},
    )
    proofwriter: str = dataclasses.field(
        default="OWA/depth-5",
        metadata={
            "help": "which data set of ProofWriter is read where there are several, by the end of its path."
        },
    )

    name = "reasoning"

    def __post_init__(self) -> None:
        if self.held_out_rows < 0:
            raise UserError(f"Reasoning.held_out_rows = {self.held_out_rows}: must be >= 0")
        if self.form not in ("", *formats.FORMS):
            raise UserError(f"Reasoning.form = {self.form}: must be tsv, raw or empty")

    @staticmethod
    def known() -> tuple[str, ...]:
        """The names of OPT-IML Bench's 14 reasoning sets (OPT-IML appendix A.1)."""
        return sets.KNOWN

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {
            "held_out_rows": self.held_out_rows,
            "evaluation_tasks": sorted(self.evaluation_tasks),
            "form": self.form,
            "proofwriter": self.proofwriter,
        }

    def unread(self) -> dict[Path, str]:
        """The files below the folder that no task is made from, sorted, with the reason.

        Raises:
          UserError: as ``tasks``.
        """
        found = self._find()
        unread = dict(found.unread)
        for task, parts in found.parts.items():
            sets.chosen(task, parts, self.proofwriter, unread)
        return {path: unread[path] for path in sorted(unread)}

    def _find(self) -> DiscoveredFiles:
        folder = directory(self.data_dir, "Reasoning.data_dir")
        questions = None
        if self.commonsenseqa_dir:
            questions = directory(self.commonsenseqa_dir, "Reasoning.commonsenseqa_dir")
        return sets.find(folder, kind=self.form, questions_root=questions)

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; no file is opened."""
        found = self._find().parts
        if not found:
            raise NothingFoundError(
                f"{self.data_dir}: no file NAME_train.tsv (or .tsv.gz) and no raw file of a reasoning set; "
                "bind the folder that has them"
            )
        if unknown := sorted(set(self.evaluation_tasks) - found.keys()):
            known = ", ".join(sorted(found))
            raise UserError(
                f"Reasoning.evaluation_tasks: {self.data_dir} has no task {unknown[0]}; it has {known}"
            )
        return {task: functools.partial(self._info, task, parts) for task, parts in found.items()}

    def _parts(self, task: TaskInfo) -> dict[str, list[Part]]:
        parts = self._find().parts
        if task.task not in parts:
            raise UserError(f"{self.data_dir}: the files of {task.task} are gone; put them back")
        return sets.chosen(task.task, parts[task.task], self.proofwriter, {})

    def _info(self, task: str, candidates: Sequence[Part]) -> TaskInfo:
        parts = sets.chosen(task, candidates, self.proofwriter, {})
        role = "evaluation" if task in self.evaluation_tasks or sets.EVALUATED.fullmatch(task) else "train"
        if task in sets.EXCLUDED and role == "train":
            role = "excluded"
        files = (part for split in SPLITS for part in parts.get(split, ()))
        paths = dict.fromkeys(path for part in files for path in (part.path, *part.others))
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role=role,
            splits=self.offered(parts, role),
            metric="rouge_l",
            files=tuple(paths),
        )

    def offered(self, available: Collection[str], role: str) -> tuple[str, ...]:
        """As ``TaskSource.offered``, with ``held_out_rows`` as the test split."""
        held_out = role == "train" and self.held_out_rows and "train" in available
        return super().offered({*available, "test"} if held_out else available, role)

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        """As ``TaskSource.available_splits``."""
        return self._parts(task)

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a set that is only evaluated is never trained on, whatever is asked."""
        trained = trained and not sets.EVALUATED.fullmatch(task.task)
        return super().assigned(task, trained=trained, evaluated=evaluated)

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, of questions; one with several rationales is several training examples."""
        parts = self._parts(task)
        held_out = self.held_out_rows if task.role == "train" and "test" not in parts else 0
        seen: set[str] = set()
        if split in parts and not (split == "train" and held_out):
            questions = _questions(parts[split])
        elif task.role == "evaluation":  # only the training file was published, and it is not trained on
            questions = _questions(parts["train"])
        elif split == "test":
            questions = itertools.islice(_questions(parts["train"]), held_out)
        else:
            questions = _questions(parts["train"])
            seen = {question.text for question in itertools.islice(questions, held_out)}
        reasoned = not sets.EVALUATED.fullmatch(task.task)
        used: collections.Counter[str] = collections.Counter()
        for question in questions:
            used[question.identity] += 1
            repeat = used[question.identity]
            identity = question.identity if repeat == 1 else f"{question.identity}#{repeat}"
            if problem := question.problem(reasoned=reasoned):
                yield identity, problem
                continue
            if question.text in seen:
                yield identity, "same input as a held-out instance"
                continue
            targets = question.targets()
            solved = [(target,) for target in targets] if split == "train" else [targets]
            for index, references in enumerate(solved, start=1):
                own = identity if index == 1 else f"{identity}/{index}"
                yield own, Item(question.text, references, instruction=INSTRUCTION)


def _questions(parts: Sequence[Part]) -> Iterator[Question]:
    return itertools.chain.from_iterable(part.questions() for part in parts)
