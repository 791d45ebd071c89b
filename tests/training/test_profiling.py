"""Traces: the chosen steps are in the file, a signal asks for one, and a failure costs nothing else."""

from __future__ import annotations

import os
import signal

import jax
import pytest
from support.profiles import traced_steps

from iml_jax.foundation.errors import UserError
from iml_jax.training.profiling import STEP, Profiler, ProfilerConfig


@pytest.fixture
def said():
    return []


@pytest.fixture
def profiler_of(tmp_path, said):
    """``profiler_of(hosts=1, **fields)``; closed at the end, so that no trace outlives a test."""
    made = []

    def make(hosts=1, **fields):
        made.append(Profiler(ProfilerConfig(**fields), tmp_path, said.append, hosts))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(profiler, steps):
    """Steps with the annotation that ``Monitor.step`` puts around each."""
    update = jax.jit(lambda x: x @ x)
    x = jax.numpy.ones((8, 8))
    for step in steps:
        profiler.before(step)
        with jax.profiler.StepTraceAnnotation(STEP, step_num=step):
            result = update(x)
        profiler.after(step, result)


def test_the_chosen_steps_are_traced(profiler_of, tmp_path, said):
    run(profiler_of(first_step=3, steps=2), range(1, 7))
    assert traced_steps(tmp_path / "profile") == [3, 4]
    assert said == [f"trace of steps 3 to 4: {tmp_path / 'profile'}"]


def test_a_signal_traces_the_next_steps(profiler_of, tmp_path):
    profiler = profiler_of(steps=2)
    run(profiler, range(1, 3))
    assert not (tmp_path / "profile").exists()
    os.kill(os.getpid(), signal.SIGUSR1)
    run(profiler, range(3, 8))
    assert traced_steps(tmp_path / "profile") == [3, 4]


def test_with_several_hosts_a_signal_waits_until_all_have_heard(profiler_of, tmp_path):
    profiler = profiler_of(hosts=2, steps=1)
    os.kill(os.getpid(), signal.SIGUSR1)
    run(profiler, range(1, 4))
    assert not (tmp_path / "profile").exists()
    assert profiler.requested
    profiler.agree(True)  # as after a log line
    assert not profiler.requested
    run(profiler, range(4, 8))
    assert traced_steps(tmp_path / "profile") == [4]


def test_a_trace_that_cannot_begin_or_be_written_costs_one_line_and_no_step(profiler_of, said, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no\nprofiler here")

    with monkeypatch.context() as patch:
        patch.setattr(jax.profiler, "start_trace", refuse)
        run(profiler_of(first_step=1), range(1, 6))
    assert len(said) == 1
    assert "could not start the trace" in said[0]
    assert "no profiler here" in said[0]
    stop = jax.profiler.stop_trace
    with monkeypatch.context() as patch:
        patch.setattr(jax.profiler, "stop_trace", lambda: (stop(), refuse()))
        run(profiler_of(first_step=1, steps=2), range(1, 6))
    assert "could not write the trace" in said[1]
    run(profiler_of(first_step=1, steps=1), range(1, 3))  # and the next one works
    assert said[2].startswith("trace of steps 1 to 1")


def test_a_run_that_ends_inside_a_trace_still_writes_it(profiler_of, tmp_path, said):
    profiler = profiler_of(first_step=2, steps=100)
    run(profiler, range(1, 4))
    profiler.close()
    assert traced_steps(tmp_path / "profile") == [2, 3]
    assert said == [f"trace, cut short: {tmp_path / 'profile'}"]


def test_the_signal_is_given_back(profiler_of):
    before = signal.getsignal(signal.SIGUSR1)
    profiler = profiler_of()
    assert signal.getsignal(signal.SIGUSR1) != before
    profiler.close()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_directory_of_ones_own(profiler_of, tmp_path):
    run(profiler_of(first_step=1, steps=1, directory=str(tmp_path / "elsewhere")), [1])
    assert traced_steps(tmp_path / "elsewhere") == [1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("first_step", -1), ("steps", 0), ("host_tracer_level", 4), ("python_tracer_level", 2)],
)
def test_impossible_values_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"Profiler\.{name} = {value}"):
        ProfilerConfig(**{name: value})
