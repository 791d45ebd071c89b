"""Packed rows of prompts and options: nothing lost, nothing split, little padding."""

from __future__ import annotations

import numpy as np
import pytest

from iml_jax.evaluation.engine import shared_prefix
from iml_jax.evaluation.engine.shared_prefix import Segment


def random_segments(rng: np.random.Generator, count: int, largest: int) -> list[Segment]:
    segments = []
    for number in range(count):
        prompt = rng.integers(4, 91, rng.integers(0, largest // 2)).tolist()
        options = [rng.integers(4, 91, rng.integers(1, 9)).tolist() for _ in range(rng.integers(1, 9))]
        segments += shared_prefix.split(number, prompt, options, largest)
    return segments


@pytest.mark.parametrize(("parts", "most_rows"), [(1, 3), (4, 8), (8, 8)])
def test_every_option_is_in_one_row_as_it_was(parts: int, most_rows: int) -> None:
    rng = np.random.default_rng()
    segments = random_segments(rng, 60, 200)
    seen = []
    for plan in shared_prefix.plan(segments, 200, 32, parts, most_rows):
        arrays = shared_prefix.build(plan, segments)
        assert plan.rows % parts == 0
        assert plan.rows <= most_rows
        assert arrays.inputs.shape == (plan.rows, plan.length)
        assert arrays.sources.shape == (plan.rows, plan.count)
        for row, start, stop, question, option in arrays.owners:
            segment = next(s for s in segments if s.question == question and option in s.options)
            tokens = list(segment.tokens[segment.options.index(option)])
            counted = tokens if segment.prompt else tokens[1:]
            assert arrays.targets[row, start:stop].tolist() == counted
            for slot, target in zip(arrays.sources[row, start:stop], counted, strict=True):
                # The words that this prediction sees are the prompt and the option up to here.
                numbers, option_ids = arrays.segments[row], arrays.option_ids[row]
                sees = (numbers == numbers[slot]) & np.isin(option_ids, (0, option_ids[slot]))
                sees[slot + 1 :] = False
                if option_ids[slot] == 0:
                    sees &= option_ids == 0
                before = [*segment.prompt, *tokens]
                assert arrays.inputs[row][sees].tolist() == before[: sees.sum()]
                assert before[sees.sum()] == target
                assert arrays.positions[row][sees].tolist() == list(range(sees.sum()))
            seen.append((question, option))
    assert sorted(seen) == sorted((s.question, option) for s in segments for option in s.options)


def test_rows_are_full() -> None:
    rng = np.random.default_rng()
    segments = [Segment(i, [5] * rng.integers(180, 221), (0,), ([7] * 9,)) for i in range(200)]
    plans = shared_prefix.plan(segments, 2048, 768, 1, 32)
    slots = sum(plan.rows * plan.length for plan in plans)
    assert sum(segment.slots for segment in segments) / slots > 0.88
    assert len({(plan.rows, plan.length, plan.count) for plan in plans}) <= 3  # compilations


def test_a_long_prompt_does_not_lengthen_all_rows() -> None:
    segments = [Segment(i, [5] * (1900 if i == 0 else 100), (0,), ([7] * 4,)) for i in range(100)]
    plans = shared_prefix.plan(segments, 2048, 768, 1, 8)
    assert max(plan.length for plan in plans) >= 1903
    assert sum(plan.rows * plan.length for plan in plans) < 1.25 * sum(s.slots for s in segments)


def test_split_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="option 1 of question 7 does not fit 10 slots"):
        shared_prefix.split(7, [5] * 6, [[1, 2], [1] * 6], 10)
