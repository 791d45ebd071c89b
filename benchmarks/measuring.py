"""What the benchmarks of data measure with: clocks, memory, the steady speed of a loader."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from iml_jax.data.loader import Loader


def resident(process: int | str = "self") -> float:
    """Resident memory of a process in GiB; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (OSError, IndexError):
        return 0.0


def clocks() -> tuple[float, float]:
    """Seconds of the wall clock and of this process's CPU; on a busy machine only the latter compares."""
    return time.perf_counter(), time.process_time()


def timed(name: str, start: tuple[float, float], note: str = "") -> tuple[float, float]:
    """Prints the seconds and CPU seconds since ``start``, and the memory; returns the clocks now."""
    wall, processor = (now - then for now, then in zip(clocks(), start, strict=True))
    print(
        f"{name:<28} {wall:8.3f} s   CPU {processor:7.3f} s   RSS {resident():.3f} GiB   {note}", flush=True
    )
    return clocks()


def rate(tokens: int, cells: int, start: tuple[float, float]) -> str:
    """Speed since ``start`` and the filled part of the rows, in words."""
    seconds, processor = (now - then for now, then in zip(clocks(), start, strict=True))
    cpu = f"{tokens / processor:,.0f} tokens/CPU s"
    return f"{tokens / seconds:,.0f} tokens/s   fill {tokens / cells:.4f}   {cpu}"


def steady(loader: Loader, batches: int, prefix: str = "") -> None:
    """Prints the speed over ``batches`` after the first."""
    start = clocks()
    tokens = cells = 0
    for _ in range(batches):
        segments = next(loader).segment_ids
        tokens += int(np.count_nonzero(segments))
        cells += segments.size
    timed(f"{prefix}steady, {batches} batches", start, rate(tokens, cells, start))
