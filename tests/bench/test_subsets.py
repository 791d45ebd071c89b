"""Nested subsets of training tasks and categories (OPT-IML tables 16 and 17)."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench.sources.base import TaskInfo
from iml_jax.bench.subsets import Subset, category_order
from iml_jax.foundation.errors import UserError

INFO = TaskInfo("b", "", "", "train", ("train",), "rouge_l", ())


def tasks(sizes: dict[str, int]) -> list[TaskInfo]:
    return [
        dataclasses.replace(INFO, task=f"{name}-{number}", category=name)
        for name, size in sizes.items()
        for number in range(size)
    ]


MANY = tasks({f"c{number}": number + 1 for number in range(12)})


@settings(max_examples=50, deadline=None, database=None)
@given(st.integers(0, 99), st.lists(st.integers(3, len(MANY)), min_size=2, max_size=5), st.randoms())
def test_smaller_subsets_lie_in_larger_ones(seed, sizes, random):
    always = {MANY[5].key, MANY[40].key, MANY[41].key}
    order = list(MANY)
    random.shuffle(order)  # what is chosen does not hang on the order of the listing
    chosen = [Subset(tasks=size, seed=seed).choose(order, always) for size in sorted(sizes)]
    for size, keys in zip(sorted(sizes), chosen, strict=True):
        assert len(keys) == size and always <= keys
        assert keys == Subset(tasks=size, seed=seed).choose(MANY, always)
    assert all(small <= large for small, large in itertools.pairwise(chosen))


def test_the_seed_chooses_and_every_task_is_as_likely():
    counts = dict.fromkeys((info.key for info in MANY), 0)
    for seed in range(300):
        for key in Subset(tasks=20, seed=seed).choose(MANY, ()):
            counts[key] += 1
    expected = 300 * 20 / len(MANY)
    deviation = (expected * (1 - 20 / len(MANY))) ** 0.5
    assert all(abs(count - expected) < 5 * deviation for count in counts.values())


def test_categories_by_decreasing_size_with_three_first():
    infos = tasks({"Summarization": 2, "A": 5, "B": 9, "Question Answering": 1, "C": 5, "D": 1})
    first = Subset().first_categories
    assert category_order(infos, first) == ["Question Answering", "Summarization", "B", "A", "C", "D"]
    chosen = Subset(categories=3).choose(infos, ())
    assert {key.removeprefix("b:").rpartition("-")[0] for key in chosen} == {
        "Question Answering",
        "Summarization",
        "B",
    }
    assert len(chosen) == 12
    assert len(Subset(categories=3, tasks=4).choose(infos, ())) == 4
    assert Subset(categories=3, tasks=4).choose(infos, ()) <= chosen
    assert Subset().choose(infos, ()) == {info.key for info in infos}


def test_refusals():
    infos = tasks({"A": 3})
    with pytest.raises(UserError, match=r"Subset\.categories = 2: the mixture trains on 1"):
        Subset(categories=2).choose(infos, ())
    with pytest.raises(UserError, match=r"Subset\.tasks = 4: must lie between 0 .* and 3"):
        Subset(tasks=4).choose(infos, ())
    with pytest.raises(UserError, match=r"Subset\.tasks = 1: must lie between 2 .* and 3"):
        Subset(tasks=1).choose(infos, (infos[0].key, infos[1].key))
    with pytest.raises(UserError, match=r"Subset\.tasks = -1"):
        Subset(tasks=-1)
