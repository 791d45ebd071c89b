"""Means of means, and the check that two evaluations are comparable."""

from __future__ import annotations

import dataclasses

import pytest

from iml_jax.data import manifest
from iml_jax.evaluation.metrics import levels
from iml_jax.evaluation.results import Results, TaskScore, TemplateScore
from iml_jax.foundation.errors import UserError


def task(
    name: str, category: str, level: str, score: float, *, constant: float = 10.0, examples: int = 4
) -> TaskScore:
    return TaskScore(
        name=name, benchmark="b", task=name, category=category, level=level, metric="accuracy", split="test",
        score=score, templates={"": TemplateScore(score, examples)}, constant_score=constant,
        constant_answer="no", examples=examples, truncated=0, unfinished=0, dropped={},
    )  # fmt: skip


TASKS = (
    task("one", "X", "fully_supervised", 10.0, examples=1000),
    task("two", "X", "fully_supervised", 30.0, constant=30.0),
    task("three", "Y", "fully_supervised", 80.0),
    task("four", "X", "fully_held_out", 5.0),
)


def test_every_stage_is_an_unweighted_mean() -> None:
    assert levels.template_mean({"a": TemplateScore(10, 1), "b": TemplateScore(20, 99)}) == 15
    held_out, supervised = levels.aggregate(TASKS, {"one": 0.0, "two": 8.0, "three": 6.0, "four": 1.0})
    assert (held_out.name, supervised.name) == ("fully_held_out", "fully_supervised")
    assert [category.name for category in supervised.categories] == ["X", "Y"]
    assert supervised.categories[0].scores == levels.Scores(20.0, 20.0, 4.0)
    assert supervised.scores == levels.Scores(50.0, 15.0, 5.0)  # the mean over tasks would be 40
    assert held_out.scores == levels.Scores(5.0, 10.0, 1.0)


def test_without_reference_and_with_mistakes() -> None:
    (level,) = levels.aggregate(TASKS[:1])
    assert level.scores.reference is None
    with pytest.raises(KeyError):
        levels.aggregate(TASKS, {"one": 1.0})
    with pytest.raises(ValueError, match="unknown level"):
        levels.aggregate([task("x", "X", "", 1.0)])
    with pytest.raises(ValueError, match="nothing"):
        levels.template_mean({})


def test_flat_numbers() -> None:
    assert levels.level_metrics(TASKS) == {
        "fully_held_out": 5.0, "fully_held_out_constant": 10.0,
        "fully_supervised": 50.0, "fully_supervised_constant": 15.0,
        "selection": 35.0,
    }  # fmt: skip


def test_every_level_of_the_manifest_has_words() -> None:
    assert set(levels.LEVELS) == set(manifest.LEVELS) - {""} == set(levels.TITLES) == set(levels.MEANINGS)


def test_reference_must_be_over_the_same_examples() -> None:
    ours = Results({"manifest_fingerprint": "f", "examples_per_task": 0}, TASKS)
    assert levels.reference_scores(ours, ours) == {"one": 10.0, "two": 30.0, "three": 80.0, "four": 5.0}
    for theirs, match in (
        (
            dataclasses.replace(ours, metadata={**ours.metadata, "manifest_fingerprint": "g"}),
            "manifest_fingerprint g",
        ),
        (
            dataclasses.replace(ours, metadata={**ours.metadata, "examples_per_task": 5}),
            "examples_per_task 5",
        ),
        (dataclasses.replace(ours, tasks=TASKS[1:]), "task one: .* lack it"),
        (
            dataclasses.replace(ours, tasks=(task("one", "X", "fully_supervised", 1.0), *TASKS[1:])),
            "have 4 of",
        ),
    ):
        with pytest.raises(UserError, match=match) as error:
            levels.reference_scores(ours, theirs)
        assert "\n" not in str(error.value)
