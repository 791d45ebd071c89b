"""Evaluates a model on prepared tasks, in a command or inside a training process on its own mesh."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.config.paths import OptionalPath
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.manifest import Manifest, TaskEntry
from iml_jax.evaluation.engine import (
    answering,
    generation,
    normalising,
    provenance,
    questions,
    scoring,
    settings,
)
from iml_jax.evaluation.engine.answer_key import AnsweringModel, answer_key
from iml_jax.evaluation.engine.answering import Answered
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.progress import Meter
from iml_jax.evaluation.engine.questions import Question
from iml_jax.evaluation.engine.resume import PartialResults, TaskQuestions
from iml_jax.evaluation.intervals import Interval, Spread
from iml_jax.evaluation.metrics import (
    answer_metrics,
    benchmark_metrics,
    cautions,
    confidence,
    constant_baseline,
    levels,
)
from iml_jax.evaluation.results import Prediction, Results, TaskScore, TemplateScore
from iml_jax.foundation.errors import UserError
from iml_jax.models.handle import Model
from iml_jax.models.param_checksum import fingerprint
from iml_jax.models.sizes import OptConfig

# Questions per chunk (``answering.chunks``): the most that a killed evaluation loses.
CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated; gin name ``Evaluate``."""

    prepared_dir: OptionalPath = dataclasses.field(
        default="",
        metadata={"help": "the prepared directory; empty means the one that the run was trained on."},
    )
    tasks: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata={"help": "patterns of task names (``*`` and ``?``); none means every evaluated task."},
    )
    split: str = dataclasses.field(
        default="",
        metadata={"help": "``validation`` or ``test``; empty means each task's own choice in the manifest."},
    )
    examples_per_task: int = dataclasses.field(
        default=0, metadata={"help": "how many are sampled of each task, always the same ones; 0 means all."}
    )
    batch_size: int = dataclasses.field(
        default=32, metadata={"help": "rows per batch of scoring, rounded up to the mesh's batch axes."}
    )
    prefix: str = dataclasses.field(
        default="none",
        metadata={
            "help": "what precedes every prompt, scored or written: ``none`` (as OPT-IML trains) or "
            "``eos`` (a ``</s>``, as OPT was pre-trained); ``Generate.prefix`` is for `iml "
            "generate`."
        },
    )
    normalisation: str = dataclasses.field(
        default="none",
        metadata={
            "help": "how options are compared: ``none`` (the paper's), ``per_token``, ``per_byte`` or "
            "``unconditional`` (less the option's log-likelihood after ``neutral_prompt``)."
        },
    )
    neutral_prompt: str = dataclasses.field(
        default=normalising.NEUTRAL_PROMPT, metadata={"help": "for ``unconditional``."}
    )
    generate: GenerateConfig = dataclasses.field(
        default_factory=GenerateConfig, metadata={"help": "how answers are written."}
    )


@dataclasses.dataclass(frozen=True)
class _Tasks:
    """The evaluated tasks of a prepared directory, by name, with the split and the questions of each."""

    prepared: Path
    entries: Mapping[str, TaskEntry]
    splits: Mapping[str, str]
    asked: Mapping[str, TaskQuestions]

    def read(self, piece: answering.Piece, count: int) -> list[Question]:
        entry, split = self.entries[piece.task], self.splits[piece.task]
        return questions.read(self.prepared, entry, split, count, piece.start, piece.stop)


def evaluate(
    model: Model,
    prepared_dir: str | Path,
    config: EvaluateConfig,
    *,
    metadata: Mapping[str, Any] | None = None,
    log: Callable[[str], None] | None = None,
    keep: Path | None = None,
) -> Results:
    """Answers the held-out examples of every chosen task and scores the answers.

    An example with options is answered by the most likely of them, any other by generation
    (OPT-IML paper, section 4.1). Parameters are used where they are, without a copy; every process must call.
    Every process reads all questions and each device answers its rows of every batch, so that the scores
    are the same for any number of hosts.

    Args:
      model: the model.
      prepared_dir: what ``iml prepare`` wrote.
      config: what to evaluate (its own ``prepared_dir`` is not used).
      metadata: added to the results' (checkpoint, step, ...).
      log: receives progress lines; None shows a bar on a terminal and plain lines on stderr elsewhere.
      keep: the folder of the partial results (``resume.folder_of``), from which an evaluation of the same
        weights with the same settings resumes. Whoever saves the results removes it
        (``PartialResults.clear``).

    Raises:
      UserError: the prepared data does not fit the model or the config.
      Fault: the model's outputs are not finite, or the disk refuses.
    """
    started = time.perf_counter()
    prepared = Path(prepared_dir)
    manifest = manifests.load(prepared)
    check_model(model.config, manifest, prepared)
    entries, splits = check(config, manifest)
    manifests.check_files(manifest, prepared, splits)
    check_positions(model.config, manifest, prepared, config)
    vocabulary = manifest.vocabulary
    tokenizer = tokenizers.load(prepared / vocabulary.directory, vocabulary.fingerprint)
    weights = fingerprint(model.params)
    answers_by = AnsweringModel(weights, manifest.vocabulary.fingerprint, model.config)
    asked = {
        one.name: TaskQuestions(
            answer_key(answers_by, one, splits[one.name], config), _question_count(one, splits, config)
        )
        for one in entries
    }
    tasks = _Tasks(prepared, {entry.name: entry for entry in entries}, splits, asked)
    with Meter(log, prompts=sum(one.count for one in asked.values()), tasks=len(entries)) as meter:
        answers = _answers(
            answering.TextModel(model, tokenizer), tasks, config, PartialResults(keep, meter.note), meter
        )
        meter.doing("computing scores and intervals")
        scores, skipped, predictions, spreads = _scores(entries, splits, answers)
    if not scores:
        raise UserError(f"{prepared}: none of the chosen tasks has an example that can be evaluated")
    known = {
        **provenance.of_evaluation(
            model, manifest, answering.settings(config), config.prefix, config.normalisation
        ),
        settings.KEY: settings.settings_of(model.config, manifest, config),
        "split": config.split,
        "tasks": list(config.tasks),
        "examples_per_task": config.examples_per_task,
        "batch_size": {"options": config.batch_size, "generation": config.generate.batch_size},
        "weights": weights,
        "skipped_tasks": skipped,
        "seconds": round(time.perf_counter() - started, 3),
        **(metadata or {}),
    }
    return Results(known, tuple(scores), tuple(predictions), spreads)


def _answers(
    model: answering.TextModel, tasks: _Tasks, config: EvaluateConfig, partial: PartialResults, meter: Meter
) -> dict[str, list[Answered]]:
    """The outcome of every question, by task: from partial results, the others chunk by chunk."""
    task_metrics = {name: entry.metric for name, entry in tasks.entries.items()}
    chunks = list(answering.chunks({name: one.count for name, one in tasks.asked.items()}, CHUNK))
    answers, done = partial.read(tasks.asked, chunks)
    meter.resume(sum(one.stop - one.start for number in done for one in chunks[number]))
    last = {piece.task: number for number, chunk in enumerate(chunks) for piece in chunk}
    for number, pieces in enumerate(chunks):
        if number not in done:
            asked = [question for one in pieces for question in tasks.read(one, config.examples_per_task)]
            found = answering.answer(model, asked, task_metrics, config, meter)
            partial.write(number, pieces, tasks.asked, found)
            rest = iter(found)
            for one in pieces:
                answers[one.task][one.start : one.stop] = itertools.islice(rest, one.stop - one.start)
        meter.finished(sum(end <= number for end in last.values()))
    return {name: [one for one in found if one is not None] for name, found in answers.items()}


def _scores(
    entries: Sequence[TaskEntry], splits: Mapping[str, str], answers: Mapping[str, Sequence[Answered]]
) -> tuple[list[TaskScore], list[dict[str, Any]], list[Prediction], Mapping[str, Spread]]:
    """Scores, tasks without an answer, all predictions, and the spreads that intervals come from."""
    found = {
        entry.name: [one.prediction for one in answers[entry.name] if one.prediction is not None]
        for entry in entries
    }
    predictions = [one for entry in entries for one in found[entry.name]]
    spreads = confidence.spreads(predictions, {entry.name: entry.metric for entry in entries})
    scores, skipped = [], []
    for entry in entries:
        dropped = Counter(one.dropped for one in answers[entry.name] if one.prediction is None)
        if found[entry.name]:
            unfinished = sum(one.unfinished for one in answers[entry.name])
            interval = spreads[entry.name].interval()
            score = _task_score(entry, splits[entry.name], found[entry.name], interval)
            scores.append(dataclasses.replace(score, unfinished=unfinished, dropped=dict(dropped)))
        else:
            skipped.append({"task": entry.name, "dropped": dict(dropped)})
    return scores, skipped, predictions, spreads


def check_model(model: OptConfig, manifest: Manifest, prepared: Path) -> None:
    """Checks that the prepared token ids are the model's.

    Raises:
      UserError: the vocabularies have another number of tokens.
    """
    vocabulary = manifest.vocabulary
    if vocabulary.tokens != model.vocab_tokens:
        raise UserError(
            f"{prepared}: prepared with a vocabulary of {vocabulary.tokens} tokens, but the model has "
            f"{model.vocab_tokens}; name the prepared directory that the model was trained on"
        )


def check_vocabulary(checkpoint: Mapping[str, Any], manifest: Manifest, prepared: Path, where: str) -> None:
    """Checks that a checkpoint was trained with the vocabulary of the prepared data.

    Args:
      checkpoint: its metadata; ``vocabulary.fingerprint`` may be empty for weights from elsewhere.
      where: the checkpoint, for the message.

    Raises:
      UserError: it was another vocabulary.
    """
    known = (checkpoint.get("vocabulary") or {}).get("fingerprint", "")
    if known and known != manifest.vocabulary.fingerprint:
        raise UserError(
            f"{prepared}: prepared with vocabulary {manifest.vocabulary.fingerprint[:12]}, but {where} was "
            f"trained with {known[:12]}; name the one that it was trained on in Evaluate.prepared_dir"
        )


def check_positions(model: OptConfig, manifest: Manifest, prepared: Path, config: EvaluateConfig) -> None:
    """Checks that the model has positions for the answers that it writes, if it writes any.

    Raises:
      UserError: it has not, and a chosen task has no options; or as ``check``.
    """
    try:
        generation.check(model, answering.settings(config))
    except UserError:
        entries, splits = check(config, manifest)
        for entry in entries:
            wanted = min(1, _question_count(entry, splits, config))  # a task's first question is as all are
            first = questions.read(prepared, entry, splits[entry.name], config.examples_per_task, 0, wanted)
            if any(not question.options for question in first):
                raise


def check_reference(config: EvaluateConfig, manifest: Manifest, reference: Results, where: str) -> None:
    """Checks, before a question is answered, that another evaluation can stand beside this one.

    Args:
      where: the reference, for the message.

    Raises:
      UserError: it was made on other prepared data, with other settings or over other examples.
    """
    entries, splits = check(config, manifest)
    known = {
        **provenance.of_measurement(manifest, config.generate, config.prefix, config.normalisation),
        "examples_per_task": config.examples_per_task,
    }
    asked = {one.name: (splits[one.name], _question_count(one, splits, config)) for one in entries}
    try:
        levels.check_reference(known, asked, reference)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _question_count(entry: TaskEntry, splits: Mapping[str, str], config: EvaluateConfig) -> int:
    examples = entry.splits[splits[entry.name]].examples
    return min(config.examples_per_task, examples) if config.examples_per_task else examples


def check(config: EvaluateConfig, manifest: Manifest) -> tuple[tuple[TaskEntry, ...], dict[str, str]]:
    """The tasks that are evaluated and the split of each.

    Raises:
      UserError: a setting is out of range, a pattern matches nothing, or a task has no such split.
    """
    for name, least in (("batch_size", 1), ("examples_per_task", 0)):
        if getattr(config, name) < least:
            raise UserError(f"Evaluate.{name} is {getattr(config, name)}; it must be at least {least}")
    scoring.check_prefix(config.prefix, "Evaluate.prefix")
    normalising.check(config.normalisation, "Evaluate.normalisation")
    if config.normalisation == "unconditional" and not config.neutral_prompt.strip():
        raise UserError("Evaluate.neutral_prompt is empty; options need something to follow")
    entries = questions.select_tasks(manifest, config.tasks)
    return entries, {entry.name: questions.split_of(entry, config.split) for entry in entries}


def _template_scores(
    metric: str, predictions: Sequence[Prediction], points: Sequence[float]
) -> dict[str, TemplateScore]:
    """Each template's mean, in the order of their first prompts, of one figure for each prediction."""
    by_template: dict[str, list[tuple[str, float]]] = {}
    for one, each in zip(predictions, points, strict=True):
        by_template.setdefault(one.template, []).append((one.example_id, each))
    found = {}
    for name, answers in by_template.items():
        counted = answer_metrics.per_question(metric, answers)
        found[name] = TemplateScore(sum(counted) / len(counted), len(counted))
    return found


def _task_score(
    entry: TaskEntry,
    split: str,
    predictions: Sequence[Prediction],
    interval: Interval,
) -> TaskScore:
    templates = _template_scores(entry.metric, predictions, [one.score for one in predictions])
    asked = [
        constant_baseline.BaselineExample(one.references, one.options, one.example_id) for one in predictions
    ]
    best = constant_baseline.best_constant(entry.metric, asked)
    by_chance = cautions.chance(predictions, entry.metric)
    return TaskScore(
        name=entry.name,
        benchmark=entry.benchmark,
        task=entry.task,
        category=entry.category,
        level=entry.level,
        metric=entry.metric,
        split=split,
        score=levels.template_mean(templates),
        templates=templates,
        constant_score=levels.template_mean(_template_scores(entry.metric, predictions, best.points)),
        constant_answer=best.answer,
        examples=len(predictions),
        truncated=sum(one.truncated_tokens > 0 for one in predictions),
        unfinished=0,
        dropped={},
        others=benchmark_metrics.compute(entry.benchmark, entry.task, predictions),
        interval=interval.ends,
        estimator=interval.estimator,
        gain=confidence.gain(entry.metric, predictions, best.points),
        chance=by_chance,
        remark=cautions.remark(entry.metric, predictions, best.points, by_chance),
        positions=cautions.examine_positions(predictions),
    )
