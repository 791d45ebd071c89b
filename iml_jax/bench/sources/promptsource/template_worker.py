"""The process in which templates of third parties are rendered; their effects end with it.

``template_pool`` starts it. It reads messages on standard input, each a pickle that its parent made, and
answers in JSON, a list of answers in each message: what a template rendered is never unpickled or evaluated.
Its limits on time and memory are a net far above what counted work (``template_limits``) can reach.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import resource
import signal
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from iml_jax.bench.sources.formats.bounds import NOT_UNICODE
from iml_jax.bench.sources.promptsource.rendering import Renderer
from iml_jax.bench.sources.promptsource.sandbox import MissingColumnError
from iml_jax.bench.sources.promptsource.template_limits import NullPrintedError, TooMuchWorkError
from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable

MEMORY = 1536 << 20  # bytes of address space; counted work takes less than a third
SECONDS = 120  # of processor time for one template on one row; counted work takes a few
LENGTH = struct.Struct("<I")
# Kinds of answers.
RENDERED, SKIPPED, COLUMN, REFUSED, LOADED = "rendered", "skipped", "column", "refused", "loaded"
READY = "ready"
NOT_APPLICABLE = "template does not apply to the row"
NULL = "template prints a value that is null in the row"
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_TOO_LARGE = (REFUSED, f"more than {MEMORY >> 20} MiB of memory")


def main() -> None:
    """Answers messages until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle; it closes standard input
    # What ends the process after SECONDS. A parent that profiles may ignore or block this signal, and a child
    # inherits that.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # A thread of its own reads, so that the process ends with its parent whatever a template is at.
    threading.Thread(target=_read, args=(sys.stdin.buffer, messages), daemon=True).start()
    worker = _Worker(answers)
    worker.greet()
    while True:
        kind, *content = pickle.loads(messages.get())  # from the parent, which made it itself
        getattr(worker, kind)(*content)
        answers.flush()


def _read(stream: BinaryIO, messages: queue.SimpleQueue[bytes]) -> None:
    while True:
        head = stream.read(LENGTH.size)
        if len(head) < LENGTH.size:
            os._exit(0)
        messages.put(stream.read(LENGTH.unpack(head)[0]))


class _Worker:
    """Holds the templates of one dataset."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._renderers: list[Renderer | None] = []

    def greet(self) -> None:
        """Reports that the worker runs."""
        self._send([[READY]])
        self._answers.flush()

    def load(self, templates: Sequence[PromptTemplate | None], path: Path, limit: int) -> None:
        """Compiles templates, all but None; answers for each in turn, as soon as it is compiled."""
        self._renderers = []
        for template in templates:
            self._renderers.append(None)
            self._send([self._limited(self._load, template, path, limit)])
            self._answers.flush()

    def _load(self, template: PromptTemplate | None, path: Path, limit: int) -> list[Any]:
        if template is None:
            return [LOADED]
        try:
            self._renderers[-1] = Renderer(template, path, limit)
        except UserError as error:
            return [REFUSED, str(error)]
        return [LOADED]

    def render(
        self,
        rows: Sequence[tuple[dict[str, Any], Sequence[int]]],
        which: Sequence[int],
        texts: bool,
        at_once: bool,
    ) -> None:
        """Renders each row with templates ``which``, by each one's seed; answers for each row in turn.

        ``at_once``: answers for each rendering, as soon as it is made, so that none is lost with the worker.
        """
        for row, seeds in rows:
            made: list[list[Any]] = []
            for template, seed in zip(which, seeds, strict=True):
                made.append(self._limited(self._render, row, template, seed, texts))
                if at_once:
                    self._send(made)
                    self._answers.flush()
                    made = []
            if made:
                self._send(made)

    def _render(self, row: dict[str, Any], template: int, seed: int, texts: bool) -> list[Any]:
        renderer = self._renderers[template]
        assert renderer is not None
        try:
            made = renderer.applied(row, seed)
        except MissingColumnError as error:
            return [COLUMN, error.column]
        except TooMuchWorkError as error:
            return [REFUSED, str(error)]
        except MemoryError:
            raise
        except Exception as error:  # an expression of the template does not fit the row
            failed = f"template fails on the row ({type(error).__name__})"
            return [SKIPPED, NULL if isinstance(error, NullPrintedError) else failed]
        if made is None:
            return [SKIPPED, NOT_APPLICABLE]
        if not encodable(made.prompt, *made.references, *made.options):
            return [SKIPPED, NOT_UNICODE]
        return [RENDERED, made.prompt, made.references, made.options, made.cut] if texts else [RENDERED]

    def _limited(self, work: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        """What ``work`` returns, within SECONDS and MEMORY."""
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            return work(*arguments)
        except MemoryError:
            return list(_TOO_LARGE)

    def _send(self, answers: list[list[Any]]) -> None:
        """Writes answers as one message; its own work is not limited in time."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        try:
            content = _ENCODER.encode(answers).encode("utf-8", "backslashreplace")
        except MemoryError:
            if len(answers) > 1:  # the texts of a row together
                for answer in answers:
                    self._send([answer])
                return
            content = _ENCODER.encode([_TOO_LARGE]).encode()
        self._answers.write(LENGTH.pack(len(content)))
        self._answers.write(content)
