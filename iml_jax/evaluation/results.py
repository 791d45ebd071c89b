"""Results of an evaluation: predictions and task scores, and the files that hold them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from iml_jax.data.positions import Positions
from iml_jax.data.terms import LEVELS
from iml_jax.evaluation.intervals import DIFFERENCES, Spread
from iml_jax.foundation.errors import UserError
from iml_jax.storage import sealed
from iml_jax.storage.decoding import decode
from iml_jax.storage.reading import LINE_LIMIT, decode_utf8, open_binary, parse_json, read_json
from iml_jax.storage.writing import write_atomically

FORMAT = 1
PREDICTIONS_CHECKSUM = "predictions_sha256"  # of the file of predictions, in the file of scores
_ROUNDING = 1e-6
AGAIN = "run `iml evaluate` again"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One answered prompt.

    Attributes:
      task: the manifest's task name; example_id, template: as prepared.
      prompt: the prompt's text.
      prediction: the option chosen or the text written.
      references: the correct answers.
      options: the candidates; empty where the answer was written.
      log_likelihoods: one per candidate, nats, summed over its tokens and ``</s>``.
      score: points 0..100 under the task's metric.
      truncated_tokens: prompt tokens removed on the left to fit the model.
      normalised: the values by which candidates were compared, where these are not ``log_likelihoods``.
    """

    task: str
    example_id: str
    template: str
    prompt: str
    prediction: str
    references: tuple[str, ...]
    options: tuple[str, ...]
    log_likelihoods: tuple[float, ...]
    score: float
    truncated_tokens: int
    normalised: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class TemplateScore:
    """Mean points of the examples under one prompt template."""

    score: float
    examples: int


@dataclasses.dataclass(frozen=True)
class TaskScore:
    """One task's outcome; every score is in points 0..100.

    Attributes:
      score: unweighted mean over its templates.
      constant_score, constant_answer: what the best single answer to every example would reach, each template
        counting the same.
      examples: answered; dropped: not answered, by reason.
      truncated: answered after a truncated prompt; unfinished: ended at ``max_new_tokens``.
      others: points under the benchmark's own metrics (``benchmark_metrics``); they enter no average.
      interval: 95% interval of ``score``; None in files of before it.
      estimator: of the interval (``intervals``); empty in files of before it, whose intervals are percentile
        bootstraps.
      gain: of the examples' points minus those of the constant answer (``confidence.gain``), for the
        intervals of that difference; None in files of before it.
      chance: points 0..100 of choosing an option at random; None where an answer is written.
      remark: one of ``cautions.REMARKS`` where no template scores more than an answer without reading; else
        empty.
      positions: where the right options stand, if rows differ in their options (``data.positions``).
    """

    name: str
    benchmark: str
    task: str
    category: str
    level: str
    metric: str
    split: str
    score: float
    templates: dict[str, TemplateScore]
    constant_score: float
    constant_answer: str
    examples: int
    truncated: int
    unfinished: int
    dropped: dict[str, int]
    others: dict[str, float] = dataclasses.field(default_factory=dict)
    interval: tuple[float, float] | None = None
    estimator: str = ""
    gain: Spread | None = None
    chance: float | None = None
    remark: str = ""
    positions: Positions | None = None


@dataclasses.dataclass(frozen=True)
class Results:
    """One evaluation.

    Attributes:
      metadata: JSON-able; what was evaluated and how (checkpoint, step, configs, fingerprints, versions).
      tasks: in the manifest's order.
      predictions: in the order of tasks and examples; empty when read back without them.
      spreads: task name -> the spread of its examples' points (``confidence.spreads``), known of an
        evaluation that was just made, so that tables and pages need not compute it again; not saved.
    """

    metadata: dict[str, Any]
    tasks: tuple[TaskScore, ...]
    predictions: tuple[Prediction, ...] = ()
    spreads: Mapping[str, Spread] = dataclasses.field(default_factory=dict, compare=False, repr=False)


def save(results: Results, path: str | Path) -> Path:
    """Writes ``STEP.json`` and, before it, ``STEP.predictions.jsonl`` beside it; each atomically.

    Returns:
      ``path``.

    Raises:
      Fault: a file cannot be written.
    """
    path = Path(path)
    lines = (json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in results.predictions)
    text = "".join(line + "\n" for line in lines)
    write_atomically(predictions_path(path), text)
    record = {
        "format": FORMAT,
        "metadata": results.metadata,
        "tasks": [dataclasses.asdict(task) for task in results.tasks],
        PREDICTIONS_CHECKSUM: hashlib.sha256(text.encode()).hexdigest(),
    }
    sealed.write_sealed(path, record)
    return path


def predictions_path(path: Path) -> Path:
    """Where the predictions of ``STEP.json`` lie."""
    return path.with_name(path.stem + ".predictions.jsonl")


def load(path: str | Path, *, predictions: bool = False) -> Results:
    """Reads what ``save`` wrote.

    Args:
      path: the ``STEP.json``.
      predictions: also read the predictions beside it.

    Raises:
      UserError: a file is missing or is no evaluation; names it and the place.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file; `iml evaluate` writes RUN/evaluation/STEP.json")
    record = sealed.unseal(read_json(path), path, AGAIN)
    if record.get("format") != FORMAT:
        raise UserError(
            f"{path}: not an evaluation of format {FORMAT}; `iml evaluate` writes RUN/evaluation/STEP.json"
        )
    try:
        tasks = decode(tuple[TaskScore, ...], record.get("tasks"), "tasks")
        metadata = decode(dict[str, Any], record.get("metadata"), "metadata")
        _check(tasks)
    except ValueError as error:
        raise UserError(f"{path}: damaged evaluation ({error}); {AGAIN}") from None
    checksum = record.get(PREDICTIONS_CHECKSUM)
    found = _load_predictions(predictions_path(path), checksum) if predictions else ()
    return Results(metadata=metadata, tasks=tasks, predictions=found)


def _check(tasks: Sequence[TaskScore]) -> None:
    """ValueError where an evaluation cannot have had these scores."""
    if not tasks:
        raise ValueError("tasks is empty")
    if len({task.name for task in tasks}) != len(tasks):
        raise ValueError("a task is listed twice")
    for task in tasks:
        if task.level not in LEVELS:
            raise ValueError(f"{task.name}: level {task.level!r:.60} is none of {LEVELS}")
        if not task.templates:
            raise ValueError(f"{task.name}: templates is empty")
        points = [task.score, task.constant_score, *(one.score for one in task.templates.values())]
        if not all(-_ROUNDING <= value <= 100 + _ROUNDING for value in points):
            raise ValueError(f"{task.name}: a score outside 0..100")
        _check_details(task)
        counts = [task.examples, task.truncated, task.unfinished, *task.dropped.values()]
        if min(*counts, *(one.examples for one in task.templates.values())) < 0:
            raise ValueError(f"{task.name}: a negative count")


def _check_details(task: TaskScore) -> None:
    """ValueError where the values behind intervals and warnings are impossible."""
    gain, found = task.gain, task.positions
    most = DIFFERENCES[1] + _ROUNDING
    if gain and not (
        gain.examples >= 1 - _ROUNDING
        and gain.limits == DIFFERENCES
        and max(map(abs, (gain.mean, *gain.added))) <= most
        and 0 <= gain.square <= most**2
    ):
        raise ValueError(f"{task.name}: impossible gain")
    if found:
        inside = 1 <= found.best <= len(found.right) and all(0 <= one <= found.rows for one in found.right)
        if not (inside and found.rows >= 1 and 0 <= found.p_value <= 1 and 0 <= found.score <= 100):
            raise ValueError(f"{task.name}: impossible positions")


def predictions_of_lines(path: Path, lines: Iterable[str], first: int = 1) -> tuple[Prediction, ...]:
    """Predictions from their JSON lines.

    Args:
      path: the file, for messages.
      lines: one prediction each.
      first: the number in the file of the first of them.

    Raises:
      UserError: a line is no prediction; names it.
    """
    found: list[Prediction] = []
    for number, line in enumerate(lines, start=first):
        try:
            found.append(_prediction(parse_json(line, path, number)))
        except ValueError as error:
            raise UserError(
                f"{path}:{number}: not a prediction ({error}); run `iml evaluate` again"
            ) from None
    return tuple(found)


_KINDS = {"score": float, "truncated_tokens": int} | dict.fromkeys(
    ("task", "example_id", "template", "prompt", "prediction"), str
)
_KINDS_OF_ITEMS = {"references": str, "options": str, "log_likelihoods": float, "normalised": float}


def _prediction(record: Any) -> Prediction:
    """``decode`` of a record, in a fifth of the time where all fields have the types that ``save`` writes."""
    plain = (
        isinstance(record, dict)
        and record.keys() == _KINDS.keys() | _KINDS_OF_ITEMS.keys()
        and all(type(record[name]) is kind for name, kind in _KINDS.items())
        and all(type(record[name]) is list for name in _KINDS_OF_ITEMS)
        and all(type(item) is kind for name, kind in _KINDS_OF_ITEMS.items() for item in record[name])
    )
    if plain:
        return Prediction(**{**record, **{name: tuple(record[name]) for name in _KINDS_OF_ITEMS}})
    return cast(Prediction, decode(Prediction, record, "prediction"))


def _load_predictions(path: Path, checksum: object) -> tuple[Prediction, ...]:
    """The predictions of a file, which must have the SHA-256 that its scores say, if they say one."""
    digest = hashlib.sha256()

    def lines() -> Iterator[str]:
        with open_binary(path) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LINE_LIMIT + 1), b""), start=1):
                if len(line) > LINE_LIMIT:
                    raise UserError(f"{path}:{number}: line longer than {LINE_LIMIT} bytes; {AGAIN}")
                digest.update(line)
                yield decode_utf8(line, path, number)

    if not path.exists():
        raise UserError(f"{path}: no such file; `iml evaluate` writes it beside the scores")
    found = predictions_of_lines(path, lines())
    if checksum is not None and checksum != digest.hexdigest():
        scores = path.name.removesuffix(".predictions.jsonl") + ".json"
        raise UserError(
            f"{path}: its checksum is not the one in {scores}, so that one of the two is damaged; {AGAIN}"
        )
    return found
