"""The watchdog with a clock of our own: stacks when a step stalls, silence otherwise."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.training.watchdog import Watchdog, WatchdogConfig


class World:
    """A clock, what the process does, and what was said."""

    def __init__(self, folder, config) -> None:
        self.now, self.doing, self.said, self.left = 0.0, ("step 7", True), [], []
        self.folder = folder
        (folder / "config.gin").write_text("")
        self.dog = Watchdog(
            config,
            folder,
            3,
            lambda: self.doing,
            log=self.said.append,
            clock=lambda: self.now,
            leave=self.left.append,
        )

    def look(self, at):
        self.now = at
        self.dog.look()
        return len(self.said)

    @property
    def stacks(self):
        path = self.folder / "stacks.3.txt"
        return path.read_text() if path.exists() else ""


def hangs_here(release):
    release.wait(30)


def test_a_stalled_step_shows_every_threads_stack_once_and_again_when_it_has_doubled(tmp_path):
    world = World(tmp_path, WatchdogConfig(seconds=100))
    release = threading.Event()
    thread = threading.Thread(target=hangs_here, args=(release,))
    thread.start()
    try:
        assert world.look(99) == 0
        assert world.stacks == ""
        assert world.look(100) == 1
        assert "host 3: step 7 has not ended for 100 s" in world.said[0]
        assert "stacks.3.txt" in world.said[0]
        assert "hangs_here" in world.stacks  # the other thread
        assert "test_a_stalled_step" in world.stacks  # this one
        assert world.look(199) == 1
        assert world.look(200) == 2
        assert world.look(399) == 2
        assert world.look(400) == 3
        assert world.stacks.count("in step 7") == 3
    finally:
        release.set()
        thread.join()


def test_a_step_that_ends_begins_anew(tmp_path):
    world = World(tmp_path, WatchdogConfig(seconds=100))
    for step in range(20):
        assert world.look(60 * step) == 0
        world.dog.beat()
    world.look(60 * 19 + 150)
    assert len(world.said) == 1
    world.dog.beat()
    world.look(world.now + 99)
    assert len(world.said) == 1
    world.look(world.now + 1)
    assert len(world.said) == 2


def test_evaluation_saving_and_compilation_have_a_limit_of_their_own(tmp_path):
    world = World(tmp_path, WatchdogConfig(seconds=100, other_seconds=1000))
    world.doing = ("evaluation after step 6", False)
    assert world.look(999) == 0
    assert world.look(1000) == 1
    assert "evaluation after step 6 has not ended for 1000 s" in world.said[0]


def test_it_ends_the_process_only_when_told_to(tmp_path):
    patient = World(tmp_path, WatchdogConfig(seconds=10))
    for at in (10, 20, 1e6):
        patient.look(at)
    assert patient.left == []
    world = World(tmp_path, WatchdogConfig(seconds=10, exit_after=50))
    world.look(12)
    world.look(61)
    assert world.left == []
    world.look(62)
    assert world.left == [1]
    assert "ends itself after 62 s" in world.said[-1]


def test_it_leaves_a_directory_alone_that_is_no_run_yet(tmp_path):
    world = World(tmp_path, WatchdogConfig(seconds=10))
    (tmp_path / "config.gin").unlink()
    assert world.look(10) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["seconds", "other_seconds", "exit_after"])
def test_impossible_limits_are_refused_by_name(name):
    with pytest.raises(UserError, match=rf"Watchdog\.{name} = -1"):
        WatchdogConfig(**{name: -1})
    with pytest.raises(UserError, match=rf"Watchdog\.{name} = nan"):
        WatchdogConfig(**{name: float("nan")})


def test_zero_seconds_start_no_thread(tmp_path):
    dog = Watchdog(WatchdogConfig(seconds=0), tmp_path, 0, lambda: ("", True), log=print)
    before = threading.active_count()
    dog.start()
    assert threading.active_count() == before
    dog.close()


def test_a_process_that_hangs_writes_its_stacks_to_stderr_and_ends():
    """A real thread, a real clock, a real exit."""
    program = """
        import sys, time
        from pathlib import Path
        from iml_jax.training.watchdog import Watchdog, WatchdogConfig
        dog = Watchdog(WatchdogConfig(seconds=0.2, exit_after=0.2), Path("/nowhere"), 0,
                       lambda: ("step 1", True), log=lambda text: print(text, file=sys.stderr, flush=True))
        dog.start()
        def never():
            time.sleep(600)
        never()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "host 0: step 1 has not ended for" in done.stderr
    assert "in never" in done.stderr
    assert "ends itself" in done.stderr
