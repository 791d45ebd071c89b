"""Evaluates a model on prepared tasks, in a command or inside a training process on its own mesh."""

from __future__ import annotations

import dataclasses
import functools
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from iml_jax.config.paths import OptionalPath
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.manifest import Manifest, TaskEntry
from iml_jax.errors import UserError
from iml_jax.evaluation import (
    confidence,
    constant,
    facts,
    generation,
    levels,
    metrics,
    normalising,
    own_metrics,
    questions,
    scoring,
)
from iml_jax.evaluation.generation import GenerateConfig
from iml_jax.evaluation.kept import KeptAnswers, TaskAnswers, key_of
from iml_jax.evaluation.progress import Meter
from iml_jax.evaluation.questions import Question
from iml_jax.evaluation.results import Prediction, Results, TaskScore, TemplateScore
from iml_jax.models.fingerprint import fingerprint
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel import fingerprints

# Questions in memory at once, and at most what a killed evaluation loses. Batches fill across its tasks.
CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated; gin name ``Evaluate``.

    Attributes:
      prepared_dir: the prepared directory; empty means the one that the run was trained on.
      tasks: patterns of task names (``*`` and ``?``); none means every evaluated task.
      split: ``validation`` or ``test``; empty means each task's own choice in the manifest.
      examples_per_task: at most so many, drawn once and for all; 0 means all.
      batch_size: candidates scored at once, rounded up to the mesh's batch axes.
      prefix: what stands before every prompt, options' and written answers' alike: ``none`` (as OPT-IML
        trains) or ``eos`` (a ``</s>``, as OPT was pre-trained); ``Generate.prefix`` is for `iml generate`.
      normalisation: how options are compared: ``none`` (the paper's), ``per_token``, ``per_byte`` or
        ``unconditional`` (less the option's log-likelihood after ``neutral_prompt``).
      neutral_prompt: for ``unconditional``.
      generate: how answers are written.
    """

    prepared_dir: OptionalPath = ""
    tasks: tuple[str, ...] = ()
    split: str = ""
    examples_per_task: int = 0
    batch_size: int = 32
    prefix: str = "none"
    normalisation: str = "none"
    neutral_prompt: str = normalising.NEUTRAL_PROMPT
    generate: GenerateConfig = dataclasses.field(default_factory=GenerateConfig)


@dataclasses.dataclass(frozen=True, eq=False)
class _Model:
    config: OptConfig
    params: Any
    mesh: jax.sharding.Mesh
    tokenizer: tokenizers.Tokenizer


def evaluate(
    model_config: OptConfig,
    params: Any,
    mesh: jax.sharding.Mesh,
    prepared_dir: str | Path,
    config: EvaluateConfig,
    *,
    metadata: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
    keep: Path | None = None,
) -> Results:
    """Answers the held-out examples of every chosen task and scores the answers.

    An example with options is answered by the likeliest of them, any other by greedy generation
    (OPT-IML paper, section 4.1). Parameters are used where they are, without a copy; every process must call.
    Every process reads all questions and each device answers its rows of every batch, so that the scores
    are the same for any number of hosts.

    Args:
      model_config, params, mesh: the model, its parameters on the mesh.
      prepared_dir: what ``iml prepare`` wrote.
      config: what to evaluate (its own ``prepared_dir`` is not looked at here).
      metadata: added to the results' (checkpoint, step, ...).
      say: takes progress lines; None shows a bar on a terminal and plain lines on stderr elsewhere.
      keep: a folder for each task's answers while others are still to come (``kept.folder_of``); an
        evaluation of the same weights with the same settings goes on from there. Whoever saves the results
        removes it (``KeptAnswers.clear``).

    Raises:
      UserError: the prepared data does not fit the model or the config.
      Fault: the model's outputs are not finite, or the disk refuses.
    """
    started = time.perf_counter()
    prepared = Path(prepared_dir)
    manifest = manifests.load(prepared)
    check_model(model_config, manifest, prepared)
    entries, splits = check(config, manifest)
    manifests.check_files(manifest, prepared, splits)
    tokenizer = tokenizers.load(prepared / manifest.vocabulary.directory)
    model = _Model(model_config, params, mesh, tokenizer)
    weights = fingerprint(params)
    keys = {one.name: _key(one, splits[one.name], weights, model_config, config) for one in entries}
    with Meter(say) as meter:
        kept = KeptAnswers(keep, meter.note)
        answers = kept.read(keys)
        for names in _chunks(entries, splits, config.examples_per_task):
            if all(entry.name in answers for entry in names):
                continue
            # A chunk is answered whole, so that what is computed together, and so its rounding, is the same.
            read = functools.partial(questions.read, prepared)
            group = [(one, read(one, splits[one.name], config.examples_per_task)) for one in names]
            answers |= _answer(model, group, config, meter)
            for entry, _ in group:
                kept.write(entry.name, keys[entry.name], answers[entry.name])
    scores: list[TaskScore] = []
    predictions: list[Prediction] = []
    skipped = []
    for entry in entries:
        found = answers[entry.name]
        if found.predictions:
            scores.append(_task_score(entry, splits[entry.name], found))
            predictions.extend(found.predictions)
        else:
            skipped.append({"task": entry.name, "dropped": dict(found.dropped)})
    if not scores:
        raise UserError(f"{prepared}: none of the chosen tasks has an example that can be evaluated")
    known = {
        **facts.of_evaluation(
            model_config, mesh, manifest, _generate(config), config.prefix, config.normalisation
        ),
        "split": config.split,
        "tasks": list(config.tasks),
        "examples_per_task": config.examples_per_task,
        "batch_size": {"options": config.batch_size, "generation": config.generate.batch_size},
        "weights": weights,
        "skipped_tasks": skipped,
        "seconds": round(time.perf_counter() - started, 3),
        **(metadata or {}),
    }
    return Results(known, tuple(scores), tuple(predictions))


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


def check_reference(config: EvaluateConfig, manifest: Manifest, reference: Results, where: str) -> None:
    """Checks, before a question is answered, that another evaluation can stand beside this one.

    Args:
      where: the reference, for the message.

    Raises:
      UserError: it was made on other prepared data, with other settings or over other examples.
    """
    entries, splits = check(config, manifest)
    known = {
        **facts.of_measurement(manifest, config.generate, config.prefix, config.normalisation),
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


def _key(entry: TaskEntry, split: str, weights: str, model: OptConfig, config: EvaluateConfig) -> str:
    """Stands for everything that decides a task's answers; neither the mesh nor the batch sizes do.

    This package's code does: answers of an older version may have been computed or scored otherwise.
    """
    settings = dataclasses.asdict(config)
    for name in ("prepared_dir", "tasks", "split", "batch_size"):
        del settings[name]
    del settings["generate"]["batch_size"]
    asked = dataclasses.asdict(entry.splits[split])
    program = dict(fingerprints.code("data", "evaluation", "models"))
    decides = [program, weights, dataclasses.asdict(model), entry.name, entry.metric, split, asked, settings]
    return key_of(decides)


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
        raise UserError("Evaluate.neutral_prompt is empty; options need something to go on from")
    entries = questions.select_tasks(manifest, config.tasks)
    return entries, {entry.name: questions.split_of(entry, config.split) for entry in entries}


def _chunks(entries: Sequence[TaskEntry], splits: Mapping[str, str], count: int) -> Iterator[list[TaskEntry]]:
    """Whole tasks together, until they hold ``CHUNK`` questions: batches fill across tasks."""
    group: list[TaskEntry] = []
    held = 0
    for entry in entries:
        group.append(entry)
        examples = entry.splits[splits[entry.name]].examples
        held += min(count, examples) if count else examples
        if held >= CHUNK:
            yield group
            group, held = [], 0
    if group:
        yield group


def _answer(
    model: _Model, group: Sequence[tuple[TaskEntry, list[Question]]], config: EvaluateConfig, meter: Meter
) -> dict[str, TaskAnswers]:
    outcomes = {entry.name: TaskAnswers() for entry, _ in group}
    to_score: list[tuple[str, Question]] = []
    to_write: list[tuple[str, Question]] = []
    for entry, asked in group:
        for question in asked:
            reason = _unanswerable(question, model.config)
            if reason:
                outcomes[entry.name].dropped[reason] += 1
            else:
                (to_score if question.options else to_write).append((entry.metric, question))
    if to_write:  # before the options are scored, which may take hours
        generation.check(model.config, _generate(config))
    _score(model, to_score, config, outcomes, meter)
    _write(model, to_write, config, outcomes, meter)
    for entry, asked in group:
        order = {(one.example_id, one.template): number for number, one in enumerate(asked)}
        outcomes[entry.name].predictions.sort(key=lambda one: order[one.example_id, one.template])
    return outcomes


def _generate(config: EvaluateConfig) -> GenerateConfig:
    """One prefix for both kinds of questions."""
    return dataclasses.replace(config.generate, prefix=config.prefix)


def _unanswerable(question: Question, config: OptConfig) -> str:
    """Why a question cannot be put to the model; empty if it can."""
    if not question.references:
        return "no_reference"
    if question.options:
        candidates = scoring.Candidates(question.prompt_ids, question.option_ids)
        return "" if scoring.fits(candidates, config) else "option_too_long"
    return "" if len(question.prompt_ids) else "empty_prompt"


def _score(
    model: _Model,
    asked: Sequence[tuple[str, Question]],
    config: EvaluateConfig,
    outcomes: Mapping[str, TaskAnswers],
    meter: Meter,
) -> None:
    candidates = [
        scoring.Candidates(one.prompt_ids.tolist(), [o.tolist() for o in one.option_ids]) for _, one in asked
    ]
    meter.begin("scoring options", sum(len(one.options) for one in candidates))
    place = (model.config, model.params, model.mesh)
    found = scoring.score(*place, candidates, config.batch_size, prefix=config.prefix, advance=meter.advance)
    apart: list[tuple[float, ...]] = [()] * len(asked)
    if config.normalisation == "unconditional":
        neutral = model.tokenizer.encode(config.neutral_prompt)
        apart = normalising.after_neutral_prompt(
            *place, candidates, config.batch_size, neutral=neutral, prefix=config.prefix
        )
    for (metric, question), likelihoods, without in zip(asked, found, apart, strict=True):
        compared = normalising.normalise(
            likelihoods, config.normalisation, texts=question.options, unconditional=without
        )
        wanted = {metrics.normalize(reference) for reference in question.references}
        correct = {i for i, option in enumerate(question.options) if metrics.normalize(option) in wanted}
        best, right = scoring.choose(compared, correct)
        chosen = question.options[best]
        points = metrics.rouge_l(chosen, question.references) if metric == "rouge_l" else 100.0 * right
        one = _prediction(question, chosen, points, likelihoods.truncated_tokens, likelihoods.values)
        if config.normalisation != "none":
            one = dataclasses.replace(one, normalised=compared)
        outcomes[question.task].predictions.append(one)


def _write(
    model: _Model,
    asked: Sequence[tuple[str, Question]],
    config: EvaluateConfig,
    outcomes: Mapping[str, TaskAnswers],
    meter: Meter,
) -> None:
    if not asked:
        return
    prompts = [question.prompt_ids.tolist() for _, question in asked]
    meter.begin("writing answers", len(prompts))
    # A drawn answer belongs to its question, whatever else is asked, before or after a kill.
    numbers = [zlib.crc32(f"{q.task}\n{q.example_id}\n{q.template}".encode()) >> 1 for _, q in asked]
    answers = generation.write_answers(
        model.config, model.params, model.mesh, prompts, _generate(config),
        decode=model.tokenizer.decode, numbers=numbers, advance=meter.advance,
    )  # fmt: skip
    for (metric, question), answer in zip(asked, answers, strict=True):
        text = (answer.text or "").strip()
        points = metrics.score(metric, text, question.references)
        outcome = outcomes[question.task]
        outcome.unfinished += not answer.finished
        outcome.predictions.append(_prediction(question, text, points, answer.truncated_tokens, ()))


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
        truncated_tokens=truncated,
    )


def _task_score(entry: TaskEntry, split: str, outcome: TaskAnswers) -> TaskScore:
    by_template: dict[str, list[tuple[str, float]]] = {}
    for one in outcome.predictions:
        by_template.setdefault(one.template, []).append((one.example_id, one.score))
    templates = {}
    for name, answers in by_template.items():
        points = metrics.per_question(entry.metric, answers)
        templates[name] = TemplateScore(sum(points) / len(points), len(points))
    asked = [constant.Question(one.references, one.options, one.example_id) for one in outcome.predictions]
    best = constant.best_constant(entry.metric, asked)
    drawn = confidence.resample(outcome.predictions, {entry.name: entry.metric})
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
        constant_score=best.score,
        constant_answer=best.answer,
        examples=len(outcome.predictions),
        truncated=sum(one.truncated_tokens > 0 for one in outcome.predictions),
        unfinished=outcome.unfinished,
        dropped=dict(outcome.dropped),
        others=own_metrics.compute(entry.benchmark, entry.task, outcome.predictions),
        interval=drawn.interval({entry.name: 1.0}),
    )
