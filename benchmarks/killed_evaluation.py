"""Whether an evaluation killed and continued is, to the byte, the one that was never stopped.

    python benchmarks/killed_evaluation.py CHECKPOINT --prepared DIR --output DIR --examples 20 --kills 3

``iml evaluate`` runs once undisturbed, and once more in processes that are killed (SIGKILL) while they work,
each after it has kept the answers of at least one more chunk, until one comes to its end. Predictions are
compared byte by byte, the result files after their ``seconds`` and checksum are taken out. Exit status 1 if
they differ.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

RUN = (
    "import sys; from iml_jax import cli; from iml_jax.evaluation.engine import runner; "
    "runner.CHUNK = int(sys.argv.pop(1)); sys.exit(cli.main(sys.argv[1:]))"
)


def command(arguments: argparse.Namespace, output: Path) -> list[str]:
    """The evaluation as a process of its own, its chunks as large as asked."""
    return [
        *(sys.executable, "-c", RUN, str(arguments.chunk), "evaluate", arguments.checkpoint),
        f"--gin.Evaluate.prepared_dir={arguments.prepared!r}",
        f"--gin.Evaluate.examples_per_task={arguments.examples}",
        f"--gin.Generate.max_new_tokens={arguments.new_tokens}",
        *(f"--gin.{binding}" for binding in arguments.gin),
        *("--output", str(output)),
    ]


def killed_once(arguments: argparse.Namespace, output: Path, log: Path, least: int, wait: float) -> bool:
    """Starts the evaluation and kills it ``wait`` seconds after it has kept ``least`` chunks.

    Returns:
      Whether it was killed; False if it had come to its end before.
    """
    folder = output.with_suffix(".unfinished")
    with log.open("a") as said, subprocess.Popen(
        command(arguments, output), stdout=said, stderr=subprocess.STDOUT
    ) as process:  # fmt: skip
        while process.poll() is None and kept(folder) < least:
            time.sleep(0.01)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.returncode not in (0, -9):
        raise SystemExit(f"the evaluation failed with {process.returncode}: {log}")
    return process.returncode == -9


def kept(folder: Path) -> int:
    """Chunks whose answers are kept."""
    return len(list(folder.glob("answers-*.jsonl"))) if folder.is_dir() else 0


def without_times(path: Path) -> str:
    """A result file's text without the time that it took and the checksum, which covers that."""
    record = json.loads(path.read_text())
    del record["metadata"]["seconds"], record["sha256"]
    return json.dumps(record, indent=1)


def main() -> None:
    """Runs both, compares, prints what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--output", required=True, type=Path, help="a directory for results and logs")
    parser.add_argument("--examples", type=int, default=20, help="of each task; 0 means all (20)")
    parser.add_argument("--new_tokens", type=int, default=16, help="Generate.max_new_tokens (16)")
    parser.add_argument("--chunk", type=int, default=256, help="questions answered together (256)")
    parser.add_argument("--kills", type=int, default=3, help="processes killed before one may finish (3)")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="another binding")
    parser.add_argument(
        "--delay", type=float, default=0.0, help="seconds at most from what was kept to the kill (0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (0)")
    arguments = parser.parse_args()
    whole, parts = arguments.output / "whole.json", arguments.output / "killed.json"
    arguments.output.mkdir(parents=True)
    start = time.perf_counter()
    with (arguments.output / "whole.log").open("w") as said:
        subprocess.run(command(arguments, whole), stdout=said, stderr=subprocess.STDOUT, check=True)
    seconds = time.perf_counter() - start
    record = json.loads(whole.read_text())
    tasks, examples = len(record["tasks"]), sum(task["examples"] for task in record["tasks"])
    print(f"undisturbed: {tasks} tasks, {examples} answers, {seconds:.1f} s", flush=True)
    draw = random.Random(arguments.seed)
    log, folder, start = (
        arguments.output / "killed.log",
        parts.with_suffix(".unfinished"),
        time.perf_counter(),
    )
    for number in range(arguments.kills):
        before = kept(folder)
        wait = draw.uniform(0, arguments.delay)
        if not killed_once(arguments, parts, log, before + 1, wait):
            raise SystemExit(
                f"process {number + 1} was done before its kill; give a smaller --chunk or --delay"
            )
        print(
            f"killed: had {before} of {-(-examples // arguments.chunk)} chunks, kept {kept(folder)}",
            flush=True,
        )
    with log.open("a") as said:
        subprocess.run(command(arguments, parts), stdout=said, stderr=subprocess.STDOUT, check=True)
    print(f"continued to the end: {time.perf_counter() - start:.1f} s in {arguments.kills + 1} processes")
    same = {
        "predictions": whole.with_name("whole.predictions.jsonl").read_bytes()
        == parts.with_name("killed.predictions.jsonl").read_bytes(),
        "results": without_times(whole) == without_times(parts),
    }
    print("; ".join(f"{name} {'identical' if equal else 'DIFFER'}" for name, equal in same.items()))
    sys.exit(not all(same.values()))


if __name__ == "__main__":
    main()
