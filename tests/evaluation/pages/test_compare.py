"""Which examples are compared, what is averaged, and what is said of evaluations measured otherwise."""

from __future__ import annotations

import dataclasses

import pytest
from support.compared_results import make_results

from iml_jax.evaluation.metrics import levels
from iml_jax.evaluation.pages.compare import (
    ComparedEvaluation,
    Comparison,
    compare,
    config_changes,
    flat_facts,
)
from iml_jax.evaluation.results import Results
from iml_jax.foundation.errors import UserError


def compared(*found: Results) -> Comparison:
    return compare(
        [ComparedEvaluation(chr(65 + n), f"run {n}", f"{n}.json", one) for n, one in enumerate(found)]
    )


def test_means_are_those_of_the_result_files() -> None:
    first, second, third = make_results(1, 0.4), make_results(2, 0.7), make_results(3, 0.4)
    found = compared(first, second, third)
    assert not found.warnings
    assert not found.notes
    for number, results in enumerate((first, second, third)):
        expected = {}
        for level in levels.aggregate(results.tasks):
            expected["level", level.name] = level.scores.model
            for category in level.categories:
                expected["category", level.name, category.name] = category.scores.model
                expected.update({("task", task.name): task.score for task in category.tasks})
        level = ""
        assert len(expected) == len(found.lines)
        for line in found.lines:
            level = line.name if line.kind == "level" else level
            key = (line.kind, level, line.name) if line.kind == "category" else (line.kind, line.name)
            assert line.scores[number] == pytest.approx(expected[key])
    for line in found.lines:
        assert [one.value for one in line.differences] == pytest.approx(
            [score - line.scores[0] for score in line.scores[1:]]
        )
    top = [line for line in found.lines if line.kind == "level"]
    assert all(line.differences[0].clear and line.differences[0].value > 10 for line in top)
    assert not all(line.differences[1].clear for line in top)
    assert [line.name for line in top] == ["fully_held_out", "partially_supervised", "fully_supervised"]
    assert sum(line.examples for line in top) == len(first.predictions)


def test_right_and_wrong_are_counted_by_example() -> None:
    first, second = make_results(1, 0.4), make_results(2, 0.7)
    found = compared(first, second)
    (line,) = [line for line in found.lines if line.name == "bench:task0:zero_shot"]
    points = [
        (a.score, b.score)
        for a, b in zip(first.predictions, second.predictions, strict=True)
        if a.task == line.name
    ]
    assert line.differences[0].worse == sum(a > b for a, b in points)
    assert line.differences[0].better == sum(a < b for a, b in points)
    differing = sum(one.differs for one in found.shared[line.name])
    assert differing == sum(a != b for a, b in points)


def test_only_shared_examples_count() -> None:
    first, second = make_results(1, 0.4), make_results(2, 0.7)
    kept = tuple(one for one in second.predictions if int(one.example_id) < 20 and "task5" not in one.task)
    found = compared(first, dataclasses.replace(second, predictions=kept))
    assert sum(map(len, found.shared.values())) == len(kept)
    (line,) = [line for line in found.lines if line.name == "bench:task0:zero_shot"]
    of_task = [one.score for one in first.predictions if one.task == line.name and int(one.example_id) < 20]
    assert line.scores[0] == pytest.approx(sum(of_task) / 20)
    (note,) = found.notes
    assert note.startswith(f"A has {len(first.predictions) - len(kept)} further examples")
    assert "bench:task5:zero_shot" in note


def test_nothing_shared_is_the_users_mistake() -> None:
    first, second = make_results(1, 0.4), make_results(2, 0.7)
    other = tuple(dataclasses.replace(one, example_id=f"x{one.example_id}") for one in second.predictions)
    with pytest.raises(UserError, match=r"0\.json and 1\.json share no example"):
        compared(first, dataclasses.replace(second, predictions=other))


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"prefix": "</s>"}, "prefix differs (A: none; B: </s>)"),
        ({"manifest_fingerprint": "other"}, "manifest fingerprint differs (A: abc; B: other)"),
        ({"vocabulary": {"fingerprint": "f"}}, "vocabulary.fingerprint differs (A: not recorded; B: f)"),
        ({"a_new_setting": 3}, "a new setting differs (A: not recorded; B: 3)"),
    ],
)
def test_other_settings_are_said(changes: dict, warning: str) -> None:
    assert compared(make_results(1, 0.4), make_results(2, 0.4, **changes)).warnings == (warning,)


def test_what_may_differ_is_not_said() -> None:
    changes = {"versions": {"jax": "2"}, "mesh": {"data": 8}, "seconds": 3, "model": {"hidden": 1}}
    changes |= {"settings": {"Model.hidden": 1}, "config": "Train.run_dir = 'b'\n"}
    same = {"settings": {"Model.hidden": 2}, "config": "Train.run_dir = 'a'\n"}
    assert compared(make_results(1, 0.4, **same), make_results(2, 0.4, **changes)).warnings == ()
    settings = {"settings": {"Generate.max_new_tokens": 4}}
    (said,) = compared(make_results(1, 0.4), make_results(2, 0.4, **settings)).warnings
    assert said == "settings.Generate.max new tokens differs (A: not recorded; B: 4)"


def test_training_runs_differ_by_lines() -> None:
    first = make_results(1, 0.4, config="Train.steps = 6\nTrain.seed = 1\n\nLoader.length = 128\n")
    second = make_results(2, 0.4, config="Train.seed = 2\nLoader.length = 128\nOptimizer.decayed = 'a = b'\n")
    assert config_changes(compared(first, second).sources) == {
        "Train.steps": ("6", "–"),
        "Train.seed": ("1", "2"),
        "Optimizer.decayed": ("–", "'a = b'"),
    }
    alike = compared(first, make_results(2, 0.4, config=first.metadata["config"]))
    assert config_changes(alike.sources) == {}


def test_another_level_metric_prompt_or_reference_is_said() -> None:
    first, second = make_results(1, 0.4), make_results(2, 0.4)
    tasks = list(second.tasks)
    tasks[0] = dataclasses.replace(tasks[0], level="fully_supervised")
    tasks[1] = dataclasses.replace(tasks[1], metric="f1")
    predictions = list(second.predictions)
    last = len(predictions) - 1
    predictions[0] = dataclasses.replace(predictions[0], prompt="another")
    predictions[last] = dataclasses.replace(predictions[last], references=("another",))
    found = compared(first, dataclasses.replace(second, tasks=tuple(tasks), predictions=tuple(predictions)))
    total = len(predictions) - 60 - 1  # two templates of a task of another metric; one reference
    said = "\n".join(found.warnings)
    assert "1 tasks lie on another level in B" in said
    assert "their metric differs: bench:task1:zero_shot" in said
    assert "their references differ: 1 examples" in said
    assert f"1 of the {total:,} shared examples have another prompt" in said
    assert found.groups["bench:task0:zero_shot"][0] == "fully_held_out"
    assert "bench:task1:zero_shot" not in found.shared
    assert sum(map(len, found.shared.values())) == total


def test_an_example_that_comes_twice_is_compared_twice() -> None:
    results = make_results(1, 0.4)
    twice = dataclasses.replace(results, predictions=results.predictions + results.predictions[:5])
    assert sum(map(len, compared(twice, twice).shared.values())) == len(results.predictions) + 5
    assert sum(map(len, compared(twice, results).shared.values())) == len(results.predictions)


def test_facts_are_flat() -> None:
    nested = {"a": {"b": {"c": 1}}, "d": [1, 2], "e": "", "f": {}, "g": None, "h": False}
    assert flat_facts(nested) == {"a.b.c": "1", "d": "1, 2", "e": "–", "f": "–", "g": "–", "h": "False"}


def test_answers_that_are_one_question_count_once() -> None:
    """MultiRC's exact match: all answers of a question must be right."""
    tasks = tuple(
        dataclasses.replace(task, metric="question_accuracy")
        for task in make_results(1, 0.4).tasks
        if task.task == "task0"
    )

    def results(points: list[float]) -> Results:
        found = [one for one in make_results(1, 0.4).predictions if one.task == "bench:task0:zero_shot"]
        answers = [
            dataclasses.replace(one, example_id=f"question{number // 2}/{number % 2}", score=score)
            for number, (one, score) in enumerate(zip(found, points, strict=False))
        ]
        return Results({}, tasks, tuple(answers))

    found = compared(results([100.0, 0, 100, 100, 0, 0]), results([100.0, 100, 100, 100, 100, 0]))
    line = found.lines[-1]
    assert line.scores == pytest.approx((100 / 3, 200 / 3))
    assert (line.differences[0].worse, line.differences[0].better) == (0, 1)
    assert line.examples == 6
