"""What work costs at n, 2n and 4n: CPU seconds and peak memory, each measured in a process of its own.

    python benchmarks/growth.py ledger metrics plan instance           # seconds to a few minutes each
    python benchmarks/growth.py tasks stream leakage rows templates    # prepares; minutes
    python benchmarks/growth.py workers in_process --repeats 3         # what template workers add, a row
    python benchmarks/growth.py templates templates_in_process         # and a template
    python benchmarks/growth.py ledger --python OLD/.venv/bin/python --sizes 250 500 1000 --directory DIR

``--python`` names the interpreter of another checkout, whose code is then measured on the same inputs
(``--directory`` keeps them). CPU is that of the process and of all its children, memory that of the largest
of them. Linear growth doubles CPU from one row to the next, less what a process costs that does nothing
(``start``). ``leakage`` reads what ``tasks`` prepared, and prepares it where it is not there.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = 20  # of a task, on average
ROWS_TASKS = 20
BATCHES = 100
STREAM_EXAMPLES = 100  # of a task, on average
TEMPLATE_ROWS = 100
TEMPLATES = 100
TOPOLOGIES = {128: "v5p:4x4x8", 256: "v5p:4x8x8", 512: "v5p:8x8x8", 1024: "v5p:8x8x16", 4096: "v5p:16x16x16"}

LEDGER = """
from pathlib import Path
from iml_jax.training.goodput import Ledger
Ledger(Path({folder!r}), {step}, 0.0).close(False)
"""
METRICS = """
from pathlib import Path
from iml_jax.training.telemetry import Telemetry
Telemetry(Path({folder!r}), {step} * 2, {step}).close()
"""
STREAM = """
from pathlib import Path
from iml_jax.data.loader import LoaderConfig, make_loader
loader = make_loader(Path({folder!r}), LoaderConfig(batch_size=8))
for _ in range({batches}):
    next(loader)
loader.close()
"""
RECORDS = """
import sys
from pathlib import Path
sys.path.append({here!r})
import scale_sources
scale_sources.write_records(Path({folder!r}), {tasks}, {tasks} * {examples}, 120.0, 2000)
"""
IN_PROCESS = """
import sys
sys.path.append({here!r})
import growth_in_process
growth_in_process.install()
"""
MIXTURE = """
Mixture.name = "growth"
Mixture.example_cap = 1000000
Vocabulary.directory = "{inputs}/tokenizer"
Prepare.output_dir = "{prepared}"
Prepare.workers = 1
"""
SCALED = """
Mixture.sources = (@SuperNaturalInstructions(), @Flan())
SuperNaturalInstructions.data_dir = "{inputs}/super_natural_instructions/tasks"
SuperNaturalInstructions.split_dir = "{inputs}/super_natural_instructions/splits"
Flan.data_dir = "{inputs}/flan"
"""
TEMPLATED = """
Mixture.sources = (@PromptSource(),)
PromptSource.data_dir = "{inputs}/data"
PromptSource.template_dir = "{inputs}/templates"
"""
LONG = """
Mixture.sources = (@SuperNaturalInstructions(),)
SuperNaturalInstructions.data_dir = "{inputs}/tasks"
"""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one size of a kind is measured.

    Attributes:
      inputs: the files that every checkout reads.
      own: what this checkout makes of them.
      size: n, 2n or 4n.
      python: the interpreter that is measured.
    """

    inputs: Path
    own: Path
    size: int
    python: str

    def fresh(self, make: Callable[[Path], object]) -> None:
        """Makes the inputs where they are not there."""
        if not self.inputs.exists():
            unfinished = self.inputs.with_suffix(f".{os.getpid()}")  # another checkout may be measured now
            unfinished.mkdir(parents=True)
            make(unfinished)
            try:
                unfinished.rename(self.inputs)
            except OSError:
                shutil.rmtree(unfinished)

    def prepare(self, sources: str, make: Callable[[Path], object], before: str = "") -> str:
        """Code of `iml prepare` into an empty directory."""
        self.fresh(make)
        shutil.rmtree(self.own / "prepared", ignore_errors=True)
        gin = self.own / "growth.gin"
        gin.write_text((MIXTURE + sources).format(inputs=self.inputs, prepared=self.own / "prepared"))
        return before + command("prepare", f"--gin_file={gin}")


def command(*arguments: str) -> str:
    """Code that runs one `iml` command."""
    return f"import sys\nfrom iml_jax.cli import main\nsys.exit(main({list(arguments)!r}))"


def ledger(place: Place) -> str:
    """The goodput ledger of a run of ``size`` restarts, opened by the next."""
    import growth_inputs

    place.own.joinpath("goodput.jsonl").unlink(missing_ok=True)
    return LEDGER.format(folder=str(place.own), step=growth_inputs.ledger(place.own, place.size))


def metrics(place: Place) -> str:
    """A resume of a run with ``size`` log lines, of which the last ten are done again."""
    import growth_inputs

    return METRICS.format(folder=str(place.own), step=growth_inputs.metrics(place.own, place.size))


def tasks(place: Place) -> str:
    """`iml prepare` of ``size`` tasks of 20 examples on average, and 5% more that are evaluated."""
    import growth_inputs

    return place.prepare(SCALED, lambda to: growth_inputs.scaled(to, place.size, place.size * EXAMPLES))


def rows(place: Place) -> str:
    """`iml prepare` of ``size`` examples in 20 tasks."""
    import growth_inputs

    return place.prepare(SCALED, lambda to: growth_inputs.scaled(to, ROWS_TASKS, place.size))


def templates(place: Place) -> str:
    """`iml prepare` of 10 datasets of 100 rows with ``size`` templates in all."""
    import growth_inputs

    return place.prepare(TEMPLATED, lambda to: growth_inputs.templates(to, place.size, TEMPLATE_ROWS))


def templates_in_process(place: Place) -> str:
    """The same, the templates rendered in the process itself instead of a worker."""
    return IN_PROCESS.format(here=str(HERE)) + templates(place)


def workers(place: Place) -> str:
    """`iml prepare` of 10 datasets of ``size`` rows with 10 templates each, as PromptSource has."""
    import growth_inputs

    return place.prepare(TEMPLATED, lambda to: growth_inputs.templates(to, TEMPLATES, place.size))


def in_process(place: Place) -> str:
    """The same, the templates rendered in the process itself instead of a worker."""
    return IN_PROCESS.format(here=str(HERE)) + workers(place)


def instance(place: Place) -> str:
    """`iml prepare` of one task whose longest instance has ``size`` million characters."""
    import growth_inputs

    return place.prepare(LONG, lambda to: growth_inputs.instance(to, place.size * 10**6))


def stream(place: Place) -> str:
    """Opening a prepared directory of ``size`` tasks of 100 examples and reading 100 batches of 8 rows."""
    prepared = place.own / "prepared"
    if not (prepared / "manifest.json").exists():
        prepared.mkdir()
        asked = {"here": str(HERE), "folder": str(prepared), "tasks": place.size, "examples": STREAM_EXAMPLES}
        measure(place.python, RECORDS.format(**asked), place.own)
    return STREAM.format(folder=str(prepared), batches=BATCHES)


def leakage(place: Place) -> str:
    """`iml leakage` of a prepared directory of ``size`` tasks."""
    prepared = place.own / "prepared"
    if not (prepared / "manifest.json").exists():
        measure(place.python, tasks(place), place.own)
    return command("leakage", f"--gin.Leakage.prepared_dir={str(prepared)!r}")


def plan(place: Place) -> str:
    """`iml plan` of a small model's train step on ``size`` chips."""
    sizes = ("Loader.batch_size=4096", "Loader.length=128", "Model.vocab_rows=512", "Model.vocab_tokens=500")
    mesh = ("Mesh.data=-1", "Mesh.fsdp=1", "Mesh.tensor=1", "Train.run_dir='run'")
    settings = (*sizes, *mesh, "Train.prepared_dir='prepared'", "Model.scan_layers=True")
    return command(
        "plan",
        f"--topology={TOPOLOGIES[place.size]}",
        "--only=train",
        "--no_cache",
        "--gin_file=models/opt_tiny.gin",
        *(f"--gin.{setting}" for setting in settings),
    )


@dataclasses.dataclass(frozen=True)
class Kind:
    """Code to measure, its sizes, what a process imports for it, and whose folder it shares."""

    code: Callable[[Place], str]
    sizes: tuple[int, ...]
    start: str
    folder: str = ""


_PREPARE = "import iml_jax.bench.preparing"
KINDS = {
    "ledger": Kind(ledger, (250, 500, 1000), "import iml_jax.training.goodput"),
    "metrics": Kind(metrics, (50_000, 100_000, 200_000), "import iml_jax.training.telemetry"),
    "tasks": Kind(tasks, (250, 500, 1000), _PREPARE),
    "stream": Kind(stream, (500, 1000, 2000), "import iml_jax.data.loader"),
    "leakage": Kind(leakage, (250, 500, 1000), "import iml_jax.bench.leakage", "tasks"),
    "rows": Kind(rows, (10_000, 20_000, 40_000), _PREPARE),
    "templates": Kind(templates, (250, 500, 1000), _PREPARE),
    "templates_in_process": Kind(templates_in_process, (250, 500, 1000), _PREPARE, "templates"),
    "workers": Kind(workers, (1000,), _PREPARE),
    "in_process": Kind(in_process, (1000,), _PREPARE, "workers"),
    "instance": Kind(instance, (12, 25, 50), _PREPARE),
    "plan": Kind(plan, (128, 1024, 4096), "import jax"),
}


def measure(python: str, code: str, folder: Path) -> tuple[float, float]:
    """CPU seconds (children included) and peak memory in MiB of one process that runs ``code``.

    It runs in ``folder``: a child that is started by ``-m`` takes the package of its working directory.
    """
    # -P: no module from here. This process is small: a child's peak counts from what its parent has.
    words = [str(Path(python).absolute()), "-W", "ignore", "-P", "-c", code]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{words}: {log.read().decode()[-3000:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10


def code_of(kind: str, place: Place) -> str:
    """The code to measure, whose inputs another process makes."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(KINDS[kind].code, place).result()


def main() -> None:
    """Measures each kind that is named, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--python", default=sys.executable, help="the interpreter whose code is measured")
    parser.add_argument("--sizes", type=int, nargs="+", help="instead of n, 2n and 4n of the kind")
    parser.add_argument("--directory", type=Path, help="keep the inputs here and reuse them")
    parser.add_argument("--repeats", type=int, default=1, help="measure the kinds so often, in turn")
    arguments = parser.parse_args()
    base = (arguments.directory or Path(tempfile.mkdtemp(prefix="iml-growth-"))).absolute()
    checkout = Path(arguments.python).absolute().parents[2].name
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {checkout}", flush=True)
    for number in range(arguments.repeats):
        for name in arguments.kinds:
            kind = KINDS[name]
            if number == 0:
                seconds, memory = measure(arguments.python, kind.start, Path(tempfile.gettempdir()))
                print(f"{name:<10} {'start':>8} {seconds:8.2f} s CPU {memory:7.0f} MiB", flush=True)
            for size in arguments.sizes or kind.sizes:
                folder = base / f"{kind.folder or name}-{size}"
                place = Place(folder / "inputs", folder / checkout, size, arguments.python)
                place.own.mkdir(parents=True, exist_ok=True)
                seconds, memory = measure(arguments.python, code_of(name, place), place.own)
                print(f"{name:<10} {size:>8,} {seconds:8.2f} s CPU {memory:7.0f} MiB", flush=True)
    if arguments.directory is None:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
