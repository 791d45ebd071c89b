"""Speed of the training stream on a generated bench: open, first batch, steady, resume, memory, fill.

    python benchmarks/loader.py --tasks 2000 --examples 200 [--plain]

``--plain`` then reads the same records in the same process the way Grain's own parts are commonly put
together (an ArrayRecord source, shuffle and repeat for each task, ``MapDataset.mix``, first-fit packing).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import grain
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import clocks, rate, resident, steady, timed
from support.fixtures_prepared import SyntheticTask, write_prepared

from iml_jax.data.loader import LoaderConfig, make_loader
from iml_jax.data.manifest import Manifest, load
from iml_jax.data.packing import batch_of_rows, pack, training_example
from iml_jax.data.records import parse_example


def generate(directory: Path, tasks: int, examples: int, length: int, mean: float) -> None:
    """Writes tasks whose lengths are log-normal about a median of their own, rates over three decades."""
    rng = np.random.default_rng(0)
    made = []
    for task in range(tasks):
        middle = np.clip(mean * np.exp(rng.normal(-0.6, 0.6)), 16, length)
        rows = []
        for number in range(examples):
            total = int(np.clip(middle * np.exp(rng.normal(0, 0.5)), 8, 2 * length))
            answer = int(min(total - 1, 1 + rng.geometric(0.1)))
            rows.append(
                {
                    "prompt_ids": rng.integers(4, 50265, total - answer),
                    "target_ids": np.append(rng.integers(4, 50265, answer - 1), 2),
                    "example_id": [f"{task}-{number}".encode()],
                    "template": [b"synthetic"],
                }
            )
        rate = float(np.exp(rng.uniform(np.log(1), np.log(1000))))
        made.append(SyntheticTask(f"generated:task{task:05d}:zero_shot", {"train": rows}, rate))
    write_prepared(directory, made, length=length, tokens=50265)


def plain(directory: Path, manifest: Manifest, arguments: argparse.Namespace) -> None:
    """The same records through Grain's stock mix, shuffle and reader."""
    start = clocks()
    tasks = manifest.trained
    parents = [
        grain.MapDataset.source(
            grain.sources.ArrayRecordDataSource(
                [str(directory / file.path) for file in task.splits["train"].files]
            )
        )
        .shuffle(number)
        .repeat()
        for number, task in enumerate(tasks)
    ]

    def tokens(record: bytes) -> dict[str, object]:
        features = parse_example(record)
        return {
            "tokens": training_example(
                np.asarray(features["prompt_ids"]), np.asarray(features["target_ids"]), arguments.length
            ),
            "task": 0,
        }

    mixed = grain.MapDataset.mix(parents, [task.rate for task in tasks]).map(tokens)
    rows = iter(pack(mixed.to_iter_dataset(), arguments.length, 64, 0))
    start = timed("plain Grain: open", start)
    batch_of_rows([next(rows) for _ in range(arguments.batch)])
    start = timed("plain Grain: first batch", start)
    cells = arguments.plain_batches * arguments.batch * arguments.length
    found = 0
    for _ in range(arguments.plain_batches):
        batch = batch_of_rows([next(rows) for _ in range(arguments.batch)])
        found += int(np.count_nonzero(batch.segment_ids))
    timed("plain Grain: steady", start, rate(found, cells, start))


def main() -> None:
    """Generates (or reuses ``--directory``), measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--mean", type=float, default=300.0, help="tokens an example, about")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--prefetch", type=int, default=4)
    parser.add_argument("--virtual_shards", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="keep the bench here and reuse it")
    parser.add_argument("--plain", action="store_true", help="then measure Grain's stock parts")
    parser.add_argument("--plain_batches", type=int, default=20)
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="iml-loader-"))
    if not (directory / "manifest.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        start = clocks()
        generate(directory, arguments.tasks, arguments.examples, arguments.length, arguments.mean)
        timed(f"generate {arguments.tasks} tasks", start)
    print(f"{'imports':<28} {'':8}     RSS {resident():.3f} GiB")
    config = LoaderConfig(
        arguments.batch, virtual_shards=arguments.virtual_shards, prefetch=arguments.prefetch
    )
    start = clocks()
    loader = make_loader(directory, config)
    start = timed("open", start)
    next(loader)
    timed("first batch", start)
    steady(loader, arguments.batches)
    state = json.dumps(loader.state())
    expected = next(loader)
    loader.close()
    start = clocks()
    again = make_loader(directory, config)
    again.restore(json.loads(state))
    found = next(again)
    same = all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    timed("resume: open + first batch", start, f"bit-identical {same}   state {len(state):,} bytes")
    again.close()
    if arguments.plain:
        plain(directory, load(directory), arguments)


if __name__ == "__main__":
    main()
