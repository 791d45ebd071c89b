"""Generalization levels follow from what is trained on."""

from __future__ import annotations

import random

import pytest

from iml_jax.bench.taxonomy import level
from iml_jax.data.terms import LEVELS


def test_against_the_definition_on_random_benches() -> None:
    rng = random.Random(5)
    seen = set()
    for _ in range(200):
        category = {f"b:t{index}": f"c{rng.randrange(6)}" for index in range(8)}
        trained = {task for task in category if rng.random() < 0.4}
        trained_categories = {category[task] for task in trained}
        for task, own in category.items():
            found = level(task, own, trained, trained_categories)
            relatives = [other for other in trained if category[other] == own]
            assert (found == "fully_supervised") == (task in relatives)
            assert (found == "fully_held_out") == (not relatives)
            seen.add(found)
    assert seen == set(LEVELS)


def test_a_trained_task_of_an_untrained_category_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="category"):
        level("b:t", "c", {"b:t"}, {"d"})
