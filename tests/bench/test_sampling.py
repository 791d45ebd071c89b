"""Which prompts of a split are taken: exact numbers, fair draws, one reading or two, all accounted for."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench import sampling
from iml_jax.bench.example import Example

EXAMPLE = Example("b", "t", "0", "train", "", "", ("y",))


class Split:
    """Row i under ``templates[i]`` templates; counts how often it is read."""

    def __init__(self, templates: list[int]) -> None:
        self.templates = templates
        self.readings = 0

    def read(self, skipped: collections.Counter[str]) -> Iterator[Example]:
        self.readings += 1
        for row, count in enumerate(self.templates):
            if not count:
                skipped["marked"] += 1
            for template in range(count):
                yield dataclasses.replace(
                    EXAMPLE, example_id=str(row), template=str(template), source=f"{row} {template}"
                )


def take(
    split: Split, cap: int = 0, seed: int = 0, *, pooled: bool
) -> tuple[list[str], collections.Counter[str]]:
    dropped: collections.Counter[str] = collections.Counter()
    return [e.source for e in sampling.sampled(split.read, cap, seed, dropped, pooled=pooled)], dropped


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.integers(0, 40),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([0, 25, 1 << 26]),
)
def test_exactly_as_many_as_asked_in_order_and_all_accounted_for(templates, cap, seed, pooled, kept):
    before = sampling.BUFFERED_CHARACTERS
    sampling.BUFFERED_CHARACTERS = kept
    try:
        split = Split(templates)
        found, dropped = take(split, cap, seed, pooled=pooled)
    finally:
        sampling.BUFFERED_CHARACTERS = before
    pairs = [f"{row} {template}" for row, count in enumerate(templates) for template in range(count)]
    rows = sum(count > 0 for count in templates)
    wanted = min(rows if pooled else len(pairs), cap or len(pairs))
    assert len(found) == len(set(found)) == wanted
    assert found == [pair for pair in pairs if pair in set(found)]
    assert dropped.pop("marked", 0) == templates.count(0)
    assert sum(dropped.values()) == len(pairs) - wanted
    assert set(dropped) <= {sampling.OVER_CAP, sampling.NOT_DRAWN}
    if kept == 1 << 26:
        assert split.readings == 1
    assert found == take(Split(templates), cap, seed, pooled=pooled)[0]  # however often it was read


def test_every_pair_is_as_likely():
    counts = collections.Counter()
    for seed in range(400):
        found, dropped = take(Split([1, 3, 4]), seed=seed, pooled=True)
        assert dropped == {sampling.NOT_DRAWN: 5}
        counts.update(found)
    # 3 of 8 pairs, 400 times: 150 each, standard deviation 9.7; a row's part goes with its templates
    assert len(counts) == 8
    assert all(abs(count - 150) < 50 for count in counts.values())


def test_size_does_not_depend_on_the_number_of_templates():
    assert {len(take(Split([count] * 50), pooled=True)[0]) for count in (1, 2, 9)} == {50}
    assert len(take(Split([9] * 50), pooled=False)[0]) == 450
    found, dropped = take(Split([2] * 50), cap=20, pooled=True)
    assert (len(found), dropped) == (20, {sampling.OVER_CAP: 80})


def test_long_splits_are_read_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "BUFFERED_CHARACTERS", 60)
    split = Split([1] * 40)
    assert len(take(split, cap=30, pooled=True)[0]) == 30
    assert split.readings == 2


def test_texts_that_are_out_again_do_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "BUFFERED_CHARACTERS", 60)  # a few of 400 rows of five characters or more
    split = Split([1] * 400)
    assert len(take(split, cap=4, pooled=True)[0]) == 4
    assert split.readings == 1
