"""Templates rendered in worker processes: one that ends its worker is refused by name, others continue."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.promptsource import template_worker as worker
from iml_jax.bench.sources.promptsource.rendering import Rendered
from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import local

_ROOT = str(Path(worker.__file__).parents[4])  # where iml_jax lies
START = f"from {worker.__name__} import main; main()"
_DRAINED = 256  # answers that are read and dropped rather than start another worker


class Skipped(str):
    """Why a template makes no prompt of a row; ``column`` is the one that the row lacks, if that is why."""

    column = ""


class Refused(str):
    """Why a template is refused: it does too much work, or ends the process that renders it."""


Outcome = Rendered | Skipped | Refused
NO_COLUMN = "template needs a column that the row has not"


class _DiedError(Exception):
    """The worker has ended; the message says how."""


class _Process:
    """One worker process, its pipes, and the templates that it holds."""

    def __init__(self) -> None:
        """Raise Fault if the worker does not start."""
        self.owner = os.getpid()
        self.holds: object = None
        self.pending = 0  # answers not yet read
        # As multiprocessing's spawn: nothing of this process but its paths. No site, whose paths these are.
        # An editable installation finds iml_jax by an import hook, which is not among the paths.
        code = f"import sys; sys.path[:] = {[_ROOT, *sys.path]!r}; {START}"
        with local.temporary_file() as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-E", "-s", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            try:
                self.receive()  # that it runs
            except _DiedError as error:
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace").strip().splitlines() or [str(error)]
                raise Fault(f"the process that renders templates does not start: {said[-1]}") from None
        self.pending = 0

    def ask(self, *message: Any, answers: int) -> None:
        """Sends a message and the number of answers to it."""
        self.pending = answers
        content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):  # the next answer says how it ended
            stream.write(worker.LENGTH.pack(len(content)))
            stream.write(content)
            stream.flush()

    def receive(self) -> list[list[Any]]:
        """The next answers: one or more, which were sent together.

        Raises:
          _DiedError: the worker ended before them.
        """
        head = self._read(worker.LENGTH.size)
        content = json.loads(str(self._read(worker.LENGTH.unpack(head)[0]), "utf-8"))
        assert isinstance(content, list)
        self.pending -= len(content)
        return content

    def _read(self, count: int) -> bytes:
        stream = self._process.stdout
        assert stream is not None
        found = stream.read(count)
        if len(found) == count:
            return found
        status = self._process.wait()
        self.close()
        raise _DiedError(_ending(status))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is this process's and can be asked."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """Ends it."""
        if self.owner != os.getpid():  # a copy in a forked process: the worker is not its own
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _ending(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"takes more than {worker.SECONDS} s of processor time"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"ends the process that renders it ({signal.Signals(-status).name})"
    return f"ends the process that renders it (status {status})"


class _Pool:
    """Idle workers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []

    def take(self, holds: object) -> _Process:
        """A worker, if possible one that holds these templates already."""
        with self._lock:
            self._idle = [process for process in self._idle if process.alive]
            if self._idle:
                fitting = [number for number, each in enumerate(self._idle) if each.holds == holds]
                return self._idle.pop(fitting[0] if fitting else -1)
        return _Process()

    def give(self, process: _Process) -> None:
        """Takes a worker back."""
        with self._lock:
            self._idle.append(process)

    def close(self) -> None:
        """Ends all idle workers."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()


_POOL = _Pool()
atexit.register(_POOL.close)


class TemplateSet:
    """The templates of one dataset in a worker; a context manager, which gives the worker back.

    Attributes:
      templates: as given.
      refused: for each template why it cannot be used, with file, name and line, or None.
    """

    def __init__(self, templates: Sequence[PromptTemplate], path: Path, limit: int = 0) -> None:
        """Compiles templates.

        Args:
          templates: of one file.
          path: the file, for messages.
          limit: characters that each printed value is cut to; 0 cuts none.
        """
        self.templates, self._path, self._limit = tuple(templates), path, limit
        self.refused: list[str | None] = [None] * len(self.templates)
        self._process = _POOL.take((self.templates, path, limit))
        self._load()

    def __enter__(self) -> TemplateSet:
        return self

    def __exit__(self, *error: object) -> None:
        process = self._process
        if process.alive and process.pending <= _DRAINED:
            with contextlib.suppress(_DiedError):
                while process.pending:
                    process.receive()
                return _POOL.give(process)
        process.close()
        return None

    @property
    def pid(self) -> int:
        """The worker's number."""
        return self._process.pid

    def place(self, number: int) -> str:
        """File and name of a template, for messages."""
        return f"{self._path}: template {self.templates[number].name!r}"

    def _load(self) -> None:
        """Compiles in the worker what is not refused yet; starts another where a template ends it."""
        key = (self.templates, self._path, self._limit)
        while not (self._process.holds == key and self._process.alive):
            self._process.holds = None
            wanted = [
                None if why else template for template, why in zip(self.templates, self.refused, strict=True)
            ]
            self._process.ask("load", wanted, self._path, self._limit, answers=len(wanted))
            number = 0
            try:
                for number in range(len(wanted)):
                    [[kind, *reasons]] = self._process.receive()
                    if kind == worker.REFUSED:
                        self.refused[number] = reasons[0]
            except _DiedError as error:
                self._process = _Process()
                self.refused[number] = f"{self.place(number)}: {error}; rewrite or remove the template"
                continue
            if not any(self.refused):
                self._process.holds = key
            return

    def check(self) -> None:
        """Raise UserError, and give the worker back, if a template is refused."""
        for why in self.refused:
            if why is not None:
                self.__exit__()
                raise UserError(why)

    def render(
        self, rows: Sequence[tuple[Row, Sequence[int]]], which: Sequence[int], *, texts: bool = True
    ) -> Iterator[list[Outcome]]:
        """Renders rows, whose keys hold no hyphen.

        A template that ends the worker is refused on that row; another worker continues with the rest.

        Args:
          rows: each with a seed for each of ``which``.
          which: numbers of templates that are not refused.
          texts: whether the texts are wanted; else ``Rendered`` is empty, and only says that there are some.

        Yields:
          The outcomes of each row, in the order of ``which``.
        """
        done = 0
        careful = False  # each answer is sent when it is made, so that none is lost when the worker ends
        found: list[Outcome] = []
        while done < len(rows):
            # After the end of a worker: the rest of the row, then the rows that follow.
            left = slice(done, done + 1) if found else slice(done, len(rows))
            places = range(len(found), len(which))
            content = [(row, [seeds[place] for place in places]) for row, seeds in rows[left]]
            asked = [which[place] for place in places]
            self._process.ask("render", content, asked, texts, careful, answers=len(content) * len(asked))
            try:
                for _ in content:
                    while len(found) < len(which):
                        found.extend(map(_outcome, self._process.receive()))
                    done += 1
                    yield found
                    found = []
            except _DiedError as error:
                self._process = _Process()
                self._load()
                if careful:
                    found = [*found, Refused(str(error))]
                careful = True
                if len(found) == len(which):
                    done += 1
                    yield found
                    found = []


def _outcome(answer: list[Any]) -> Outcome:
    kind, *content = answer
    if kind == worker.RENDERED:
        prompt, references, options, cut = content or ("", (), (), False)
        return Rendered(prompt, tuple(references), tuple(options), cut)
    if kind == worker.COLUMN:
        skipped = Skipped(NO_COLUMN)
        skipped.column = content[0]
        return skipped
    return Refused(content[0]) if kind == worker.REFUSED else Skipped(content[0])
