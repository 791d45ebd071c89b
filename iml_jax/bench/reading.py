"""Source -> prompted text rows of a planned task, with every dropped row counted (no TensorFlow)."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from iml_jax.bench.demonstrations import Demonstrator
from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.pooling import drawn
from iml_jax.bench.prompting import PromptedExample, prompt
from iml_jax.bench.sources.formats.bounds import usable
from iml_jax.bench.variants import MetaICL, Variant

NO_PROMPT = "empty prompt or no reference"
NO_LOSS = "no loss token (empty target)"
NO_SHOTS = "no demonstration (the task has no rows to show)"
# What became of the demonstrations that a split's prompts should have shown.
SHOWN = "shown"
CUT = "left out to fit the row"
MISSING = "missing (the task has too few)"


@dataclasses.dataclass(frozen=True)
class Room:
    """What a prompt must fit into for its demonstrations to stay.

    Attributes:
      count: tokens of a text.
      length: positions of a row.
    """

    count: Callable[[str], int]
    length: int


def prompted_rows(
    planned: PlannedTask,
    split: str,
    seed: int,
    dropped: collections.Counter[str],
    *,
    room: Room | None = None,
    demonstrations: collections.Counter[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Prompted text features (bytes, lists of bytes) of a split, in the order of the files.

    Args:
      planned: the task.
      split: one of its planned splits.
      seed: decides delimiters, demonstrations and the examples drawn where a cap bites.
      dropped: receives one count, by reason, for each row that yields no example.
      room: drops demonstrations, whole and the first ones first, from prompts that would exceed it; None
        keeps all.
      demonstrations: receives how many were ``SHOWN``, ``CUT`` and ``MISSING``.

    Raises:
      UserError: a source file is malformed.
    """
    source, info, variant = planned.source, planned.info, planned.variant
    fates = collections.Counter() if demonstrations is None else demonstrations
    demonstrator = Demonstrator(
        lambda: _solved(planned, split),
        seed,
        own_in_order=not isinstance(variant, MetaICL),
    )
    examples = drawn(
        lambda skipped: source.examples(info, split, skipped),
        planned.caps[split],
        seed,
        dropped,
        pooled=split in planned.pooled,
    )
    for example in examples:
        wanted = variant.shots_of(example, seed) if example.source.strip() else 0
        if wanted and variant.demanding and not demonstrator.can_show(example):
            dropped[NO_SHOTS] += 1
            continue
        shown = demonstrator.draw(example, wanted)
        try:
            prompted, kept = _fitted(planned, example, seed, shown, room)
        except ValueError:
            dropped[NO_PROMPT] += 1
            continue
        if not prompted.target_text.rstrip():
            dropped[NO_LOSS] += 1
            continue
        for fate, count in ((SHOWN, kept), (CUT, len(shown) - kept), (MISSING, wanted - len(shown))):
            if count:
                fates[fate] += count
        yield {
            "inputs_pretokenized": _utf8(prompted.source_text),
            "targets_pretokenized": _utf8(prompted.target_text),
            "references": [_utf8(reference) for reference in prompted.references],
            "options": [_utf8(option) for option in prompted.options],
            "example_id": _utf8(example.example_id),
            "template": _utf8(example.template),
        }


def _solved(planned: PlannedTask, split: str) -> Iterator[Example]:
    """What prompts of a split may show: training rows, else validation rows, else, if asked, its own."""
    source, info = planned.source, planned.info
    found = False
    unseen = collections.Counter[str]()
    for example in usable(source.demonstrations(info, unseen), unseen):
        found = True
        yield example
    if found or split == "train":
        return
    other = "validation" if "validation" in info.splits and split != "validation" else ""
    if own := other or (split if planned.variant.evaluated_rows else ""):
        yield from source.examples(info, own, unseen)


def _fitted(
    planned: PlannedTask, example: Example, seed: int, shown: list[Example], room: Room | None
) -> tuple[PromptedExample, int]:
    """The prompt with as many of the last demonstrations as fit, and how many these are.

    Every demonstration lengthens the prompt, so the first one to keep is found by halving: of 32 that are
    longer than the row together, six prompts are rendered and tokenised, not all.
    """

    def made(first: int) -> PromptedExample:
        prompted = prompt(example, seed, planned.variant, shown[first:])
        generated = planned.generated and example.split != "train"
        return dataclasses.replace(prompted, options=()) if generated else prompted

    prompted = made(0)
    if room is None or not shown or _fits(prompted, planned.variant, example.split, room):
        return prompted, len(shown)
    too_many, first = 0, len(shown)  # with none of them the prompt is taken as it is
    while first - too_many > 1:
        middle = (too_many + first) // 2
        if _fits(made(middle), planned.variant, example.split, room):
            first = middle
        else:
            too_many = middle
    return made(first), len(shown) - first


def _fits(prompted: PromptedExample, variant: Variant, split: str, room: Room) -> bool:
    """Whether prompt and answer have a position each; the last token of an answer needs none."""
    answers = (prompted.target_text,) if split == "train" else prompted.options
    # A token is at least a byte: most prompts need not be tokenised.
    spare = max((len(_utf8(f" {answer}")) for answer in answers), default=variant.answer_tokens)
    if len(_utf8(prompted.source_text)) + spare <= room.length:
        return True
    needed = max((room.count(f" {answer}") for answer in answers), default=variant.answer_tokens)
    return room.count(prompted.source_text) + needed <= room.length


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
