"""The whole way of a bench of the paper's size: sources, `iml prepare`, the training stream, SeqIO beside it.

    python benchmarks/scale.py --tasks 2000 --examples 2000000 --directory DIR

Writes source files in two public formats, prepares them, kills that (SIGKILL) with half the tasks done and
starts it again; then opens the result, reads and resumes it in fresh processes, and reads the same records
through ``seqio.get_dataset``. ``--direct`` leaves `iml prepare` out and writes the prepared records itself.
Every step is left out whose result is in ``--directory`` already.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import scale_sources
from measuring import clocks, resident, timed

HERE = Path(__file__).resolve().parent


class Watched:
    """A command and its children, with their peak memory."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log.open("w")
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True, text=True
        )
        self.peaks = {"all": 0.0, "one": 0.0}
        self._began = time.monotonic()

    def run(self, stop: Callable[[float, float], bool] = lambda seconds, memory: False) -> tuple[float, bool]:
        """Waits; seconds taken, and whether ``stop(seconds, GiB)`` had it killed."""
        while self.process.poll() is None:
            sizes = [resident(member) for member in self._members()]
            self.peaks["all"] = max(self.peaks["all"], sum(sizes))
            self.peaks["one"] = max(self.peaks["one"], *sizes, 0.0)
            if stop(time.monotonic() - self._began, sum(sizes)):
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                self._log.close()
                return time.monotonic() - self._began, True
            time.sleep(0.25)
        self._log.close()
        return time.monotonic() - self._began, False

    def _members(self) -> list[int]:
        group = []
        for name in (path.name for path in Path("/proc").iterdir() if path.name.isdigit()):
            try:
                if os.getpgid(int(name)) == self.process.pid:
                    group.append(int(name))
            except ProcessLookupError:
                continue
        return group


def prepare(directory: Path, workers: int, examples: int) -> None:
    """`iml prepare`, killed with half of the tasks done, and again to the end."""
    gin = directory / "scale.gin"
    prepared = directory / "prepared"
    gin.write_text(
        scale_sources.MIXTURE.format(sources=directory / "sources", prepared=prepared, workers=workers)
    )
    command = [sys.executable, "-m", "iml_jax.cli", "prepare", f"--gin_file={gin}"]
    total = 0

    def half_done(seconds: float, memory: float) -> bool:
        nonlocal total
        del seconds, memory
        if not total:
            match = re.search(r"prepare: (\d+) tasks", (directory / "prepare-1.log").read_text())
            total = int(match[1]) if match else 0
        return bool(total) and sum(1 for _ in (prepared / ".job").glob("*.json")) >= total / 2

    first = Watched(command, directory / "prepare-1.log")
    seconds, killed = first.run(half_done)
    print(f"{'prepare, first run':<28} {seconds:8.1f} s   {_peaks(first)}   killed {killed}", flush=True)
    second = Watched(command, directory / "prepare-2.log")
    more, _ = second.run()
    said = (directory / "prepare-2.log").read_text()
    if second.process.returncode:
        sys.exit(f"`iml prepare` failed, see {directory}/prepare-2.log:\n{said[-2000:]}")
    kept = re.search(r"prepare: (\d+ tasks, \d+ of them already prepared)", said)
    print(f"{'prepare, second run':<28} {more:8.1f} s   {_peaks(second)}   {kept[1] if kept else '?'}")
    print(f"{'prepare, both':<28} {seconds + more:8.1f} s   {examples / (seconds + more):,.0f} examples/s")


def _peaks(watched: Watched) -> str:
    return f"peak RSS {watched.peaks['all']:.2f} GiB, of one process {watched.peaks['one']:.2f}"


def step(name: str, arguments: Sequence[str], seconds: float, gib: float) -> None:
    """Runs a part of this benchmark in a fresh process, at most so long and so large; prints its words."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        part = Watched([sys.executable, "-W", "ignore", *arguments], log)
        taken, killed = part.run(lambda now, memory: now > seconds or memory > gib)
        print("\n".join(line for line in log.read_text().splitlines() if line.startswith(name)))
        if killed:
            print(f"{name}: stopped after {taken:.0f} s at {part.peaks['all']:.1f} GiB, not at its end")
        elif part.process.returncode:
            sys.exit(log.read_text()[-3000:])
        print(f"{name}: {taken:.0f} s altogether, {_peaks(part)}", flush=True)


def main() -> None:
    """Runs every part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--examples", type=int, default=2_000_000)
    parser.add_argument("--words", type=float, default=100.0, help="of an input, on average")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2, help="of iml prepare")
    parser.add_argument("--batches", type=int, default=400, help="of 8 rows, to measure the steady speed")
    parser.add_argument("--direct", action="store_true", help="write the prepared records, no iml prepare")
    parser.add_argument("--directory", type=Path, help="keep everything here and reuse it")
    parser.add_argument("--seqio_seconds", type=float, default=900.0, help="0: leave SeqIO out")
    parser.add_argument("--seqio_gib", type=float, default=12.0)
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="iml-scale-"))
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    prepared = directory / "prepared"
    if not (prepared / "manifest.json").exists():
        start = clocks()
        if arguments.direct:
            scale_sources.write_records(
                prepared, arguments.tasks, arguments.examples, arguments.words, arguments.vocabulary
            )
            timed("records", start, "written directly, without iml prepare")
        else:
            if not (directory / "sources" / "tokenizer").exists():
                shutil.rmtree(directory / "sources", ignore_errors=True)
                size = scale_sources.write(
                    directory / "sources",
                    arguments.tasks,
                    arguments.examples,
                    arguments.words,
                    arguments.vocabulary,
                )
                timed("sources", start, f"{size / 2**30:.2f} GiB")
            prepare(directory, arguments.workers, arguments.examples)
    size = sum(path.stat().st_size for path in prepared.rglob("*") if path.is_file())
    print(f"{'prepared directory':<28} {size / 2**30:8.2f} GiB, load of the machine {os.getloadavg()[0]:.1f}")
    stream = [str(HERE / "scale_stream.py"), str(prepared), "--batches", str(arguments.batches)]
    state = str(directory / "state.json")
    step("stream", [*stream, "--save", state], 1e9, 1e9)
    step("resume", [*stream, "--restore", state], 1e9, 1e9)
    if arguments.seqio_seconds:
        beside = [str(HERE / "scale_seqio.py"), str(prepared), str(directory / "seqio_cache")]
        step("seqio", beside, arguments.seqio_seconds, arguments.seqio_gib)
    if arguments.directory is None:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
