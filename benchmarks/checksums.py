"""What comparing checksums adds to a restore: seconds with and without, in turn, on random float32.

Usage: JAX_PLATFORMS=cpu python benchmarks/checksums.py FOLDER [GIB] [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np

from iml_jax.checkpoints import inventory
from iml_jax.checkpoints.restore import read_state
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.checkpoints.verifying import read_verified

ARRAYS = 32


def main(folder: Path, gib: float, rounds: int) -> None:
    """Saves once, restores ``2 * rounds`` times, prints medians and spread."""
    rng, one = np.random.default_rng(0), int(gib * 2**28 / ARRAYS)
    params = {f"w{i}": jax.device_put(rng.standard_normal(one, np.float32)) for i in range(ARRAYS)}
    place = folder / "checkpoints/1"
    if not place.exists():
        with CheckpointStore(folder) as store:
            store.save(1, {"params": params}, None, {"format": 1})
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = {
        "params": {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=sharding) for k, v in params.items()}
    }
    del params

    def read(place: Path) -> None:
        jax.block_until_ready(read_state(place, target))

    seen: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for number in range(rounds + 1):
        for name, measured in seen.items():
            start = time.perf_counter(), time.process_time()
            read_verified(place, read) if name == "with" else read(place)
            if number:  # the first of each warms the page cache
                measured.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    for which, unit in enumerate(("wall", "CPU")):
        found = {name: [pair[which] for pair in pairs] for name, pairs in seen.items()}
        medians = {name: statistics.median(values) for name, values in found.items()}
        spread = ", ".join(
            f"{name} {medians[name]:.2f} s ({min(values):.2f} to {max(values):.2f})"
            for name, values in found.items()
        )
        print(f"{unit}: {spread}; ratio {medians['with'] / medians['without']:.3f}")
    start = time.perf_counter(), time.process_time()
    inventory.verify(place)
    print(f"alone: {time.perf_counter() - start[0]:.2f} s, CPU {time.process_time() - start[1]:.2f} s")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        float(sys.argv[2]) if len(sys.argv) > 2 else 1.0,
        int(sys.argv[3]) if len(sys.argv) > 3 else 5,
    )
