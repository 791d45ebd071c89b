"""CPU seconds of a training process beyond ``import jax``, until its first step: the second run of a shape.

    iml prepare ...                                   # as scripts/quickstart.sh does
    python benchmarks/start_up.py PREPARED [--rounds 5] [--devices 8]

Each round is a process of its own that starts to train ``runs/miniature.gin`` with the compilation cache
that an uncounted first process filled. ``dispatch``: from the end of JAX's import until the training loop
calls the step. ``step``: tracing, lowering and loading it. Process time: user and system, all threads.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
import sys, time
began = time.process_time()
import jax
imported = time.process_time()
from iml_jax import cli
from iml_jax.training import step

called = step.TrainStep.__call__
def first(self, state, batch):
    dispatched = time.process_time()
    jax.block_until_ready(called(self, state, batch))
    print("seconds", imported - began, dispatched - imported, time.process_time() - dispatched, flush=True)
    import os
    os._exit(0)
step.TrainStep.__call__ = first
sys.exit(cli.main(sys.argv[1:]))
"""


def measure(prepared: Path, folder: Path, devices: int) -> list[float]:
    """CPU seconds of ``import jax``, until the first step's call, and of that step, in a process."""
    run = Path(tempfile.mkdtemp(dir=folder))
    command = [
        "train",
        f"--cpu_devices={devices}",
        "--gin_file=runs/miniature.gin",
        f"--gin.Train.prepared_dir={str(prepared)!r}",
        f"--gin.Train.run_dir={str(run / 'run')!r}",
        f"--gin.Compilation.cache_dir={str(folder / 'compiled')!r}",
        "--gin.Train.evaluate_ends=False",
    ]
    if devices == 1:
        command += [f"--gin.Mesh.{axis}=1" for axis in ("data", "fsdp", "tensor")]
    words = [sys.executable, "-P", "-c", CHILD, *command]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("seconds "))
    return [float(word) for word in line.split()[1:]]


def main() -> None:
    """Measures the rounds and prints their medians and ranges."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path, help="the quickstart's prepared directory")
    parser.add_argument("--rounds", type=int, default=5, help="processes that are measured")
    parser.add_argument("--devices", type=int, default=8, help="simulated devices: 8 or 1")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="iml-start-up-") as name:
        measure(given.prepared.absolute(), Path(name), given.devices)  # fills the compilation cache
        rounds = [measure(given.prepared.absolute(), Path(name), given.devices) for _ in range(given.rounds)]
    rows = [(*one, one[1] + one[2]) for one in rounds]
    titles = ("import jax", "dispatch", "step", "both")
    for title, column in zip(titles, zip(*rows, strict=True), strict=True):
        print(f"{title:<12}{statistics.median(column):6.2f} s  ({min(column):.2f} to {max(column):.2f})")


if __name__ == "__main__":
    main()
