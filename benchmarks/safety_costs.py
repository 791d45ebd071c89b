"""What checksums, leases and template workers cost, measured in one run on one machine.

    JAX_PLATFORMS=cpu python benchmarks/safety_costs.py [--gib 1] [--rounds 5] [--repeats 3]

Checksums: seconds of a restore with and without them, in turn (``checksums.py``). Leases: milliseconds to
acquire and release one, and to write one heartbeat, on this machine's temporary folder. Template workers: CPU
seconds of `iml prepare` with templates rendered in a worker and in the process itself, in turn
(``growth.py workers in_process``, and ``templates templates_in_process`` for many small datasets).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import checksums

from iml_jax.storage import lease

HERE = Path(__file__).resolve().parent
HOLDINGS = 300


def leases(folder: Path) -> None:
    """Prints milliseconds of holding a lease, and what its thread writes in the meantime."""
    taken = []
    for number in range(HOLDINGS):
        began = time.perf_counter()
        with lease.hold(folder / f"{number}" / "lock", "a benchmark"):
            pass
        taken.append(1e3 * (time.perf_counter() - began))
    tenths = statistics.quantiles(taken, n=10)
    print(
        f"lease, acquired and released: median {tenths[4]:.2f} ms (10% {tenths[0]:.2f}, 90% {tenths[8]:.2f})"
    )
    with lease.hold(folder / "beating" / "lock", "a benchmark", beat=0.01, ttl=1.0):
        began = time.process_time()
        time.sleep(5.0)
        spent = time.process_time() - began
    each = 1e3 * spent / (5.0 / 0.01)
    print(f"lease, one heartbeat: at most {each:.2f} ms of CPU, one every {lease.BEAT_SECONDS:.0f} s")


def workers(repeats: int) -> None:
    """Prints the CPU seconds of `iml prepare`, templates in a worker and in the process, in turn."""
    for kinds in (("workers", "in_process"), ("templates", "templates_in_process")):
        command = [sys.executable, str(HERE / "growth.py"), *kinds, "--sizes", "1000"]
        run = subprocess.run(
            [*command, "--repeats", str(repeats)], check=True, stdout=subprocess.PIPE, text=True
        )
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for words in map(str.split, run.stdout.splitlines()):
            if words[0] in found and words[1] != "start":
                found[words[0]].append(float(words[2]))
        medians = [statistics.median(found[kind]) for kind in kinds]
        every = "; ".join(f"{kind} " + " ".join(f"{one:.1f}" for one in found[kind]) for kind in kinds)
        print(f"template workers, CPU s: {every}; ratio of medians {medians[0] / medians[1]:.3f}", flush=True)


def main() -> None:
    """Measures the three and prints a line or two for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=1.0, help="size of the checkpoint that is restored")
    parser.add_argument("--rounds", type=int, default=5, help="restores with and without checksums")
    parser.add_argument("--repeats", type=int, default=3, help="preparations with and without workers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="iml-safety-") as folder:
        print("checksums of a restore:", flush=True)
        checksums.main(Path(folder, "run"), arguments.gib, arguments.rounds)
        leases(Path(folder))
    workers(arguments.repeats)


if __name__ == "__main__":
    main()
