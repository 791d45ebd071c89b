"""What work costs at n, 2n and 4n: CPU seconds and peak memory, each measured in a process of its own.

    python benchmarks/growth.py ledger metrics plan          # seconds each
    python benchmarks/growth.py tasks stream leakage rows    # prepares; minutes
    python benchmarks/growth.py ledger --python OLD/.venv/bin/python --sizes 250 500 1000

``--python`` names the interpreter of another checkout, whose code is then measured on the same inputs.
Linear growth doubles CPU from one row to the next, less what a process costs that does nothing (``start``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINES = 100  # of the ledger, for each restart
EXAMPLES = 20  # of a task, on average
ROWS_TASKS = 20
BATCHES = 100

LEDGER = """
from pathlib import Path
from iml_jax.training.goodput import Ledger
Ledger(Path({folder!r}), {steps}, 0.0).close(False)
"""
METRICS = """
from pathlib import Path
from iml_jax.training.telemetry import Telemetry
Telemetry(Path({folder!r}), {steps} * 2, {steps}).close()
"""
STREAM = """
from pathlib import Path
from iml_jax.data.loader import LoaderConfig, make_loader
loader = make_loader(Path({folder!r}), LoaderConfig(batch_size=8))
for _ in range({batches}):
    next(loader)
loader.close()
"""
PLAN = """
import sys
from iml_jax.cli import main
sys.exit(main(["plan", "--topology={topology}", "--only=train", "--no_cache",
               "--gin_file=models/opt_125m.gin",
               "--gin.Train.run_dir='run'", "--gin.Train.prepared_dir='prepared'",
               "--gin.Loader.batch_size=4096", "--gin.Loader.length=512", "--gin.Mesh.data=-1",
               "--gin.Mesh.fsdp=1", "--gin.Mesh.tensor=1"]))
"""
MIXTURE = """
Mixture.name = "growth"
Mixture.sources = (@SuperNaturalInstructions(), @Flan())
SuperNaturalInstructions.data_dir = "{sources}/super_natural_instructions/tasks"
SuperNaturalInstructions.split_dir = "{sources}/super_natural_instructions/splits"
Flan.data_dir = "{sources}/flan"
Vocabulary.directory = "{sources}/tokenizer"
Mixture.example_cap = 1000000
Prepare.output_dir = "{prepared}"
Prepare.workers = 1
"""
TOPOLOGIES = {128: "v5p:4x4x8", 256: "v5p:4x8x8", 512: "v5p:8x8x8", 1024: "v5p:8x8x16", 4096: "v5p:16x16x16"}


def measure(python: str, code: str) -> tuple[float, float]:
    """CPU seconds (children included) and peak memory in GiB of one process that runs ``code``."""
    command = [str(Path(python).absolute()), "-W", "ignore", "-P", "-c", code]  # -P: no module from here
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{command}: {log.read().decode()[-3000:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def ledger(folder: Path, size: int) -> str:
    """A run of ``size`` processes, each killed after 100 log lines of which 10 are done again."""
    step = 0
    with (folder / "goodput.jsonl").open("w") as file:
        for number in range(size):
            at = 1.7e9 + number * 1000
            step = max(step - 100, 0)
            file.write(json.dumps({"begin": at, "resumed": step}) + "\n")
            for line in range(LINES):
                steps = [step + 1, step + 10, 9.5]
                step += 10
                record = {"until": at + 10 * line, "steps": steps, "seconds": {"data": 0.25, "other": 0.25}}
                file.write(json.dumps(record) + "\n")
    return LEDGER.format(folder=str(folder), steps=step)


def metrics(folder: Path, size: int) -> str:
    """A resume of a run with ``size`` log lines, of which the last ten are done again."""
    names = ("loss", "loss_tokens_per_second", "tokens_per_second", "packing_fill", "gradient_norm")
    names += ("learning_rate", "model_flops_per_second", "seconds_per_step", "goodput", "mfu")
    with (folder / "metrics.jsonl").open("w") as file:
        for line in range(1, size + 1):
            values = dict.fromkeys(names, 0.1234567890123 * line)
            file.write(json.dumps({"step": 10 * line, "kind": "train", **values}) + "\n")
    return METRICS.format(folder=str(folder), steps=10 * (size - 10))


def _written(folder: Path, tasks: int, examples: int) -> list[str]:
    import scale_sources

    sources = folder / "sources"
    if not sources.exists():
        scale_sources.write(sources, tasks, examples, 30.0, 2000)
    gin = folder / "growth.gin"
    gin.write_text(MIXTURE.format(sources=sources, prepared=folder / "prepared"))
    return ["prepare", f"--gin_file={gin}"]


def _command(arguments: list[str]) -> str:
    return f"import sys\nfrom iml_jax.cli import main\nsys.exit(main({arguments!r}))"


def tasks(folder: Path, size: int) -> str:
    """`iml prepare` of ``size`` tasks of 20 examples."""
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    return _command(_written(folder, size, size * EXAMPLES))


def rows(folder: Path, size: int) -> str:
    """`iml prepare` of ``size`` examples in 20 tasks."""
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    return _command(_written(folder, ROWS_TASKS, size))


def _prepared(folder: Path, size: int) -> Path:
    if not (folder / "prepared" / "manifest.json").exists():
        subprocess.run([sys.executable, "-W", "ignore", "-c", tasks(folder, size)], check=True, stdout=2)
    return folder / "prepared"


def stream(folder: Path, size: int) -> str:
    """Opening a prepared directory of ``size`` tasks and reading 100 batches of 8 rows."""
    return STREAM.format(folder=str(_prepared(folder, size)), batches=BATCHES)


def leakage(folder: Path, size: int) -> str:
    """`iml leakage` of a prepared directory of ``size`` tasks."""
    return _command(["leakage", f"--gin.Leakage.prepared_dir={str(_prepared(folder, size))!r}"])


def plan(folder: Path, size: int) -> str:
    """`iml plan` of OPT-125M's train step on ``size`` chips."""
    del folder
    return PLAN.format(topology=TOPOLOGIES[size])


KINDS: dict[str, tuple[Callable[[Path, int], str], tuple[int, ...]]] = {
    "ledger": (ledger, (250, 500, 1000)),
    "metrics": (metrics, (50_000, 100_000, 200_000)),
    "tasks": (tasks, (500, 1000, 2000)),
    "stream": (stream, (500, 1000, 2000)),
    "leakage": (leakage, (500, 1000, 2000)),
    "rows": (rows, (10_000, 20_000, 40_000)),
    "plan": (plan, (128, 1024, 4096)),
}
STARTS = {
    "ledger": "import iml_jax.training.goodput",
    "metrics": "import iml_jax.training.telemetry",
    "tasks": "import iml_jax.bench.preparing",
    "stream": "import iml_jax.data.loader",
    "leakage": "import iml_jax.bench.leakage",
    "rows": "import iml_jax.bench.preparing",
    "plan": "import jax",
}


def main() -> None:
    """Measures each kind that is named, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--python", default=sys.executable, help="the interpreter whose code is measured")
    parser.add_argument("--sizes", type=int, nargs="+", help="instead of n, 2n and 4n of the kind")
    parser.add_argument("--directory", type=Path, help="keep the inputs here and reuse them")
    arguments = parser.parse_args()
    base = arguments.directory or Path(tempfile.mkdtemp(prefix="iml-growth-"))
    print(f"load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    for kind in arguments.kinds:
        make, sizes = KINDS[kind]
        seconds, memory = measure(arguments.python, STARTS[kind])
        print(f"{kind:<8} {'start':>8} {seconds:8.2f} s CPU {memory:6.2f} GiB", flush=True)
        for size in arguments.sizes or sizes:
            # The three that read a prepared directory share it.
            folder = base / f"{'tasks' if kind in ('stream', 'leakage') else kind}-{size}"
            folder.mkdir(parents=True, exist_ok=True)
            seconds, memory = measure(arguments.python, make(folder, size))
            print(f"{kind:<8} {size:>8,} {seconds:8.2f} s CPU {memory:6.2f} GiB", flush=True)
    if arguments.directory is None:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
