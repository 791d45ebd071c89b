"""Benchmarks' own metrics side by side."""

from __future__ import annotations

import dataclasses

import pytest
from support.compared_results import make_results

from iml_jax.evaluation.metrics import benchmark_metrics
from iml_jax.evaluation.pages import compare_benchmark_metrics, compare_page
from iml_jax.evaluation.pages.compare import ComparedEvaluation, Comparison, compare
from iml_jax.evaluation.results import Results


def _named(found: Results, benchmark: str, task: str) -> Results:
    """The first task under another name, with fewer examples than the file has."""
    first = dataclasses.replace(found.tasks[0], benchmark=benchmark, task=task)
    return Results(found.metadata, (first, *found.tasks[1:]), found.predictions)


def _compared(benchmark: str, task: str, skill: float = 0.9) -> Comparison:
    first, second = (_named(make_results(1, one), benchmark, task) for one in (0.3, skill))
    fewer = tuple(one for one in second.predictions if one.example_id != "0")
    return compare([
        ComparedEvaluation("A", "one", "a.json", first),
        ComparedEvaluation("B", "other", "b.json", Results(second.metadata, second.tasks, fewer)),
    ])  # fmt: skip


def test_over_the_shared_answers_with_an_interval() -> None:
    found = _compared("raft", "tweet_eval_hate")
    (line,) = compare_benchmark_metrics.lines(found)
    assert (line.task, line.metric, line.answers) == (found.sources[0].results.tasks[0].name, "macro_f1", 29)
    for model in (0, 1):
        answers = [one.answers[model] for one in found.shared[line.task]]
        assert line.scores[model] == benchmark_metrics.compute("raft", "tweet_eval_hate", answers)["macro_f1"]
    ((low, high),) = line.intervals  # type: ignore[misc]
    assert 0 < low < line.scores[1] - line.scores[0] < high
    # Equal models differ by nothing, however the examples are drawn: both have the same ones.
    (same,) = compare_benchmark_metrics.lines(_compared("raft", "tweet_eval_hate", 0.3))
    assert same.intervals == ((0.0, 0.0),)


def test_no_interval_where_examples_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = compare_benchmark_metrics.lines(_compared("t5", "wmt_t2t_ende_v003"))
    assert (line.metric, line.intervals) == ("bleu", (None,))
    monkeypatch.setattr(compare_benchmark_metrics, "MOST", 28)
    (line,) = compare_benchmark_metrics.lines(_compared("raft", "tweet_eval_hate"))
    assert line.intervals == (None,)


def test_the_page_shows_them_and_nothing_where_there_are_none() -> None:
    page = compare_page.render(_compared("raft", "tweet_eval_hate"), per_task=2)
    part = page.partition("id='others'")[2].partition("</section>")[0]
    assert "macro_f1" in part
    assert part.count("<tr class='row") == 1
    assert part.count("class='n strong'") == 1  # the difference is clear
    assert "id='others'" not in compare_page.render(_compared("bench", "task0"), per_task=2)
