"""The platform takes the machine back: SIGTERM, received by one host, obeyed by all after the same step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax

from iml_jax.foundation.errors import Fault, Preempted
from iml_jax.parallel.hosts import runtime

NOTICE, LEAVE = "iml/preemption/notice", "iml/preemption/leave"  # in the coordination service
# Questions between the first host's decision and the leaving. A host that asks after step N has seen the end
# of step N - 1, which the first host began after its own question N - 2: nobody is further ahead than one.
# In an evaluation a question is asked only after an answer that all hosts computed.
AHEAD = 2


class _Notice:
    """A preemption notice: whether received here, announced to the other hosts, and how often they asked."""

    def __init__(self) -> None:
        self.received = self.announced = False
        self.questions = 0
        self.after: int | None = None  # the question after which all leave

    def take(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM; a second notice changes nothing."""
        self.received = True


_notice = _Notice()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Inside, SIGTERM no longer ends the process: ``reached`` reports it. Outside of it all is as before.

    A command listens from its start; what it calls may do so again.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) == _notice.take:
        yield
        return
    _notice.received = False
    before = signal.signal(signal.SIGTERM, _notice.take)
    try:
        yield
    finally:
        # Python cannot put back a handler in C.
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        _notice.received = False  # whatever comes after in this process was not asked to leave


def reached() -> bool:
    """Whether to save and leave now: the same answer on every host. Every process must ask equally often.

    Several hosts agree through JAX's coordination service: whoever hears of it says so, the first host names
    the question after which all leave. That costs one call of the service a question (docs/training.md).
    JAX's own ``reached_preemption_sync_point`` never said yes with gloo on CPUs (jax 0.10.2).

    Raises:
      Fault: this host asked more often than it may have; it would leave after another step than the others.
    """
    if not jax.distributed.is_initialized():
        return _notice.received
    client = runtime().client
    _notice.questions += 1
    if _notice.received and not _notice.announced:
        _notice.announced = True
        client.key_value_set(NOTICE, "SIGTERM", allow_overwrite=True)
    if _notice.after is None:
        if jax.process_index():
            said = _said(client, LEAVE)
            _notice.after = None if said is None else int(said)
        elif _said(client, NOTICE):
            _notice.after = _notice.questions + AHEAD
            client.key_value_set(LEAVE, str(_notice.after))
        if _notice.after is not None and _notice.questions > _notice.after:
            raise Fault(f"SIGTERM: to leave after question {_notice.after}, but it is {_notice.questions}")
    return _notice.after is not None and _notice.questions >= _notice.after


def _said(client: Any, key: str) -> str | None:
    try:
        return client.key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def check() -> None:
    """For work that can be left at any time, as every process comes by.

    Raises:
      Preempted: the platform wants the machine back.
    """
    if reached():
        raise Preempted("preempted (SIGTERM)")
