"""Answers questions with the model: which are computed together, and the outcome of each.

The code that decides an answer is this module and what it imports (``DECIDING``): partial results are used
again only while that code is unchanged.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from iml_jax.data.record_format import LONGEST_ROW
from iml_jax.data.tokenizer import Tokenizer
from iml_jax.evaluation.engine import generation, normalising, scoring
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.questions import Question
from iml_jax.evaluation.metrics import answer_metrics
from iml_jax.evaluation.results import Prediction
from iml_jax.foundation.errors import UserError
from iml_jax.models.handle import Model
from iml_jax.models.sizes import OptConfig

if TYPE_CHECKING:
    from iml_jax.evaluation.engine.runner import EvaluateConfig

# Files and folders of this package; ``versions.code_hashes`` of these is part of the partial results' keys.
DECIDING = (
    *(
        f"data/{name}.py"
        for name in ("added_tokens", "answer_extraction", "record_format", "records", "shards", "tokenizer")
    ),
    "models",
    *(
        f"evaluation/engine/{name}.py"
        for name in (
            *("answering", "batching", "generation", "normalising"),
            *("questions", "sampling", "scoring", "shared_prefix"),
        )
    ),
    "evaluation/metrics/answer_metrics.py",
)


@dataclasses.dataclass(frozen=True, eq=False)
class TextModel:
    """The model that answers, and its tokenizer."""

    model: Model
    tokenizer: Tokenizer

    @property
    def config(self) -> OptConfig:
        """The model's."""
        return self.model.config


@dataclasses.dataclass(frozen=True)
class Piece:
    """Questions ``start`` to ``stop`` (exclusive) of those that are asked of one task."""

    task: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class Answered:
    """The outcome of one question.

    Attributes:
      prediction: the answer with its points; None for a question that the model was not asked.
      unfinished: the answer ended at ``max_new_tokens``.
      dropped: why the model was not asked; else empty.
    """

    prediction: Prediction | None
    unfinished: bool = False
    dropped: str = ""


class Progress(Protocol):
    """Counts the questions that are answered, and lets a preempted process end."""

    def advance(self, rows: int) -> None:
        """Counts ``rows`` more questions."""


def chunks(counts: Mapping[str, int], size: int) -> Iterator[list[Piece]]:
    """Splits the questions of all tasks, in their order, into chunks of ``size``; the last is smaller.

    A chunk is answered as a unit: batches may hold questions of several of its tasks, and which questions are
    computed together (and so the rounding) depends on the chunk only.

    Args:
      counts: task name -> number of its questions.
      size: questions per chunk.
    """
    chunk: list[Piece] = []
    capacity = size
    for name, count in counts.items():
        start = 0
        while start < count:
            stop = min(count, start + capacity)
            chunk.append(Piece(name, start, stop))
            capacity -= stop - start
            start = stop
            if not capacity:
                yield chunk
                chunk, capacity = [], size
    if chunk:
        yield chunk


def answer(
    model: TextModel,
    asked: Sequence[Question],
    task_metrics: Mapping[str, str],
    config: EvaluateConfig,
    progress: Progress,
) -> list[Answered]:
    """Answers a chunk: options are scored, other answers written.

    Args:
      model: the model.
      asked: the chunk's questions.
      task_metrics: task name -> its metric.
      config: the settings.
      progress: every question is counted once.

    Returns:
      The outcome of each question, in their order.

    Raises:
      UserError: the model has too few positions for an answer, or more positions than tokens of a prompt are
        stored.
      Fault: the model's outputs are not finite.
    """
    found: dict[int, Answered] = {}
    to_score: list[tuple[int, Question]] = []
    to_write: list[tuple[int, Question]] = []
    for number, question in enumerate(asked):
        if question.cut and model.config.max_positions > LONGEST_ROW:
            raise UserError(
                f"{question.task}: of the prompt of {question.example_id!r:.80} the last {LONGEST_ROW + 2} "
                f"tokens are stored, and the model has {model.config.max_positions} positions; "
                "leave the task out"
            )
        reason = _unanswerable(question, model.config)
        if reason:
            found[number] = Answered(None, dropped=reason)
        else:
            (to_score if question.options else to_write).append((number, question))
    if to_write:  # before the options are scored, which may take hours
        generation.check(model.config, settings(config))
    progress.advance(len(found))
    found |= _score(model, to_score, task_metrics, config, progress)
    found |= _write(model, to_write, task_metrics, config, progress)
    return [found[number] for number in range(len(asked))]


def settings(config: EvaluateConfig) -> GenerateConfig:
    """The settings of generation, with the prefix that both kinds of questions share."""
    return dataclasses.replace(config.generate, prefix=config.prefix)


def _unanswerable(question: Question, config: OptConfig) -> str:
    """Why the model cannot be asked a question; empty if it can."""
    if not question.references:
        return "no_reference"
    if question.options:
        candidates = scoring.Candidates(question.prompt_ids, question.option_ids)
        return "" if scoring.fits(candidates, config) else "option_too_long"
    return "" if len(question.prompt_ids) else "empty_prompt"


def _score(
    model: TextModel,
    asked: Sequence[tuple[int, Question]],
    task_metrics: Mapping[str, str],
    config: EvaluateConfig,
    progress: Progress,
) -> dict[int, Answered]:
    candidates = [
        scoring.Candidates(one.prompt_ids.tolist(), [o.tolist() for o in one.option_ids]) for _, one in asked
    ]
    found = scoring.score(
        model.model, candidates, config.batch_size, prefix=config.prefix,
        advance=_in_questions(progress, [len(one.options) for one in candidates]),
    )  # fmt: skip
    apart: list[tuple[float, ...]] = [()] * len(asked)
    if config.normalisation == "unconditional":
        neutral = model.tokenizer.encode(config.neutral_prompt)
        apart = normalising.after_neutral_prompt(
            model.model, candidates, config.batch_size, neutral=neutral, prefix=config.prefix,
            advance=lambda rows: progress.advance(0),
        )  # fmt: skip
    answers = {}
    for (number, question), likelihoods, without in zip(asked, found, apart, strict=True):
        compared = normalising.normalise(
            likelihoods, config.normalisation, texts=question.options, unconditional=without
        )
        wanted = {answer_metrics.normalize(reference) for reference in question.references}
        correct = {
            i for i, option in enumerate(question.options) if answer_metrics.normalize(option) in wanted
        }
        best, right = scoring.choose(compared, correct)
        chosen = question.options[best]
        metric = task_metrics[question.task]
        graded = metric in answer_metrics.GRADED
        points = answer_metrics.score(metric, chosen, question.references) if graded else 100.0 * right
        one = _prediction(question, chosen, points, likelihoods.truncated_tokens, likelihoods.values)
        if config.normalisation != "none":
            one = dataclasses.replace(one, normalised=compared)
        answers[number] = Answered(one)
    return answers


def _in_questions(progress: Progress, options: Sequence[int]) -> Callable[[int], None]:
    """Converts scoring's count of options into a count of questions, in proportion."""
    total, done, reported = sum(options), 0, 0

    def advance(rows: int) -> None:
        nonlocal done, reported
        done += rows
        now = len(options) * done // total
        progress.advance(now - reported)
        reported = now

    return advance


def _write(
    model: TextModel,
    asked: Sequence[tuple[int, Question]],
    task_metrics: Mapping[str, str],
    config: EvaluateConfig,
    progress: Progress,
) -> dict[int, Answered]:
    if not asked:
        return {}
    prompts = [question.prompt_ids.tolist() for _, question in asked]
    # The random numbers of an answer belong to its question, whatever else is asked, also after a resume.
    numbers = [zlib.crc32(f"{q.task}\n{q.example_id}\n{q.template}".encode()) >> 1 for _, q in asked]
    written = generation.write_answers(
        model.model, prompts, settings(config),
        decode=model.tokenizer.decode, numbers=numbers, advance=progress.advance,
    )  # fmt: skip
    answers = {}
    for (number, question), one in zip(asked, written, strict=True):
        text = (one.text or "").strip()
        points = answer_metrics.score(task_metrics[question.task], text, question.references)
        found = _prediction(question, text, points, one.truncated_tokens, ())
        answers[number] = Answered(found, unfinished=not one.finished)
    return answers


def _prediction(
    question: Question, text: str, points: float, truncated: int, log_likelihoods: tuple[float, ...]
) -> Prediction:
    return Prediction(
        task=question.task,
        example_id=question.example_id,
        template=question.template,
        prompt=question.prompt,
        prediction=text,
        references=question.references,
        options=question.options,
        log_likelihoods=log_likelihoods,
        score=points,
        truncated_tokens=truncated + question.cut,
    )
