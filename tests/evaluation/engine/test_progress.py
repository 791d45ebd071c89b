"""One bar over the whole evaluation; lines at intervals in a log."""

from __future__ import annotations

from iml_jax.evaluation.engine.progress import SECONDS, Meter


def run(prompts: int, step: int, seconds: float, *, before: int = 0, tasks: int = 4) -> list[str]:
    """The lines of an evaluation that does ``step`` prompts in every ``seconds``."""
    said: list[str] = []
    now = 0.0
    with Meter(said.append, prompts=prompts, tasks=tasks, clock=lambda: now) as meter:
        meter.resume(before)
        for done in range(before, prompts, step):
            now += seconds
            meter.finished(tasks * done // prompts)
            meter.advance(min(step, prompts - done))
    return said


def test_a_line_for_every_tenth_of_the_whole() -> None:
    said = run(200_000, 32, 0.001)
    assert len(said) == 10
    assert said[0] == "evaluation: 20,000 of 200,000 prompts, 0 of 4 tasks, 0:00:06 left"
    assert said[-1] == "evaluation: 200,000 of 200,000 prompts, 4 of 4 tasks"


def test_and_one_after_some_time_where_a_tenth_is_long() -> None:
    said = run(1000, 1, SECONDS / 2)
    assert len(said) == 500
    assert said[0] == "evaluation: 2 of 1,000 prompts, 0 of 4 tasks, 8:19:00 left"


def test_time_left_is_that_of_this_process() -> None:
    """What was answered before the kill took no time."""
    said = run(100, 1, 1.0, before=80)
    assert said == [
        "evaluation: 90 of 100 prompts, 3 of 4 tasks, 0:00:10 left",
        "evaluation: 100 of 100 prompts, 4 of 4 tasks",
    ]


def test_without_tasks_only_prompts_are_counted() -> None:
    assert run(10, 10, 1.0, tasks=0) == ["evaluation: 10 of 10 prompts"]
