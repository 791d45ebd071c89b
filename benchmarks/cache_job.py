"""`iml prepare` beside SeqIO's own cache job, and an earlier checkout, on the same tasks.

Every system runs in turn in processes of its own, ``--rounds`` times; printed are seconds, CPU seconds and
examples per second of each run, then the ratios of the medians. SeqIO's job is ``cache_tasks_main`` of the
same seqio.Tasks with the same number of Beam workers, in ArrayRecord format.

    python benchmarks/cache_job.py --tasks 40 --examples 20000 --workers 2 --before ../earlier_checkout
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import scale_sources

from iml_jax.data import manifest as manifests

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Measured:
    """One run: seconds of the wall clock and of CPU (all processes)."""

    wall: float
    cpu: float


def run(command: list[str], directory: Path, log: Path) -> Measured:
    """Runs a command in ``directory`` to its end.

    Raises:
      SystemExit: it failed; shows the end of its output.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with log.open("w") as output:
        done = subprocess.run(command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return Measured(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def prepare(checkout: Path, folder: Path, workers: int, round_: int, name: str) -> Measured:
    """`iml prepare` of a checkout into ``folder/NAME-ROUND``."""
    prepared = folder / f"{name}-{round_}"
    gin = folder / f"{name}.gin"
    gin.write_text(
        scale_sources.MIXTURE.format(sources=folder / "sources", prepared=prepared, workers=workers)
    )
    command = [sys.executable, "-m", "iml_jax.cli", "prepare", f"--gin_file={gin}"]
    return run(command, checkout, folder / f"{name}.log")


def seqio_job(folder: Path, workers: int, round_: int) -> Measured:
    """SeqIO's own cache job into ``folder/seqio-ROUND``."""
    out = folder / f"seqio-{round_}"
    command = [sys.executable, "-W", "ignore", str(HERE / "cache_job_seqio.py"), str(folder / "iml_jax.gin")]
    return run([*command, str(out), str(workers)], HERE, folder / "seqio.log")


def main() -> None:
    """Makes the sources, runs the systems in turn and prints the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--words", type=float, default=100.0, help="of an input, on average")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit")
    parser.add_argument("--no_seqio", action="store_true", help="leave SeqIO's job out")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="iml-cache-job-"))
    scale_sources.write(folder / "sources", arguments.tasks, arguments.examples, arguments.words, 8000)
    workers = arguments.workers
    systems: dict[str, Callable[[int], Measured]] = {
        "iml_jax": lambda round_: prepare(HERE.parent, folder, workers, round_, "iml_jax")
    }
    if arguments.before:
        before = arguments.before.absolute()
        systems["before"] = lambda round_: prepare(before, folder, workers, round_, "before")
    if not arguments.no_seqio:
        systems["seqio"] = lambda round_: seqio_job(folder, workers, round_)
    found: dict[str, list[Measured]] = {name: [] for name in systems}
    for round_ in range(arguments.rounds):
        for name, system in systems.items():
            measured = system(round_)
            found[name].append(measured)
            manifest = manifests.load(folder / f"iml_jax-{round_}")
            examples = sum(split.examples for task in manifest.tasks for split in task.splits.values())
            print(
                f"round {round_} {name:<8} {measured.wall:7.1f} s {examples / measured.wall:9,.0f} examples/s"
                f"   CPU {measured.cpu:7.1f} s {1e3 * measured.cpu / examples:6.2f} ms per example",
                flush=True,
            )
    print(f"{examples:,} examples, {workers} workers, load {os.getloadavg()[0]:.1f}; ratios of medians:")
    for name, runs in found.items():
        wall, cpu = (
            statistics.median(getattr(one, part) for one in runs)
            / statistics.median(getattr(one, part) for one in found["iml_jax"])
            for part in ("wall", "cpu")
        )
        print(f"{name:<8} / iml_jax: wall clock {wall:.2f}, CPU {cpu:.2f}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
