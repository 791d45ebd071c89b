"""Means of means, and the check that two evaluations are comparable."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.prepared_questions import make_questions

from iml_jax.data import manifest as manifests
from iml_jax.data import terms
from iml_jax.evaluation.engine import provenance
from iml_jax.evaluation.engine.generation import GenerateConfig
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
    assert set(terms.LEVELS) == set(levels.TITLES) == set(levels.MEANINGS)


MEASURED = {
    "manifest_fingerprint": "f", "examples_per_task": 0, "max_new_tokens": 8, "prefix": "none",
    "option_scoring": "sum",
}  # fmt: skip


@pytest.mark.parametrize("key", MEASURED)
def test_a_reference_that_was_measured_otherwise_is_refused(key: str) -> None:
    ours = Results(MEASURED, TASKS)
    levels.check_measurement(MEASURED, ours)
    for theirs in ({**MEASURED, key: "other"}, {name: MEASURED[name] for name in MEASURED if name != key}):
        reference = dataclasses.replace(ours, metadata=theirs)
        with pytest.raises(UserError, match=f"the reference results have {key} (other|None)"):
            levels.check_measurement(MEASURED, reference)
        with pytest.raises(UserError, match=f"the reference results have {key} (other|None)"):
            levels.reference_scores(ours, reference)


def test_everything_that_provenance_says_of_the_measurement_is_checked(tmp_path: Path) -> None:
    make_questions(tmp_path)
    known = provenance.of_measurement(manifests.load(tmp_path), GenerateConfig(), "none", "none")
    assert {*known, "examples_per_task"} == set(MEASURED)


def variant(
    name: str, shots: str, score: float, category: str = "X", *, benchmark: str = "b", level: str = ""
) -> TaskScore:
    one = task(name, category, level or "fully_held_out", score)
    return dataclasses.replace(one, name=f"{benchmark}:{name}:{shots}", benchmark=benchmark, task=name)


def test_shots_are_averaged_apart_and_few_shot_summaries_do_not_count() -> None:
    tasks = (
        variant("x", "zero_shot", 10.0),
        variant("y", "zero_shot", 30.0),
        variant("x", "five_shot", 50.0),
        variant("s", "zero_shot", 80.0, "Summarization"),
        variant("s", "five_shot", 99.0, "Summarization"),
    )
    (level,) = levels.aggregate(tasks)
    summaries, category = level.categories
    assert (category.name, category.scores.model) == ("X", 35.0)  # (20 + 50) / 2: not the mean of three tasks
    assert {name: one.scores.model for name, one in category.columns.items()} == {
        "zero_shot": 20.0, "five_shot": 50.0,
    }  # fmt: skip
    assert (summaries.scores.model, summaries.columns["five_shot"].counted) == (80.0, False)
    assert {name: one.scores.model for name, one in level.columns.items()} == {
        "zero_shot": 50.0, "five_shot": 50.0,
    }  # fmt: skip
    assert level.scores.model == 50.0
    # Where nothing else is there, they count.
    assert levels.aggregate(tasks[4:])[0].scores.model == 99.0
    # The selection score is the mean over shots, not over categories.
    uneven = (*tasks[:3], variant("z", "zero_shot", 60.0, "Z", level="fully_supervised"))
    assert levels.selection_score(uneven) == ((20 + 60) / 2 + 50) / 2
    assert levels.level_metrics(uneven)["selection"] == 45.0
    assert levels.level_metrics(uneven)["fully_held_out_five_shot"] == 50.0


def test_parts_of_a_task_and_benchmarks_of_a_dataset_count_once() -> None:
    subjects = [variant(f"subject{n}", "zero_shot", 90.0, benchmark="mmlu") for n in range(3)]
    assert [one.categories[0].name for one in levels.aggregate(subjects)] == ["MMLU"]
    copa = [
        variant("copa", "zero_shot", 10.0, benchmark="flan"),
        variant("super_glue/copa", "zero_shot", 20.0, benchmark="promptsource"),
    ]
    parts = [variant(f"wino_bias/type{n}_anti", "zero_shot", 50.0, benchmark="promptsource") for n in (1, 2)]
    other = variant(
        "task1664_winobias_text_generation", "zero_shot", 30.0, benchmark="super_natural_instructions"
    )
    (level,) = levels.aggregate((*copa, *parts, other, variant("alone", "zero_shot", 0.0)))
    weights = level.weights
    assert weights == {
        "flan:copa:zero_shot": pytest.approx(1 / 6),
        "promptsource:super_glue/copa:zero_shot": pytest.approx(1 / 6),
        # Two parts in one benchmark weigh as much as the one of another benchmark.
        "promptsource:wino_bias/type1_anti:zero_shot": pytest.approx(1 / 12),
        "promptsource:wino_bias/type2_anti:zero_shot": pytest.approx(1 / 12),
        "super_natural_instructions:task1664_winobias_text_generation:zero_shot": pytest.approx(1 / 6),
        "b:alone:zero_shot": pytest.approx(1 / 3),
    }
    assert level.scores.model == pytest.approx((15 + (50 + 30) / 2 + 0) / 3)
    # A benchmark's mean takes the parts of one task together, too.
    by_benchmark = {one.name: one.scores.model for one in levels.by_benchmark((*copa, *parts))}
    assert by_benchmark == {"flan": 10.0, "promptsource": 35.0}


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
