"""Processes for tests, forked from one that has imported the libraries: each saves about 4 s of imports.

``Child`` starts a program as ``subprocess.Popen`` would. Unlike in a fresh interpreter, the modules of
``PRELOADED`` are imported already, and jax's variables (``JAX_...``) are applied afterwards. Tests of what a
process imports, or of its very start, take ``subprocess``.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import importlib
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

PRELOADED = (
    *("jax", "flax.linen", "optax", "orbax.checkpoint", "grain", "tensorstore", "safetensors.numpy"),
    *("iml_jax.cli", "iml_jax.commands.train", "iml_jax.commands.evaluate", "iml_jax.commands.generate"),
    *("iml_jax.commands.convert", "iml_jax.commands.report", "iml_jax.training.loop"),
    *("iml_jax.evaluation.engine.runner", "iml_jax.evaluation.engine.generation"),
    *("iml_jax.checkpoints.huggingface", "iml_jax.bench.preparing", "iml_jax.bench.caching"),
)
IML = "import sys\nfrom iml_jax.cli import main\nsys.exit(main())"  # the program `iml`


@dataclasses.dataclass(frozen=True)
class Completed:
    """A program that has ended: its exit status (negative: the signal) and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Child:
    """A running program; a context manager that kills it at the end.

    Args:
      code: the program, as of ``python -c``.
      arguments: ``sys.argv[1:]``.
      env: its environment; ``os.environ`` by default.
      merged: standard error goes to standard output.
    """

    def __init__(
        self,
        code: str,
        arguments: Sequence[Any] = (),
        *,
        env: Mapping[str, str] | None = None,
        merged: bool = False,
    ) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        out, out_write = os.pipe()
        error, error_write = (None, out_write) if merged else os.pipe()
        request = {
            "code": code,
            "argv": ["-c", *map(str, arguments)],
            "env": dict(os.environ if env is None else env),
            "cwd": str(Path.cwd()),
        }
        payload = json.dumps(request).encode()
        socket.send_fds(self._connection, [len(payload).to_bytes(8, "big")], [out_write, error_write])
        self._connection.sendall(payload)
        for descriptor in {out_write, error_write}:
            os.close(descriptor)
        self._replies = self._connection.makefile("r")
        self.pid = int(self._replies.readline())
        self.stdout: TextIO = os.fdopen(out, encoding="utf-8", errors="backslashreplace")
        self.stderr: TextIO | None = None if error is None else os.fdopen(error, encoding="utf-8")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status once the program has ended."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end.

        Raises:
          subprocess.TimeoutExpired: it is still running.
        """
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
        return status

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return None
            self.returncode = int(self._replies.readline() or 70)  # empty: the server has died
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Reads both streams to their ends and waits for the program's end."""
        read: dict[str, str] = {"out": "", "error": ""}

        def drain(name: str, stream: TextIO) -> None:
            read[name] = stream.read()

        streams = {"out": self.stdout, **({"error": self.stderr} if self.stderr else {})}
        threads = [threading.Thread(target=drain, args=pair, daemon=True) for pair in streams.items()]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join(timeout)
        return read["out"], read["error"]

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        for stream in (self.stdout, self.stderr, self._replies, self._connection):
            if stream is not None:
                stream.close()


def run(
    code: str, arguments: Sequence[Any] = (), *, env: Mapping[str, str] | None = None, timeout: float = 600.0
) -> Completed:
    """Runs a program to its end, as ``subprocess.run(..., capture_output=True, text=True)`` does."""
    with Child(code, arguments, env=env) as child:
        out, error = child.communicate(timeout)
        return Completed(child.wait(), out, error)


@functools.cache
def _server() -> str:
    """Starts the server of this process; returns the address that it listens on."""
    folder = tempfile.mkdtemp(prefix="iml-fork-")
    address = str(Path(folder, "socket"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env["PYTHONPATH"] = os.pathsep.join([path for path in sys.path if path])
    command = [sys.executable, "-c", f"from support import forking; forking.serve({address!r})"]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError("the fork server did not start")

    def stop() -> None:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            Path(address).unlink()
            Path(folder).rmdir()

    atexit.register(stop)
    return address


def serve(address: str) -> None:
    """Forks a child per connection until standard input ends; in a child, runs its program and returns."""
    for name in PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in pytest's terminal is not for this process
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    selector = selectors.DefaultSelector()
    for watched in (listener, woken, 0):
        selector.register(watched, selectors.EVENT_READ)
    os.write(1, b"ready\n")
    running: dict[int, socket.socket] = {}
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                return
            if key.fd == woken:
                os.read(woken, 4096)
            else:
                connection, _ = listener.accept()
                request, descriptors = _request(connection)
                child = os.fork()
                if not child:
                    signal.set_wakeup_fd(-1)
                    for other in (listener, selector, connection, *running.values()):
                        other.close()
                    _become(request, descriptors)
                    return
                for descriptor in set(descriptors):
                    os.close(descriptor)
                running[child] = connection
                connection.sendall(b"%d\n" % child)
        _reap(running)


def _request(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    size, descriptors, _, _ = socket.recv_fds(connection, 8, 2)
    payload = connection.makefile("rb").read(int.from_bytes(size, "big"))
    return json.loads(payload), descriptors


def _reap(running: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            connection = running.pop(child)
            with contextlib.suppress(OSError):  # nobody waits any more
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            connection.close()


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """In the child: takes over streams, environment and arguments, and runs the program to its end."""
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
    for descriptor in set(descriptors):
        os.close(descriptor)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", 0, closefd=False), "utf-8", "backslashreplace", write_through=True
    )
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    _apply_jax_variables()
    sys.argv = request["argv"]
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    exec(compile(request["code"], "<string>", "exec"), vars(main))


def _apply_jax_variables() -> None:
    """What ``import jax`` reads of the environment: ``JAX_ENABLE_X64=1`` sets ``jax_enable_x64``."""
    import jax

    for name, text in os.environ.items():
        option = name.lower()
        if name.startswith("JAX_") and option in jax.config.values:
            jax.config.update(option, _typed(text, jax.config.values[option]))


def _typed(text: str, now: object) -> object:
    if isinstance(now, bool):
        return text.lower() in ("1", "true", "yes", "on")
    return type(now)(text) if isinstance(now, (int, float)) else text
