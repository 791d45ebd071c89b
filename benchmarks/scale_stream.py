"""A part of ``scale.py``: the training stream of a prepared directory, in a process of its own."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from measuring import clocks, resident, steady, timed

from iml_jax.data.batch import Batch
from iml_jax.data.loader import LoaderConfig, make_loader

CONFIG = LoaderConfig(batch_size=8)


def digest(batch: Batch) -> str:
    """SHA-256 (hex) of a batch."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in batch)).hexdigest()


def main() -> None:
    """Measures the beginning (``--save``) or the way back into the stream (``--restore``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--save", type=Path, help="measure the stream, then write its state here")
    parser.add_argument("--restore", type=Path, help="measure going on from this state")
    arguments = parser.parse_args()
    name = "stream" if arguments.save else "resume"
    print(f"{name}: {'imports':<20} {'':8}                     RSS {resident():.3f} GiB")
    start = clocks()
    if arguments.save:
        loader = make_loader(arguments.prepared, CONFIG)
        start = timed(f"{name}: open", start)
        next(loader)
        timed(f"{name}: first batch", start)
        steady(loader, arguments.batches, f"{name}: ")
        state = loader.state()
        arguments.save.write_text(json.dumps({"state": state, "next": digest(next(loader))}))
    else:
        loader = make_loader(arguments.prepared, CONFIG)
        saved = json.loads(arguments.restore.read_text())
        opened = timed(f"{name}: open", start)
        loader.restore(saved["state"])
        found = digest(next(loader))
        size = len(json.dumps(saved["state"]))
        same = found == saved["next"]
        timed(f"{name}: restore, first batch", opened, f"bit-identical {same}   state {size:,} bytes")
        timed(f"{name}: altogether", start)
    loader.close()
    tensorflow = "tensorflow" in sys.modules
    print(f"{name}: {'at the end':<20} {'':8}                     RSS {resident():.3f} GiB   ", end="")
    print(f"TensorFlow imported: {tensorflow}")


if __name__ == "__main__":
    main()
