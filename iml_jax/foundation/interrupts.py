"""Ctrl-C: the first leaves in good order, the second at once, also while the main thread is in C++.

SIGTERM, for commands that can be left at any instruction.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from iml_jax.foundation.errors import Preempted
from iml_jax.foundation.printing import one_line

STATUS = 130
PATIENCE = 3.0  # seconds after which somebody who waits hears why
_LATER = 0.05  # seconds
WAITING = "interrupted; waiting for what cannot be left halfway, a second Ctrl-C ends at once"


class Interrupts:
    """What this process knows of Ctrl-C.

    Python runs a handler between two instructions of the main thread. A compilation or a device step is one
    instruction, of minutes at times, so a thread listens too: the interpreter's C handler writes to it.

    Args:
      stderr: file descriptor of what was stderr at the start; a command may redirect it for a while.
      wakeup: where the C handler writes; kept open here as long as the handler is there.
    """

    def __init__(self, stderr: int = 2, wakeup: socket.socket | None = None) -> None:
        self._stderr, self._wakeup = stderr, wakeup
        self.received = 0
        self.reported = False  # on the terminal
        self._own = self._seen_own = 0  # signals that this process sent itself
        self._again = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT.

        Raises:
          KeyboardInterrupt: the first time.
        """
        if self._again:
            self._again = False
        else:
            self.received += 1
        if self.received > 1:
            self._leave_now()
        raise KeyboardInterrupt

    def listen(self, signals: socket.socket) -> None:
        """Reads the numbers of the signals that arrive, until the other end is closed."""
        count = 0
        with signals:
            while True:
                signals.settimeout(PATIENCE if count == 1 and not self.reported else None)
                try:
                    numbers = signals.recv(64)
                except TimeoutError:
                    self._tell(WAITING)
                    continue
                if not numbers:
                    return
                for number in numbers:
                    if number != signal.SIGINT:
                        continue
                    if self._own > self._seen_own:
                        self._seen_own += 1
                        continue
                    count += 1
                    if count > 1:
                        self._leave_now()

    def lost(self, before: Callable[[Any], Any], ignored: Any) -> None:
        """``sys.unraisablehook``: a KeyboardInterrupt that fell into a ``__del__`` is raised once more."""
        if not (self.received and isinstance(ignored.exc_value, KeyboardInterrupt)):
            before(ignored)
            return
        self._own += 1
        self._again = True
        main = threading.main_thread().ident
        assert main is not None
        # A little later: what is raised in here would be lost as well.
        threading.Timer(_LATER, signal.pthread_kill, (main, signal.SIGINT)).start()

    def _leave_now(self) -> None:
        self._tell("interrupted")
        os._exit(STATUS)

    def _tell(self, line: str) -> None:
        if not self.reported:
            self.reported = True
            with contextlib.suppress(OSError):
                os.write(self._stderr, f"iml: {one_line(line)}\n".encode())


@contextlib.contextmanager
def listening(*, to_the_end: bool) -> Iterator[Interrupts]:
    """Inside, Ctrl-C is heard as ``Interrupts`` says.

    Where SIGINT is ignored (nohup) or somebody else's, and outside of the main thread, nothing changes.

    Args:
      to_the_end: the process ends afterwards, and should not answer Ctrl-C with a traceback then.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not usual:
        yield Interrupts()
        return
    ours, wakeup = socket.socketpair()
    interrupts = Interrupts(os.dup(2), wakeup)
    wakeup.setblocking(False)
    before = _wake(wakeup.fileno())
    threading.Thread(target=interrupts.listen, args=(ours,), name="interrupts", daemon=True).start()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda ignored: interrupts.lost(hook, ignored)
    signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        if not (to_the_end and interrupts.received):
            signal.signal(signal.SIGINT, signal.SIG_DFL if to_the_end else signal.default_int_handler)
            sys.unraisablehook = hook
            _wake(before)
            wakeup.close()  # ends the thread
            os.close(interrupts._stderr)


@contextlib.contextmanager
def ended(line: str) -> Iterator[None]:
    """Inside, SIGTERM raises in the main thread, so that worker processes and temporary files go as well.

    For commands that can be left at any instruction. A second SIGTERM ends the process at once.

    Raises:
      Preempted: with ``line``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Preempted(line)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


_listens = False


def _wake(file: int) -> int:
    global _listens  # noqa: PLW0603 - there is one such file in a process
    _listens = file != -1
    return signal.set_wakeup_fd(file, warn_on_full_buffer=False)


def _forked() -> None:
    """A child would tell of its own signals in the parent's file."""
    if _listens and threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forked)
