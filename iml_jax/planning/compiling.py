"""Compiles jobs in worker processes, several at once, each result kept on disk."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from iml_jax.foundation import extras, libtpu
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.planning import job as jobs
from iml_jax.planning import worker
from iml_jax.planning.job import Job
from iml_jax.storage import local, sealed
from iml_jax.storage.writing import write_atomically

Result = dict[str, Any]


def require_libtpu(kind: str) -> None:
    """Raises UserError where a TPU topology is asked for without the TPU compiler."""
    if kind != "cpu":
        extras.require("libtpu", what="planning for a TPU (--topology=cpu:8 does without)")


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/iml_jax/plan``, by default under ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "iml_jax" / "plan"


@dataclasses.dataclass(frozen=True)
class Compiler:
    """Runs jobs.

    Attributes:
      workers: compilations at once.
      cache: folder of results; None keeps none.
      log: takes a line for each compilation begun, every ``beat`` while it runs, and done; called by several
        threads, one at a time.
      beat: seconds between the lines of a running compilation.
    """

    workers: int
    cache: Path | None
    log: Callable[[str], None]
    beat: float = 30.0
    _saying: threading.Lock = dataclasses.field(default_factory=threading.Lock, init=False, repr=False)

    def run(self, waiting: Sequence[tuple[str, Job]]) -> Iterator[tuple[int, Result]]:
        """(index, result) of every (title, job), in the order in which they are done.

        A result has ``status``: ``compiled``, ``does_not_fit``, ``refused`` (the configuration and the
        topology do not go together) or ``failed`` (the compiler broke), the last two with ``reason``.

        Raises:
          Fault: the cache cannot be written.
        """
        fingerprint, known = jobs.code_fingerprint(), jobs.compiler_versions()
        missing = []
        for index, (_, job) in enumerate(waiting):
            place = self._place(jobs.key(job, fingerprint, known))
            kept = _read(place)
            if kept is None:
                missing.append((index, place))
            else:
                yield index, {**kept, "cached": True}
        if missing:
            yield from self._compile(waiting, missing)

    def _log(self, line: str) -> None:
        # An unbuffered stream takes a line and its end in two writes: threads must not come between.
        with self._saying:
            self.log(line)

    def _place(self, key: str) -> Path | None:
        return None if self.cache is None else self.cache / key[:2] / f"{key}.json"

    def _compile(
        self, waiting: Sequence[tuple[str, Job]], missing: Sequence[tuple[int, Path | None]]
    ) -> Iterator[tuple[int, Result]]:
        running = _Running()
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            futures = {
                pool.submit(self._one, waiting[index], running): (index, place) for index, place in missing
            }
            try:
                for number, done in enumerate(concurrent.futures.as_completed(futures), start=1):
                    index, place = futures[done]
                    result = done.result()
                    status = result["status"].replace("_", " ")
                    far = f" ({number} of {len(futures)})" if len(futures) > 1 else ""
                    self._log(f"{status}: {waiting[index][0]}, {result['seconds']:.0f} s{far}")
                    if place is not None and result["status"] != "failed":
                        _write(place, result)
                    yield index, {**result, "cached": False}
            except BaseException:
                for future in futures:
                    future.cancel()
                running.end()
                raise

    def _one(self, titled: tuple[str, Job], running: _Running) -> Result:
        title, job = titled
        self._log(f"compiling {title}")
        with local.temporary_directory(prefix="iml-plan-") as folder, local.temporary_file() as log:
            asked, answer = folder / "job.json", folder / "result.json"
            write_atomically(asked, job.to_json())
            own = libtpu.of_worker()
            began = time.monotonic()

            def still() -> None:
                stage = _stage(answer)
                self._log(f"still at {title}, {time.monotonic() - began:.0f} s{stage and ': '}{stage}")

            command = [sys.executable, "-m", "iml_jax.planning.worker", str(asked), str(answer)]
            status = running.run(command, log, own, self.beat, still)
            if running.ended:
                return {"status": "failed", "reason": "nobody waits for it", "seconds": 0.0}
            if status == 0 and answer.is_file():
                result: Result = json.loads(answer.read_text(encoding="utf-8"))
            else:
                result = {"status": "failed", "reason": _last_words(log, status), "seconds": 0.0}
        return result


class _Running:
    """The worker processes of one ``Compiler.run``, which end with it, however it ends."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self.ended = False

    def run(
        self,
        command: Sequence[str],
        output: IO[bytes],
        own: Mapping[str, str],
        beat: float,
        still: Callable[[], None],
    ) -> int:
        """The exit status of a worker; it reads its stdin, which closes if this process is killed.

        Args:
          still: called every ``beat`` seconds while the worker runs.
        """
        with self._guard:
            if self.ended:
                return -signal.SIGKILL
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=dict(own)
            )
            self._processes.add(process)
        try:
            while True:
                try:
                    return process.wait(beat)
                except subprocess.TimeoutExpired:
                    still()
        finally:
            with self._guard:
                self._processes.discard(process)
            assert process.stdin is not None
            process.stdin.close()

    def end(self) -> None:
        """Kills what runs; what is asked to run from now on does not."""
        with self._guard:
            self.ended = True
            for process in self._processes:
                process.kill()


def _stage(answer: Path) -> str:
    """What the worker is doing, in its own words; empty before it says so."""
    try:
        return worker.stage_file(answer).read_text(encoding="utf-8")
    except OSError:
        return ""


def _last_words(log: IO[bytes], status: int) -> str:
    """One line on how a worker ended: what libtpu called fatal, else its last line."""
    log.seek(0)
    text = log.read().decode("utf-8", errors="replace")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if re.match(r"F\d{4} |.*(Check fail|FATAL|Segmentation)", line)]
    said = fatal or [line for line in lines if not line.startswith(("@", "***"))] or ["it said nothing"]
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    hint = " (out of the machine's memory? try fewer --workers)" if status == -9 else ""
    return f"the compiling process {how}{hint}: {(said[0] if fatal else said[-1])[:400]}"


def _read(place: Path | None) -> Result | None:
    if place is None or not place.is_file():
        return None
    try:
        found = sealed.read_sealed(place, "compiled again")
    except (UserError, Fault):
        return None  # a damaged file is compiled again
    return found if "status" in found else None


def _write(place: Path, result: Result) -> None:
    try:
        write_atomically(place, json.dumps(sealed.seal(result)))
    except Fault as error:
        raise Fault(f"{error}; --cache=DIR keeps compilations elsewhere") from error
