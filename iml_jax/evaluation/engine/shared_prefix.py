"""Packs each prompt once, as a prefix that all its options share.

A segment is a prompt with options behind it. The prompt has option id 0, each option an id of its own in the
segment; an option attends to the prompt and to itself (``models.attention``), and the positions of each start
again right after the prompt. Segments are packed into rows of a few lengths, so that questions of any lengths
are computed with little padding in few compiled shapes.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np

from iml_jax.data.tokenizer import PAD

SMALLEST_ROW = 32
SMALLEST_COUNT = 16  # scored tokens of a row are padded to a power of two, this at least
SAMPLE = 2048  # segments by which the length of the rows is chosen
BATCH_COST = 256  # slots that cost about as much as a call of the compiled function does


@dataclasses.dataclass(frozen=True)
class Segment:
    """A prompt and some of its options.

    Attributes:
      question: the index of its question.
      prompt: the ids before the options, those of the prefix included.
      options: the indices of these options in the question.
      tokens: the ids of each of them.
    """

    question: int
    prompt: Sequence[int]
    options: tuple[int, ...]
    tokens: tuple[Sequence[int], ...]

    @property
    def slots(self) -> int:
        """Slots of a row that it takes. An option's last token is predicted only, never an input."""
        return len(self.prompt) + sum(len(tokens) - 1 for tokens in self.tokens)

    @property
    def scored(self) -> int:
        """Tokens that are predicted by one before them: all but the first ones after an empty prompt."""
        return sum(len(tokens) - (not self.prompt) for tokens in self.tokens)


@dataclasses.dataclass(frozen=True)
class Plan:
    """One call of the compiled function.

    Attributes:
      length, rows, count: its shape: slots of a row, rows, scored tokens of a row.
      segments: the indices of the segments in each row; rows at the end may be missing.
    """

    length: int
    rows: int
    count: int
    segments: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Arrays:
    """What the compiled function reads.

    Attributes:
      inputs, positions, segments, option_ids: int32 [rows, length].
      sources, targets: int32 [rows, count]: the slot that predicts, and the id that it should predict.
      owners: (row, first, one past the last of ``sources``, question, option), one per option.
    """

    inputs: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    option_ids: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    owners: tuple[tuple[int, int, int, int, int], ...]


def split(
    question: int, prompt: Sequence[int], options: Sequence[Sequence[int]], capacity: int
) -> list[Segment]:
    """The segments of one question: one, unless its options together do not fit into ``capacity`` slots.

    Raises:
      ValueError: an option does not fit even alone.
    """
    groups: list[list[int]] = []
    used = capacity
    for index, tokens in enumerate(options):
        if len(prompt) + len(tokens) - 1 > capacity:
            raise ValueError(f"option {index} of question {question} does not fit {capacity} slots")
        if not groups or used + len(tokens) - 1 > capacity:
            groups.append([])
            used = len(prompt)
        groups[-1].append(index)
        used += len(tokens) - 1
    return [Segment(question, prompt, tuple(group), tuple(options[i] for i in group)) for group in groups]


def row_lengths(largest: int, steps: int) -> list[int]:
    """Row lengths up to ``largest``, ``steps`` per octave."""
    found, power = {largest}, SMALLEST_ROW
    while power <= largest:
        found |= {length for length in range(power, 2 * power, power // steps) if length <= largest}
        power *= 2
    return sorted(found)


def pack(sizes: Sequence[int], base: int, lengths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Best-fit decreasing: (row length, the items in it) for every row.

    Args:
      sizes: slots of each item, none over ``lengths[-1]``.
      base: the length of a new row, unless its first item needs a longer one of ``lengths``.
    """
    rows: list[tuple[int, list[int]]] = []
    free_slots: list[tuple[int, int]] = []  # (free slots, row), sorted
    for item in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        size = sizes[item]
        best = bisect.bisect_left(free_slots, (size, -1))
        if best < len(free_slots):
            free, row = free_slots.pop(best)
        else:
            length = base if size <= base else lengths[bisect.bisect_left(lengths, size)]
            free, row = length, len(rows)
            rows.append((length, []))
        rows[row][1].append(item)
        if free > size:
            bisect.insort(free_slots, (free - size, row))
    return rows


def plan(segments: Sequence[Segment], largest: int, hidden: int, parts: int, most_rows: int) -> list[Plan]:
    """Which segments are computed together, the largest shapes first (what does not fit fails at once).

    Args:
      segments: none larger than ``largest`` slots.
      largest: the longest row, in slots.
      hidden: the width of the model, which says what attention over longer rows costs.
      parts: the number of rows of a call is a multiple of this (the size of the mesh's batch axes).
      most_rows: the largest number of rows per call, a multiple of ``parts``.
    """
    # One row length for most questions; longer ones get a power of two, which keeps compilations few.
    longer = row_lengths(largest, 1)
    sizes = [segment.slots for segment in segments]

    def cost(rows: list[tuple[int, list[int]]]) -> float:
        # Over the 24 hidden^2 of a slot's matrices attention costs 4 hidden times the mean of length / 2
        # keys, and its wide, slow passes about as much again.
        return sum(length * (1 + length / (6 * hidden)) for length, _ in rows)

    sample = sizes[:: -(-len(sizes) // SAMPLE)] if sizes else []
    base = min(row_lengths(largest, 8), key=lambda length: cost(pack(sample, length, longer)))
    packed = pack(sizes, base, longer)
    by_length: dict[int, list[list[int]]] = {}
    for length, members in packed:
        by_length.setdefault(length, []).append(members)
    plans = []
    for length in sorted(by_length, reverse=True):
        counted = [
            (_power(sum(segments[i].scored for i in members), SMALLEST_COUNT), members)
            for members in by_length[length]
        ]
        for count in sorted({count for count, _ in counted}, reverse=True):
            rows = [tuple(members) for size, members in counted if size == count]
            height = _height(len(rows), length, parts, most_rows)
            plans += [
                Plan(length, height, count, tuple(rows[start : start + height]))
                for start in range(0, len(rows), height)
            ]
    return plans


def _power(value: int, least: int) -> int:
    return max(least, 1 << max(0, value - 1).bit_length())


def _height(rows: int, length: int, parts: int, most: int) -> int:
    """Rows per call that minimise the cost of all calls; one height per shape, so that it compiles once."""
    allowed = [size * parts for size in row_heights(most // parts)]

    def cost(height: int) -> int:
        return -(-rows // height) * (height * length + BATCH_COST)

    return min(allowed, key=lambda height: (cost(height), -height))


def row_heights(most: int) -> list[int]:
    """Up to eight heights per octave, and ``most``."""
    found, power = {most}, 1
    while power <= most:
        found |= {height for height in range(power, 2 * power, max(1, power // 8)) if height <= most}
        power *= 2
    return sorted(found)


def build(plan: Plan, segments: Sequence[Segment]) -> Arrays:
    """The arrays of one call."""
    shape = (plan.rows, plan.length)
    inputs = np.full(shape, PAD, np.int32)
    positions, numbers, option_ids = (np.zeros(shape, np.int32) for _ in range(3))
    sources = np.zeros((plan.rows, plan.count), np.int32)
    targets = np.full((plan.rows, plan.count), PAD, np.int32)
    owners = []
    for row, members in enumerate(plan.segments):
        slot = scored = 0
        for number, member in enumerate(members, start=1):
            segment = segments[member]
            start, size = slot, len(segment.prompt)
            inputs[row, start : start + size] = segment.prompt
            positions[row, start : start + size] = np.arange(size)
            slot += size
            for option_id, (option, tokens) in enumerate(
                zip(segment.options, segment.tokens, strict=True), start=1
            ):
                read = len(tokens) - 1
                inputs[row, slot : slot + read] = tokens[:-1]
                positions[row, slot : slot + read] = np.arange(size, size + read)
                option_ids[row, slot : slot + read] = option_id
                seen = 0 if size else 1  # the first token after nothing is predicted by nothing
                end = scored + len(tokens) - seen
                if size:
                    sources[row, scored] = start + size - 1
                sources[row, scored + 1 - seen : end] = np.arange(slot, slot + read)
                targets[row, scored:end] = tokens[seen:]
                owners.append((row, scored, end, segment.question, option))
                slot, scored = slot + read, end
            numbers[row, start:slot] = number
    return Arrays(inputs, positions, numbers, option_ids, sources, targets, tuple(owners))
