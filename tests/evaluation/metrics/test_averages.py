"""The table of averages: shots apart, summaries 0-shot only, intervals that belong to their cells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iml_jax.evaluation.metrics import averages, levels
from iml_jax.evaluation.results import Prediction, TaskScore, TemplateScore


def task(key: str, variant: str, score: float, category: str, level: str = "fully_held_out") -> TaskScore:
    benchmark, _, name = key.partition(":")
    return TaskScore(
        name=f"{key}:{variant}", benchmark=benchmark, task=name, category=category, level=level,
        metric="accuracy", split="test", score=score, templates={"": TemplateScore(score, 1)},
        constant_score=1.0, constant_answer="", examples=1, truncated=0, unfinished=0, dropped={},
    )  # fmt: skip


TASKS = (
    task("a:x", "zero_shot", 10.0, "X"),
    task("a:x", "five_shot", 40.0, "X"),
    task("a:s", "zero_shot", 20.0, "Summarization"),
    task("a:s", "five_shot", 90.0, "Summarization"),
    task("b:y", "zero_shot", 60.0, "Y", "fully_supervised"),
)


def test_shots_stand_apart_and_few_shot_summaries_do_not_count() -> None:
    found = averages.table(TASKS)
    assert found.titles == ("0-shot", "5-shot")
    values = {
        row.label: (
            [row.cells[name].value if name in row.cells else None for name in found.variants],
            row.score.value,
        )
        for row in found.rows
    }
    assert values == {
        "Fully held out": ([15.0, 40.0], 27.5),
        "Summarization": ([20.0, 90.0], 20.0),
        "X": ([10.0, 40.0], 25.0),
        "Fully supervised": ([60.0, None], 60.0),
        "Y": ([60.0, None], 60.0),
        "Selection score": ([30.0, 40.0], 35.0),
        "a": ([15.0, 40.0], 27.5),
        "b": ([60.0, None], 60.0),
    }
    summaries = found.rows[1]
    assert (summaries.cells["zero_shot"].counted, summaries.cells["five_shot"].counted) == (True, False)
    assert summaries.cells["five_shot"].text == "[90.0]"
    assert levels.selection_score(TASKS) == 35.0
    assert levels.level_metrics(TASKS)["fully_held_out_five_shot"] == 40.0


def test_few_shot_summaries_alone_are_still_shown() -> None:
    found = averages.table(TASKS[3:4])
    assert [row.score.value for row in found.rows] == [90.0] * 3
    with pytest.raises(ValueError, match="nothing"):
        averages.table([])


def test_every_interval_holds_its_mean_and_follows_the_weights() -> None:
    rng = np.random.default_rng()
    tasks, predictions = [], []
    for one in TASKS:
        points = rng.uniform(0, 100, 200)
        tasks.append(dataclasses.replace(one, score=float(points.mean())))
        predictions += [
            Prediction(one.name, str(number), "", "", "", ("",), (), (), float(value), 0)
            for number, value in enumerate(points)
        ]
    found = averages.table(tasks, predictions)
    for row in found.rows:
        for cell in (*row.cells.values(), row.score):
            assert cell.interval is not None
            low, high = cell.interval.ends
            assert low < cell.value < high
            assert f"({low:.1f}..{high:.1f})" in cell.text
    # 200 uniform points: standard error 100 / sqrt(12 * 200), and two such cells' mean is surer.
    width, other = (np.diff(found.rows[n].cells["zero_shot"].interval.ends)[0] for n in (2, 0))
    assert width == pytest.approx(2 * 1.96 * 100 / np.sqrt(12 * 200), rel=0.25)
    assert other < width
    assert averages.table(tasks).rows[0].score.interval is None


def test_spread_over_templates() -> None:
    assert levels.template_spread({"": TemplateScore(5.0, 1)}) is None
    spread = levels.template_spread(
        {"a": TemplateScore(10.0, 1), "b": TemplateScore(20.0, 9), "c": TemplateScore(60.0, 1)}
    )
    assert spread == levels.TemplateSpread(10.0, 60.0, pytest.approx(np.std([10, 20, 60])))
