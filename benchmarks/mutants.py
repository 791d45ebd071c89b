"""Mutation testing: a seeded sample of small changes in the package, and whether the tests notice them.

    python benchmarks/mutants.py --count 200 --seed 1 --workers 2 --output mutants.tsv

Each mutant changes one expression of one module (``mutation_operators``). The module's own test file runs
first (``own``); where that passes or does not exist, the test files that import the module, directly or
through others, run as well (``wider``), nearest first, for at most ``--seconds``. A mutant that all of these
pass is a survivor: a hole in the tests, a change without effect, or code that nothing needs.

Every worker has a copy of the checkout and forks its test runs from a process that has imported the
libraries, so a run costs its tests and not 10 s of imports.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import dataclasses
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mutation_operators import Mutation, mutations

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "training", "data", "evaluation", "checkpoints", "parallel", "config")
# Forked once per test run. It has the libraries, and nothing of iml_jax, which is mutated.
SERVER = """
import os, sys
for name in ("jax", "flax.linen", "optax", "orbax.checkpoint", "grain", "tensorstore", "hypothesis", "pytest",
             "safetensors.numpy", "sklearn.metrics", "torch", "transformers"):
    __import__(name)
print("ready", flush=True)
for line in sys.stdin:
    log, *arguments = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1), os.dup2(descriptor, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "tests")]
        import pytest
        status = 70
        try:
            status = int(pytest.main(arguments))
        finally:
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What noticed a mutant: ``own`` tests, ``wider`` ones or a ``timeout``; else it ``survived``."""

    mutation: Mutation
    outcome: str
    seconds: float
    tests: int

    def line(self) -> str:
        """A row of the table."""
        one = self.mutation
        parts = (
            one.file,
            one.line,
            one.operator,
            one.before,
            one.after,
            self.outcome,
            round(self.seconds),
            self.tests,
        )
        return "\t".join(str(part).replace("\t", " ").replace("\n", " ") for part in parts)


class Worker:
    """A copy of the checkout and a server that forks test runs in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        for name in filter(None, listed):
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        self._log = folder / "log"
        environment = {
            **os.environ,
            "IML_TEST_CACHE": str(folder / "compiled"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=self.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        if self._server.stdout.readline() != "ready\n":
            raise RuntimeError("the server did not start")

    def passes(self, tests: Sequence[str], seconds: float) -> bool | None:
        """Whether the tests pass; None after ``seconds``."""
        assert self._server.stdin is not None and self._server.stdout is not None
        options = ["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-q"]
        self._server.stdin.write("\t".join([str(self._log), *options, *tests]) + "\n")
        self._server.stdin.flush()
        child = int(self._server.stdout.readline())
        late = threading.Event()

        def kill() -> None:
            late.set()
            os.killpg(child, 9)

        timer = threading.Timer(seconds, kill)
        timer.start()
        status = int(self._server.stdout.readline())
        timer.cancel()
        return None if late.is_set() else status in (0, 5)  # 5: no test was collected

    def close(self) -> None:
        """Ends the server."""
        self._server.kill()
        self._server.wait()


def candidates(packages: Iterable[str]) -> Iterator[Mutation]:
    """All mutations of the modules of ``packages``, in the order of the files."""
    for package in packages:
        for path in sorted((ROOT / "iml_jax" / package).rglob("*.py")):
            yield from mutations(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


def importers() -> dict[str, set[str]]:
    """Module or test file -> the package's modules that it imports, all as paths from the root."""
    found: dict[str, set[str]] = {}
    for path in [*(ROOT / "iml_jax").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iml_jax"):
                base = (node.module or "").replace(".", "/")
                inner = [f"{base}/{alias.name}.py" for alias in node.names]
                found[name] |= {one for one in (f"{base}.py", *inner) if (ROOT / one).is_file()}
    return found


def test_files(module: str, imports: dict[str, set[str]], slow: set[str]) -> tuple[list[str], list[str]]:
    """(the module's own test file, other test files from the nearest to the farthest) of a module."""
    path = Path(module)
    own = ["tests/" + "/".join([*path.parts[1:-1], f"test_{path.name}"])]
    own = [one for one in own if (ROOT / one).is_file()]
    seen, waiting, wider = {module}, [module], []
    while waiting:
        following = []
        for name in sorted(imports):
            if name not in seen and imports[name] & set(waiting):
                seen.add(name)
                if name.startswith("tests/") and Path(name).name.startswith("test_"):
                    wider.append(name)
                elif name.startswith("iml_jax/"):
                    following.append(name)
        waiting = following
    wider = [one for one in wider if one not in own]
    return own, sorted(wider, key=lambda one: one in slow)


def examine(
    worker: Worker, mutation: Mutation, files: tuple[list[str], list[str]], seconds: float
) -> Outcome:
    """Applies a mutation in the worker's copy, runs the tests and takes it back."""
    path = worker.root / mutation.file
    original = path.read_text(encoding="utf-8")
    began = time.monotonic()
    own, wider = files
    path.write_text(mutation.apply(original), encoding="utf-8")
    try:
        ran = 0
        for kind, tests in (("own", own), *(("wider", [one]) for one in wider)):
            left = seconds - (time.monotonic() - began)
            if not tests:
                continue
            if left <= 0:
                break
            passed = worker.passes(tests, max(left, 30.0))
            ran += len(tests)
            if not passed:
                # The own tests end in time where nothing hangs; the wider ones may merely run out of it.
                late = "timeout" if kind == "own" else "survived"
                return Outcome(mutation, late if passed is None else kind, time.monotonic() - began, ran)
        return Outcome(mutation, "survived", time.monotonic() - began, ran)
    finally:
        path.write_text(original, encoding="utf-8")


def main() -> None:
    """Draws the mutants, examines them and prints the share that was noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=240.0, help="of tests per mutant, at most")
    parser.add_argument("--minutes", type=float, default=1e9, help="no mutant is begun after these")
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("--output", type=Path, default=Path("mutants.tsv"))
    arguments = parser.parse_args()
    everything = list(candidates(arguments.packages.split(",")))
    drawn = random.Random(arguments.seed).sample(everything, arguments.count)
    print(f"{len(everything):,} candidates, {len(drawn)} drawn with seed {arguments.seed}", flush=True)
    imports = importers()
    table = (ROOT / "tests/durations.tsv").read_text().splitlines()[1:]
    slow = {f"tests/{name}" for name, seconds in (row.split("\t") for row in table) if float(seconds) > 30}
    deadline = time.monotonic() + 60 * arguments.minutes
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="iml-mutants-") as folder:
        free: queue.Queue[Worker] = queue.Queue()
        workers = [Worker(Path(folder, str(number))) for number in range(arguments.workers)]
        for worker in workers:
            free.put(worker)

        def one(mutation: Mutation) -> Outcome | None:
            if time.monotonic() > deadline:
                return None
            worker = free.get()
            try:
                return examine(worker, mutation, test_files(mutation.file, imports, slow), arguments.seconds)
            finally:
                free.put(worker)

        with (
            concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool,
            arguments.output.open("w", encoding="utf-8") as output,
        ):
            print(
                "file\tline\toperator\tbefore\tafter\toutcome\tseconds\ttest_files", file=output, flush=True
            )
            for future in concurrent.futures.as_completed([pool.submit(one, mutation) for mutation in drawn]):
                if outcome := future.result():
                    outcomes.append(outcome)
                    print(outcome.line(), file=output, flush=True)
                    print(f"{len(outcomes)}/{len(drawn)} {outcome.line()}", flush=True)
        for worker in workers:
            worker.close()
    summarise(outcomes)


def summarise(outcomes: Sequence[Outcome]) -> None:
    """Prints how many mutants were noticed, by which tests, per package."""
    by_package: dict[str, list[str]] = {}
    for one in outcomes:
        by_package.setdefault(one.mutation.file.split("/")[1], []).append(one.outcome)
    for name, found in [*sorted(by_package.items()), ("all", [one.outcome for one in outcomes])]:
        noticed = sum(one != "survived" for one in found)
        own = sum(one in ("own", "timeout") for one in found)
        share = 100 * noticed / max(1, len(found))
        print(f"{name:<12} {noticed}/{len(found)} noticed ({share:.0f}%), {own} by own tests")


if __name__ == "__main__":
    main()
