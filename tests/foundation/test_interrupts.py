"""Ctrl-C, sent to real processes: one line, status 130, no traceback; the second ends them at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iml_jax.foundation import interrupts

ROOT = Path(__file__).parents[2]
PROCESS = """
import ctypes, signal, sys, threading, time
from iml_jax import cli
def ready():
    print("ready", flush=True)
def stuck():
    # A lock taken twice: like a compilation, no signal wakes the main thread.
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
def wait():
    ready(); time.sleep(60)
{}
cli._dispatch = command
signal.signal(signal.SIGINT, signal.{})
status = cli.main()
print("returned", flush=True)
sys.exit(status)
"""
WAITS = "def command(arguments): wait()"
ENDS = "def command(arguments): ready(); threading.Thread(target=time.sleep, args=(60,)).start()"
STUCK = "def command(arguments): threading.Timer(0.3, ready).start(); stuck()"
LEAVES_SLOWLY = """
def command(arguments):
    try:
        wait()
    finally:
        ready(); stuck()
"""
IN_A_FINALIZER = """
class Leaving:
    def __del__(self):
        wait()
def command(arguments):
    one = Leaving()
    del one
    time.sleep(60)
"""
BECOMES_ANOTHER = """
def command(arguments):
    try:
        wait()
    except BaseException as error:
        raise RuntimeError("the callback failed") from error
"""
MEANWHILE_FULL = """
from iml_jax.foundation.errors import Fault
def command(arguments):
    try:
        wait()
    finally:
        raise Fault("the disk is full")
"""


def start(command, handler="default_int_handler"):
    """The process, once it is ready. What it makes of Ctrl-C at first depends on its parent."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS.format(command, handler)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ends(process):
    try:
        said = process.communicate(timeout=50)[1]
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (WAITS, "interrupted"),
        (IN_A_FINALIZER, "interrupted"),
        (BECOMES_ANOTHER, "interrupted"),
        (MEANWHILE_FULL, "interrupted: the disk is full"),
    ],
)
def test_one_is_one_line(command, line):
    process = start(command)
    process.send_signal(signal.SIGINT)
    assert ends(process) == (130, f"iml: {line}\n")


def test_the_second_ends_what_leaves_slowly():
    process = start(LEAVES_SLOWLY)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert ends(process) == (130, "iml: interrupted\n")


def test_while_the_main_thread_does_not_come_back():
    process = start(STUCK)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == f"iml: {interrupts.WAITING}\n"
    process.send_signal(signal.SIGINT)
    assert ends(process) == (130, "")


def test_the_second_ends_what_waits_for_its_threads():
    process = start(f"{WAITS}\nthreading.Thread(target=time.sleep, args=(60,)).start()")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "iml: interrupted\n"
    process.send_signal(signal.SIGINT)
    assert ends(process) == (130, "")


def test_at_the_very_end_there_is_no_traceback():
    process = start(ENDS)
    assert process.stdout.readline() == "returned\n"
    process.send_signal(signal.SIGINT)
    assert ends(process) == (-signal.SIGINT, "")


def test_a_job_in_the_background_ignores_it():
    process = start("def command(arguments): ready(); time.sleep(1)", "SIG_IGN")
    process.send_signal(signal.SIGINT)
    assert ends(process) == (0, "")


def test_in_another_process_or_afterwards_all_is_as_before(request):
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, inherited))
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with interrupts.listening(to_the_end=False) as heard:
        assert signal.getsignal(signal.SIGINT) == heard.handle
        with interrupts.listening(to_the_end=False):  # somebody listens already
            assert signal.getsignal(signal.SIGINT) == heard.handle
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    assert signal.set_wakeup_fd(-1) == -1
