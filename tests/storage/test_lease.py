"""Leases between real processes: refused, replaced when the holder died or hung, never held by two."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import conditional, holders, lease
from iml_jax.storage.conditional import ConditionalFile

PROGRAM = Path(__file__).parents[1] / "support" / "lease_process.py"
BEAT, TTL = 0.1, 0.7


@contextlib.contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def say_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def go(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def refuse(text: str) -> NoReturn:
    raise AssertionError(f"nothing is to be said: {text}")


def record_of(path: Path, **changes: object) -> bytes:
    """The record of a holder that differs from a living one in the given fields."""
    holder = json.loads(holders.this_process(TTL).line())
    return (json.dumps(holder | changes) + "\n").encode() + b"000000000007\n"


def test_second_holder_is_refused_by_host_pid_time_and_file(tmp_path: Path) -> None:
    path = tmp_path / "made/run[1]/.training.lease"
    with process(path) as first:
        assert say_line(first) == "held"
        with pytest.raises(UserError) as refused, lease.hold(path, "the run R", log=refuse):
            pass
        text = str(refused.value)
        record = json.loads(path.read_bytes().splitlines()[0])
        assert text.startswith("the run R is in use: host ")
        assert f"host {record['host']}, pid {first.pid}, since {record['since']} ({path})" in text
        go(first)
        assert say_line(first) == "written"
        first.wait()
    assert list(path.parent.iterdir()) == []
    with lease.hold(path, "the run R", log=refuse) as held:
        held.check()
    assert list(path.parent.iterdir()) == []


def test_killed_holder_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    with process(path) as first:
        assert say_line(first) == "held"
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert path.exists()
        with lease.hold(path, "it", log=refuse) as held:
            held.check()
    assert list(tmp_path.iterdir()) == []


def test_killed_holder_that_nobody_waited_for_is_replaced_at_once(tmp_path: Path) -> None:
    with process(tmp_path / ".lease") as first:
        assert say_line(first) == "held"
        first.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # still a zombie
        with lease.hold(tmp_path / ".lease", "it", log=refuse):
            pass


def test_paused_holder_loses_it_and_does_not_write(tmp_path: Path) -> None:
    path, said = tmp_path / ".lease", []
    with process(path, BEAT, TTL) as first:
        assert say_line(first) == "held"
        first.send_signal(signal.SIGSTOP)
        time.sleep(2 * TTL)  # until the file looks old: before, a process that runs is refused at once
        with lease.hold(path, "it", beat=BEAT, ttl=TTL, log=said.append) as held:
            first.send_signal(signal.SIGCONT)
            go(first)
            answer = say_line(first)
            assert answer.startswith("Fault: ")
            assert f"pid {os.getpid()}, since " in answer
            assert answer.endswith("took it over); nothing more is written")
            held.check()
            first.wait()
            held.check()  # what it did when it ended did not touch ours
    assert len(said) == 1
    assert "watching for up to 1 s" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_paused_holder_that_nobody_replaced_goes_on(tmp_path: Path) -> None:
    with process(tmp_path / ".lease", BEAT, TTL) as first:
        assert say_line(first) == "held"
        first.send_signal(signal.SIGSTOP)
        time.sleep(2 * TTL)
        first.send_signal(signal.SIGCONT)
        go(first)
        assert say_line(first) == "written"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "elsewhere"},
        {"place": "another boot"},  # the same name and pid after a restart of the container or machine
        {"place": ""},
        {"started": ""},
    ],
    ids=str,
)
def test_holder_out_of_sight_is_replaced_after_its_time(tmp_path: Path, changes: dict[str, str]) -> None:
    path, said = tmp_path / ".lease", []
    path.write_bytes(record_of(path, **changes))
    began = time.monotonic()
    with lease.hold(path, "it", beat=BEAT, ttl=TTL, log=said.append):
        assert time.monotonic() - began >= TTL
    assert len(said) == 1
    assert str(path) in said[0]


def test_reused_pid_is_not_the_holder(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    path.write_bytes(record_of(path, pid=os.getppid(), started="1"))
    with lease.hold(path, "it", log=refuse):
        pass


def test_living_holder_of_another_host_is_refused_when_it_beats(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    path.write_bytes(record_of(path, host="elsewhere"))
    stop = threading.Event()

    def beat() -> None:
        for number in range(8, 10**6):
            if stop.wait(BEAT):
                return
            path.write_bytes(record_of(path, host="elsewhere").partition(b"\n")[0] + b"\n%012d\n" % number)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UserError, match="host elsewhere, pid"), lease.hold(path, "it", log=str):
            pass
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]\n", b'{"pid": true}\n', b"[" * 4000, b"0" * 10**5]
)
def test_damaged_record_is_watched_like_any_other(tmp_path: Path, content: bytes) -> None:
    path, said = tmp_path / ".lease", []
    path.write_bytes(content)
    with lease.hold(path, "it", beat=BEAT, ttl=TTL, log=said.append) as held:
        held.check()
    assert "unknown process" in said[0]


def test_record_prints_nothing_to_the_terminal_but_text(tmp_path: Path) -> None:
    path, said = tmp_path / ".lease", []
    path.write_bytes(record_of(path, host="\x1b[31mred\n"))
    with lease.hold(path, "it", beat=BEAT, ttl=TTL, log=said.append):
        pass
    assert said[0].isprintable()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("dead", [False, True])
def test_one_of_eight_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, dead: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_link)
    context = multiprocessing.get_context("fork")
    rounds = 40
    barrier, wins = context.Barrier(8, timeout=120), context.SimpleQueue()
    workers = [
        context.Process(target=_race, args=(tmp_path, rounds, dead, barrier, wins), daemon=True)
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    won = [wins.get() for _ in range(8)]
    for worker in workers:
        worker.join()
    assert [sum(column) for column in zip(*won, strict=True)] == [1] * rounds
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def _no_link(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EPERM, "no hard links here")


def _race(folder: Path, rounds: int, dead: bool, barrier, wins) -> None:  # type: ignore[no-untyped-def]
    mine: list[int] = []
    try:
        for number in range(rounds):
            path = folder / f"{number}.lease"
            if barrier.wait() == 0 and dead:
                path.write_bytes(record_of(path, pid=os.getppid(), started="1"))
            barrier.wait()
            try:
                with lease.hold(path, "it", log=refuse) as held:
                    mine.append(1)
                    barrier.wait()
                    with contextlib.suppress(Fault):
                        held.check()
            except UserError:
                mine.append(0)
                barrier.wait()
    finally:
        wins.put(mine)


def test_forked_child_neither_beats_nor_releases(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    with lease.hold(path, "it") as held:
        child = multiprocessing.get_context("fork").Process(target=_check_and_release, args=(held,))
        child.start()
        child.join()
        assert child.exitcode == 0
        held.check()


def _check_and_release(held: lease.Lease) -> None:
    held.check()
    held.release()
    held.check()
    assert not any(thread.name == "lease" for thread in threading.enumerate())


def test_heartbeat_does_not_keep_a_process_alive(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from iml_jax.storage import lease\n"
        "held = lease.hold(Path(sys.argv[1]), 'it'); held.__enter__()"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / ".lease")], timeout=60, check=True)


def test_deleted_folder_is_a_loss_and_comes_back_by_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with lease.hold(folder / ".lease", "it", beat=BEAT, ttl=TTL) as held:
        (folder / ".lease").unlink()
        folder.rmdir()
        time.sleep(2 * BEAT)
        with pytest.raises(Fault, match="its file is gone"):
            held.check()
    assert not folder.exists()


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(UserError, match=r"file/\.lease: cannot be written"),
        lease.hold(tmp_path / "file/.lease", "it"),
    ):
        pass
    monkeypatch.setattr(Path, "write_bytes", _fails(errno.EROFS))
    with pytest.raises(UserError, match="Read-only"), lease.hold(tmp_path / "new/.lease", "it"):
        pass
    monkeypatch.setattr(Path, "write_bytes", _fails(errno.ENOSPC))
    with pytest.raises(Fault, match="No space left"), lease.hold(tmp_path / "new/.lease", "it"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def _fails(number: int):  # type: ignore[no-untyped-def]
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_lease_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".lease"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"\.lease: cannot be written"), lease.hold(path, "it"):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == [".lease"]


def test_full_disk_while_it_is_held_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lease"
    with lease.hold(path, "it", beat=BEAT, ttl=TTL) as held:
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", _fails(errno.ENOSPC))
            full.setattr(Path, "write_bytes", _fails(errno.ENOSPC))
            time.sleep(2 * BEAT)
            held.check()
            held.release()  # needs no room
        assert not path.exists()
        with pytest.raises(Fault, match="not held any more"):
            held.check()


def test_fewer_than_six_beats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="6 beats"), lease.hold(tmp_path / "a", "it", beat=10, ttl=59):
        pass


def test_beat_and_take_over_see_each_other(tmp_path: Path) -> None:
    """Whichever comes second of a rewrite and a replacement of what was read before it, it gives up."""
    file = ConditionalFile(tmp_path / ".lease")
    first = file.create(b"a\n1\n")
    assert first is not None
    assert file.create(b"b\n1\n") is None
    beaten = file.replace(b"a\n2\n", first)
    assert beaten is not None
    assert file.replace(b"b\n1\n", first) is None
    assert file.replace(b"b\n1\n", beaten) is not None
    assert file.replace(b"a\n3\n", beaten) is None
    assert not file.delete(beaten)
    assert [path.name for path in tmp_path.iterdir()] == [".lease"]
    assert (tmp_path / ".lease").read_bytes() == b"b\n1\n"


def test_killed_in_the_midst_of_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A successor that won its name and was killed before the rename blocks nobody."""
    path = tmp_path / ".lease"
    old = record_of(path, pid=os.getppid(), started="1")
    path.write_bytes(old)
    pending = ConditionalFile(path)._successor(old)
    pending.write_bytes(record_of(path, pid=os.getppid(), started="2"))
    with lease.hold(path, "it", beat=BEAT, ttl=TTL, log=refuse):  # its process has ended
        pass
    monkeypatch.setattr(conditional, "_PENDING_SECONDS", 0.3)
    path.write_bytes(old)
    pending.write_bytes(record_of(path, host="elsewhere"))
    with lease.hold(path, "it", beat=BEAT, ttl=TTL, log=refuse):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lost_answer_of_a_link_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        real(source, target)  # NFS repeats a request whose answer was lost

    monkeypatch.setattr(os, "link", link)
    with lease.hold(tmp_path / ".lease", "it", log=refuse) as held:
        held.check()
    assert list(tmp_path.iterdir()) == []
