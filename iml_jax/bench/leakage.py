"""Leakage audit of a prepared mixture: 13-gram overlap of every training with every evaluation task.

For each pair, the share of evaluation examples that have any 13-gram in common with the training task,
between instantiated sequences (source and target text), as OPT-IML section 2.3; pairs above 1% are for a
person to decide.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iml_jax.bench import boilerplate, cache_folders, known_tasks, leakage_decisions, ngrams, overlap
from iml_jax.bench.leakage_decisions import Decision
from iml_jax.bench.ngrams import Index
from iml_jax.bench.overlap import Hits, Side, Texts
from iml_jax.config.paths import OptionalPath, RequiredPath
from iml_jax.data import manifest as manifests
from iml_jax.foundation import extras
from iml_jax.foundation.errors import UserError
from iml_jax.storage import lease
from iml_jax.storage.writing import check_writable, write_atomically

REPORTS = ("leakage.json", "leakage.txt")
SAMPLES = 3
_TRIED = 1000  # overlapping examples of a pair in which different spans are looked for
Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class LeakageConfig:
    """What to audit."""

    prepared_dir: RequiredPath = dataclasses.field(
        metadata={"help": "the prepared directory; leakage.json and leakage.txt are written there."}
    )
    threshold: float = dataclasses.field(
        default=0.01,
        metadata={
            "help": "a pair is listed if more than this share of the evaluation task's examples overlap."
        },
    )
    drop: OptionalPath = dataclasses.field(
        default="",
        metadata={
            "help": "the decisions made so far (Mixture.leakage_decisions); listed pairs without one "
            "are undecided."
        },
    )
    ngrams: int = dataclasses.field(
        default=200_000_000,
        metadata={
            "help": "n-grams of the evaluation side held at once; more need more passes over the "
            "training side."
        },
    )

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise UserError(f"Leakage.threshold must be from 0 to below 1, not {self.threshold}")
        if self.ngrams < 1:
            raise UserError(f"Leakage.ngrams must be at least 1, not {self.ngrams}")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Words in common, with the ids of a training and an evaluation example that have them."""

    span: str
    train_example: str
    evaluation_example: str


@dataclasses.dataclass(frozen=True)
class Pair:
    """A pair over the threshold.

    Attributes:
      train, evaluation: the tasks, ``benchmark:task``.
      split: the split evaluated.
      overlapping: its examples that overlap, ``examples`` of them there are.
      content: those of ``overlapping`` that have an n-gram in common outside the boilerplate that the
        evaluation task's examples share (``boilerplate.mask``): instructions, templates, lists of options.
      train_examples: records of the train split.
      source: what is known of a common source: ``same task``, ``same dataset``, or empty.
      decision: a side, or ``undecided``; ``reason`` is the decision's.
      samples: at most ``SAMPLES``, of different words where there are.
    """

    train: str
    evaluation: str
    split: str
    overlapping: int
    content: int
    examples: int
    train_examples: int
    source: str
    decision: str
    reason: str
    samples: tuple[Sample, ...]

    @property
    def share(self) -> float:
        """Share of the evaluation examples that overlap."""
        return self.overlapping / self.examples

    @property
    def content_share(self) -> float:
        """Share of the evaluation examples that overlap outside their common wording."""
        return self.content / self.examples


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome: pairs over the threshold, those with the largest share of content first.

    ``fingerprint`` is the manifest's, ``words`` the version of what a word is (``ngrams.VERSION``).
    """

    fingerprint: str
    words: int
    threshold: float
    train_tasks: int
    train_examples: int
    evaluation_tasks: int
    evaluation_examples: int
    overlapping_pairs: int
    pairs: tuple[Pair, ...]


def audit(config: LeakageConfig, options: Sequence[str], log: Log) -> Report:
    """Audits a prepared directory and writes leakage.json and leakage.txt there.

    Args:
      config: what to audit.
      options: Beam's pipeline options; empty streams the training side in this process.
      log: receives progress lines.

    Raises:
      UserError: the directory or the decisions are wrong, or there is nothing to compare.
      Fault: the disk is full.
    """
    if options:
        extras.require("apache_beam", what="--pipeline_options")
        from iml_jax.bench import beam_options

        beam_options.check(options)
    directory = Path(config.prepared_dir)
    manifest = manifests.load(directory)
    for name in REPORTS:
        check_writable(directory / name, "audit a copy of the prepared directory that you may write to")
    trained, evaluated = overlap.sides(manifest)
    if not trained or not evaluated:
        lacking = "trained on" if not trained else "evaluated"
        raise UserError(f"{directory}: no task is {lacking}, so there is nothing to compare")
    manifests.check_files(manifest, directory, [side.entry.name for side in (*trained, *evaluated)])
    known = {f"{entry.benchmark}:{entry.task}" for entry in manifest.tasks}
    decisions = leakage_decisions.read(config.drop, known, log) if config.drop else {}
    hits, stream, words = _hits(config, options, trained, evaluated, log)
    spans = _Spans(Texts(directory), stream, words, evaluated)
    pairs, overlapping = [], 0
    for side in trained:
        per_task = np.searchsorted(hits[side.key].example, spans.bounds)
        for number, other in enumerate(evaluated):
            count = int(per_task[number + 1] - per_task[number])
            overlapping += count > 0
            if count > config.threshold * other.examples:
                rows = slice(int(per_task[number]), int(per_task[number + 1]))
                samples = spans.samples(side, number, hits[side.key], rows)
                content = count - int(hits[side.key].wording[rows].sum())
                pairs.append(_pair(side, other, (count, content), samples, decisions))
    report = Report(
        fingerprint=manifest.fingerprint,
        words=ngrams.VERSION,
        threshold=config.threshold,
        train_tasks=len(trained),
        train_examples=sum(side.examples for side in trained),
        evaluation_tasks=len(evaluated),
        evaluation_examples=sum(side.examples for side in evaluated),
        overlapping_pairs=overlapping,
        pairs=tuple(sorted(pairs, key=_order)),
    )
    texts = (json.dumps(as_record(report), indent=1) + "\n", render(report))
    with lease.hold(directory / cache_folders.LEASE, f"the prepared directory {directory}"):
        if manifests.load(directory).fingerprint != manifest.fingerprint:
            raise UserError(f"{directory}: was prepared again while it was audited; run `iml leakage` again")
        for name, text in zip(REPORTS, texts, strict=True):
            write_atomically(directory / name, text)
    return report


def _order(pair: Pair) -> tuple[float, float, str, str]:
    return -pair.content_share, -pair.share, pair.train, pair.evaluation


def _hits(
    config: LeakageConfig, options: Sequence[str], trained: list[Side], evaluated: list[Side], log: Log
) -> tuple[dict[str, Hits], np.ndarray, list[str]]:
    """(hits by training task, the index's stream, its words)."""
    texts, began = Texts(config.prepared_dir), time.monotonic()
    words, stream, starts = overlap.evaluation_stream(texts, evaluated)
    shared = boilerplate.mask(stream, starts, overlap.groups(texts, evaluated))
    log(f"{len(starts)} evaluation examples, {len(stream)} words, {time.monotonic() - began:.1f} s")
    parts = overlap.part_count(stream, config.ngrams)
    found: dict[str, list[Hits]] = {side.key: [] for side in trained}
    total = sum(side.examples for side in trained)
    for part in range(parts):
        began, done, reported = time.monotonic(), 0, 0
        index = Index(words, stream, starts, part, parts, shared)

        def tick(count: int) -> None:
            nonlocal done, reported
            done += count
            if (done - reported) * 10 >= total:
                reported = done
                log(f"{done}/{total} training examples, {time.monotonic() - began:.0f} s")  # noqa: B023

        if options:
            from iml_jax.bench import overlap_beam

            hits = overlap_beam.find(index, Path(config.prepared_dir).absolute(), trained, options)
        else:
            hits = overlap.find(index, texts, trained, tick)
        for key, each in hits.items():
            found[key].append(each)
        log(f"pass {part + 1} of {parts}: {total} training examples, {time.monotonic() - began:.1f} s")
    return {key: Hits.merge(each) for key, each in found.items()}, stream, words.listed()


class _Spans:
    """Finds the sample spans of pairs."""

    def __init__(self, texts: Texts, stream: np.ndarray, words: list[str], evaluated: Sequence[Side]) -> None:
        self._texts, self._stream, self._words, self._evaluated = texts, stream, words, evaluated
        self.bounds = [0, *itertools.accumulate(side.examples for side in evaluated)]

    def samples(self, side: Side, number: int, hits: Hits, rows: slice) -> tuple[Sample, ...]:
        """Of evaluation task ``number``, whose hits are ``rows``: the first examples with different words.

        Those that have more in common than wording come first.
        """
        chosen: dict[str, int] = {}
        numbers = np.arange(rows.start, rows.stop)
        for row in numbers[np.argsort(hits.wording[rows], kind="stable")][:_TRIED].tolist():
            chosen.setdefault(self._span(int(hits.place[row])), row)
            if len(chosen) == SAMPLES:
                break
        return tuple(
            Sample(
                span,
                self._texts.example_id(side.files, int(hits.record[row])),
                self._texts.example_id(
                    self._evaluated[number].files, int(hits.example[row]) - self.bounds[number]
                ),
            )
            for span, row in chosen.items()
        )

    def _span(self, place: int) -> str:
        ids = self._stream[place : place + ngrams.LENGTH].tolist()
        return " ".join(self._words[index - 2] for index in ids if index != ngrams.END)


def _pair(
    side: Side,
    other: Side,
    counts: tuple[int, int],
    samples: tuple[Sample, ...],
    decisions: Mapping[tuple[str, str], Decision],
) -> Pair:
    decision = decisions.get((side.key, other.key))
    if side.key == other.key:
        source = "same task"
    else:
        source = "same dataset" if _dataset(side) == _dataset(other) else ""
    return Pair(
        train=side.key,
        evaluation=other.key,
        split=other.split,
        overlapping=counts[0],
        content=counts[1],
        examples=other.examples,
        train_examples=side.examples,
        source=source,
        decision=decision.side if decision else "undecided",
        reason=decision.reason if decision else "",
        samples=samples,
    )


def _dataset(side: Side) -> str:
    """The task that holds the same dataset by the taxonomy's tables, else the task itself."""
    known = known_tasks.lookup(side.entry.benchmark, side.entry.task)
    return known.same_as if known and known.same_as else side.key


def as_record(report: Report) -> dict[str, Any]:
    """The report as JSON; each pair also has its ``share`` and ``content_share``."""
    record = dataclasses.asdict(report)
    for row, pair in zip(record["pairs"], report.pairs, strict=True):
        row["share"], row["content_share"] = pair.share, pair.content_share
    return record


def render(report: Report) -> str:
    """The report as text: heading, tab-separated lines, under each its samples, last a summary (``#``)."""
    lines = ["content\tshare\toverlapping\texamples\ttrain task\tevaluation task\tdecision\tsource"]
    for pair in report.pairs:
        shares = (f"{pair.content_share:.2%}", f"{pair.share:.2%}", str(pair.overlapping), str(pair.examples))
        lines.append("\t".join((*shares, pair.train, pair.evaluation, pair.decision, pair.source or "-")))
        lines += [f"    {s.train_example} | {s.evaluation_example}: {s.span}" for s in pair.samples]
    undecided = sum(pair.decision == "undecided" for pair in report.pairs)
    content = sum(pair.content_share > report.threshold for pair in report.pairs)
    lines.append(
        f"# {report.train_tasks} training tasks ({report.train_examples} examples), "
        f"{report.evaluation_tasks} evaluation tasks ({report.evaluation_examples}): "
        f"{report.overlapping_pairs} pairs overlap, {len(report.pairs)} of them in more than "
        f"{report.threshold:.2%} of the evaluation examples ({content} of them outside common wording as "
        f"well), {undecided} of these undecided"
    )
    return "\n".join(lines) + "\n"
