"""The ledger: sums over processes, lost steps, idle time, torn files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.training import goodput
from iml_jax.training.goodput import IDLE, LEDGER, REDONE, STEPS, SUMMARY, Ledger, Totals, read
from iml_jax.training.timeline import Account


class World:
    """A wall clock, and a process clock that begins elsewhere."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return 1.7e9 + self.now

    def clock(self) -> float:
        return self.now - 900


@pytest.fixture
def world():
    return World()


def ledger(folder, world, resumed=0):
    return Ledger(folder, resumed, world.clock(), world.clock, world.wall)


def account(world, seconds, steps=()):
    """So much time passes, and is accounted for."""
    world.now += sum(seconds.values()) + sum(each for _, each in steps)
    return Account(seconds, list(steps), world.clock())


def test_one_process(tmp_path, world):
    book = ledger(tmp_path, world)
    book.add(account(world, {"start-up": 3.0, "compilation": 2.0}))
    book.add(account(world, {"data": 1.0}, [(1, 2.0), (2, 2.0)]))
    book.close(done=True)
    totals = read(tmp_path)
    assert totals.seconds == {"start-up": 3.0, "compilation": 2.0, "data": 1.0, STEPS: 4.0}
    assert totals.goodput == pytest.approx(0.4)
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert summary["goodput"] == pytest.approx(0.4)
    assert summary["wall_seconds"] == 10
    assert (summary["steps_kept"], summary["steps_redone"], summary["processes"]) == (2, 0, 1)
    assert "goodput 40.0% of 10.0 s in 1 process" in totals.line()
    assert "start-up 30.0" in totals.line()


def test_steps_done_again_and_the_pause_between_processes_are_lost(tmp_path, world):
    book = ledger(tmp_path, world)
    book.add(account(world, {}, [(step, 1.0) for step in range(1, 5)]))
    book.add(account(world, {}, [(step, 2.0) for step in range(5, 9)]))
    del book  # killed after step 8; the newest checkpoint is of step 6
    world.now += 30
    book = ledger(tmp_path, world, resumed=6)
    book.add(account(world, {"restoring": 2.0}, [(7, 2.0), (8, 2.0), (9, 2.0)]))
    totals = read(tmp_path)
    assert totals.seconds == {STEPS: 4 + 4 + 6, REDONE: 4.0, IDLE: 30.0, "restoring": 2.0}
    assert totals.redone == 2
    assert totals.as_json()["steps_kept"] == 9
    assert book.totals.seconds == totals.seconds  # what the process knows is what the file says
    assert "redone 8.0 (2 steps)" in totals.line()
    assert "in 2 processes" in totals.line()


def test_a_step_lost_twice_is_charged_twice_but_never_the_same_seconds(tmp_path, world):
    for _ in range(3):  # each dies after step 4, having saved nothing
        book = ledger(tmp_path, world)
        book.add(account(world, {}, [(step, 1.0) for step in range(1, 5)]))
    totals = read(tmp_path)
    assert totals.seconds[STEPS] == pytest.approx(4)
    assert totals.seconds[REDONE] == pytest.approx(8)
    assert totals.goodput == pytest.approx(1 / 3)


def test_a_run_that_is_done_does_not_idle(tmp_path, world):
    book = ledger(tmp_path, world)
    book.add(account(world, {}, [(1, 5.0)]))
    book.close(done=True)
    world.now += 1e6
    ledger(tmp_path, world, resumed=1).close(done=True)
    assert read(tmp_path).wall == pytest.approx(5)


def test_a_run_cut_off_by_an_error_goes_on_idling(tmp_path, world):
    book = ledger(tmp_path, world)
    book.add(account(world, {}, [(1, 5.0)]))
    book.close(done=False)
    world.now += 5
    ledger(tmp_path, world, resumed=1)
    assert read(tmp_path).seconds[IDLE] == pytest.approx(5)


def test_a_torn_line_and_a_strange_one_are_passed_over(tmp_path, world):
    book = ledger(tmp_path, world)
    book.add(account(world, {}, [(1, 5.0)]))
    path = tmp_path / LEDGER
    path.write_text(path.read_text() + '[1]\n{"note": "later version"}\n{"until": 1.7e9, "ste')
    assert read(tmp_path).seconds == {STEPS: 5.0}
    again = ledger(tmp_path, world, resumed=1)  # ends the torn line before it writes its own
    again.add(account(world, {"saving": 1.0}))
    assert read(tmp_path).seconds == {STEPS: 5.0, "saving": 1.0}
    assert read(tmp_path).processes == 2
    assert read(tmp_path).damaged == 2  # a line of a later version is none


@pytest.mark.parametrize(
    "line",
    [
        '{"until": NaN, "steps": null, "seconds": {}}',
        '{"until": 1.7e9, "steps": [2, 1, 3.0], "seconds": {}}',
        '{"until": 1.7e9, "steps": [1, 1e400, 3.0], "seconds": {}}',
        '{"until": 1.7e9, "steps": [1, 2, "3"], "seconds": {}}',
        '{"until": 1.7e9, "steps": null, "seconds": {"saving": -1}}',
        '{"until": 1.7e9, "steps": null, "seconds": [["saving", 1]]}',
        '{"begin": 1.7e9, "resumed": true}',
        '{"begin": ' + 5000 * "[",
        "\x00" * 100,
    ],
)
def test_a_line_that_no_process_wrote_changes_no_sum(tmp_path, world, line):
    book = ledger(tmp_path, world)
    book.add(account(world, {"data": 1.0}, [(1, 5.0)]))
    wanted = read(tmp_path)
    with (tmp_path / LEDGER).open("a") as file:
        file.write(line + "\n")
    found = read(tmp_path)
    assert found.damaged == 1
    assert found.as_json() == wanted.as_json()
    assert found.ended == wanted.ended


def test_a_restart_costs_what_it_loses_and_not_what_the_run_has_done(tmp_path, world):
    """As many stretches are touched as a restart loses, however long the run is; sums as from all of them."""
    rng = np.random.default_rng()
    totals, plain, touched = Totals(), [], 0
    lost = 0.0
    step = 0
    for _ in range(60):
        resumed = max(0, step - int(rng.integers(0, 12)))
        before = len(totals.stretches)
        totals.begin(1.7e9, resumed)
        touched += before - len(totals.stretches)
        for number, (first, last, seconds) in enumerate(plain):
            again = max(0, last - max(resumed, first - 1))
            lost += seconds * again / (last - first + 1)
            plain[number] = (first, last - again, seconds * (1 - again / (last - first + 1)))
        plain = [one for one in plain if one[1] >= one[0]]
        step = resumed
        for _ in range(int(rng.integers(0, 9))):
            stretch = (step + 1, step + int(rng.integers(1, 5)), float(rng.random()))
            step = stretch[1]
            plain.append(stretch)
            totals.account({}, stretch, 1.7e9)
    np.testing.assert_allclose(totals.stretches, plain)
    assert totals.seconds[REDONE] == pytest.approx(lost)
    assert totals.seconds[STEPS] == pytest.approx(sum(seconds for _, _, seconds in plain))
    assert touched < 60 * 12


def test_a_fifo_in_the_place_of_the_ledger_is_one_line(tmp_path, world):
    os.mkfifo(tmp_path / LEDGER)
    with pytest.raises(UserError, match="a FIFO, not a regular file"):
        ledger(tmp_path, world)


def test_a_process_that_began_before_the_last_one_ended_makes_no_negative_pause(tmp_path, world):
    early = world.clock()
    book = ledger(tmp_path, world)
    book.add(account(world, {}, [(1, 5.0)]))
    Ledger(tmp_path, 1, early, world.clock, world.wall)
    assert read(tmp_path).seconds == {STEPS: 5.0}


def test_the_line_leaves_out_trifles_but_never_lost_work(tmp_path, world):
    book = ledger(tmp_path, world)
    book.add(account(world, {"compilation": 1e5, "data": 1.0}, [(1, 1.0), (2, 1.0)]))
    line = ledger(tmp_path, world, resumed=1).totals.line()
    assert "data" not in line
    assert "redone 0.0 (1 steps)" in line


def test_nothing_yet(tmp_path):
    totals = read(tmp_path)
    assert (totals.wall, totals.goodput) == (0, 0)
    assert Totals().as_json()["steps_kept"] == 0


def test_the_age_of_this_process_is_plausible():
    age = goodput.process_age()
    assert 0 < age < 1e6
