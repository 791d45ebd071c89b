"""Commands on damaged inputs: every one is refused, repaired and counted, or makes no difference.

Usage: python benchmarks/damaged_inputs.py [--cases 2000] [--seed 0] [--workers 2] [--only COMMAND]
    [--numbers N,N] [--seconds 30] [--folder DIR]

Each case damages one input file of one command, runs the command in a forked child and looks at what came
of it. Right are: refused (exit status 2, or 1 for what only reading could show, and one line that names the
file), repaired (status 0, another result, and a line that names the file or a larger count of dropped rows),
and identical (status 0 and the result of the undamaged run, bit for bit). Everything else is a failure: a
traceback, another result without a message, a hang, more than 2 GiB. Exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from damage import kinds, server, world

REFUSED, REPAIRED, IDENTICAL, FAILED = "refused", "repaired", "identical", "FAILED"
OUTCOMES = (REFUSED, REPAIRED, IDENTICAL, FAILED)
HEAVY, HARNESS = ("prepare", "tasks", "leakage"), ("lm-eval",)


def main() -> int:
    """Forks the workers, each with its own world, and prints the table of what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="commands that begin so")
    parser.add_argument("--numbers", default="", help="only these cases: 59,306")
    parser.add_argument("--seconds", type=float, default=30.0, help="after which a command hangs")
    parser.add_argument("--folder", default="", help="kept afterwards; default: a temporary folder")
    given = parser.parse_args()
    folder = Path(given.folder or tempfile.mkdtemp(prefix="iml-damaged-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ["HOME"] = str(folder)
    heavy, harness = (any(name.startswith(given.only) for name in names) for names in (HEAVY, HARNESS))
    server.prepare_parent(heavy, harness)
    files = [folder / f"cases.{number}.jsonl" for number in range(given.workers)]
    children = []
    for number, file in enumerate(files):
        child = os.fork()
        if not child:
            status = 70
            try:
                work(Slot(folder / f"slot{number}", given.seconds), file, given, number)
                status = 0
            except BaseException as error:  # a forked worker has nobody above it
                print(f"worker {number}: {error!r}"[:4000], file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    cases = [json.loads(line) for file in files if file.is_file() for line in file.read_text().splitlines()]
    failures = show(cases)
    if not given.folder and not failures:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures or any(ended) else 0


@dataclasses.dataclass
class Slot:
    """One worker's folders and what the undamaged commands made there.

    Attributes:
      folder: of the worker; the cases run in ``case`` below it, one after the other.
      seconds: after which a command hangs.
      golden: by command.
    """

    folder: Path
    seconds: float
    golden: dict[str, server.Ended] = dataclasses.field(default_factory=dict)

    @property
    def case(self) -> Path:
        """Where the commands run."""
        return self.folder / "case"

    @property
    def world(self) -> Path:
        """The undamaged inputs."""
        return self.folder / "world"


def work(slot: Slot, file: Path, given: argparse.Namespace, number: int) -> None:
    """One worker's share of the cases, each a line of ``file`` when it is done."""
    if not slot.world.is_dir():
        build(slot)
    chosen = [one for one in world.targets(slot.case) if one.command.startswith(given.only)]
    with file.open("w") as stream:
        for index in numbers(given, number):
            draws = random.Random(f"{given.seed} {index}")
            target = draws.choices(chosen, [one.weight for one in chosen])[0]
            if target.command not in slot.golden:
                slot.golden[target.command] = undamaged(slot, target)
            stream.write(json.dumps({"case": index, **one_case(slot, target, draws)}) + "\n")
            stream.flush()


def numbers(given: argparse.Namespace, worker: int) -> list[int]:
    """The cases of one worker."""
    cases = [int(word) for word in given.numbers.split(",")] if given.numbers else list(range(given.cases))
    return cases[worker :: given.workers]


def build(slot: Slot) -> None:
    """Makes the world of a worker with the commands themselves."""
    case = slot.case
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    world.write_sources(case)
    for argv in world.build_steps(case):
        done = server.run(argv, case, lambda folder, out: {}, seconds=600, peak_bytes=8 << 30)
        if done.status:
            command = " ".join(argv)
            raise SystemExit(f"the undamaged world: iml {command}: {done.status}\n{done.stderr[-2000:]}")
    world.keep(case, slot.world)


def fresh(slot: Slot, target: world.Target) -> None:
    """An undamaged case folder."""
    shutil.rmtree(slot.case, ignore_errors=True)
    slot.case.mkdir()
    for name in target.inputs:
        copy = shutil.copytree if (slot.world / name).is_dir() else shutil.copyfile
        copy(slot.world / name, slot.case / name)


def run(slot: Slot, target: world.Target, *before: Callable[[], None], seconds: float) -> server.Ended:
    """The target's command in the case folder."""
    argv, program = target.argv, target.program
    return server.run(argv, slot.case, target.digest, *before, program=program, seconds=seconds)


def undamaged(slot: Slot, target: world.Target) -> server.Ended:
    """The command on undamaged inputs; twice, to see that its result is the same."""
    found = []
    for _ in range(2):
        fresh(slot, target)
        found.append(run(slot, target, seconds=10 * slot.seconds))
    for done in found:
        if done.status or not done.digest:
            printed = f"{done.stdout[-500:]}\n{done.stderr[-2000:]}"
            raise SystemExit(f"undamaged {target.command}: {done.status}\n{printed}")
    if found[0].digest != found[1].digest:
        raise SystemExit(f"undamaged {target.command}: not the same twice: {changed(*found)}")
    return found[1]


def changed(one: server.Ended, other: server.Ended) -> list[str]:
    """The names of what is not the same in two results."""
    names = sorted(one.digest.keys() | other.digest.keys())
    return [name for name in names if one.digest.get(name) != other.digest.get(name)]


def one_case(slot: Slot, target: world.Target, draws: random.Random) -> dict[str, object]:
    """Damages one file, runs the command and judges."""
    fresh(slot, target)
    glob, form, own = draws.choice(target.files)
    files = [path for path in sorted(slot.case.glob(glob)) if path.is_file()]
    if not files:
        raise SystemExit(f"{target.command}: the undamaged world has no {glob}")
    path = draws.choice(files)
    note = slot.folder / "damage.json"
    note.unlink(missing_ok=True)

    def before() -> None:
        note.write_text(json.dumps(kinds.damage(path, form, own, draws)))

    done = run(slot, target, before, seconds=slot.seconds)
    what, kind = json.loads(note.read_text()) if note.is_file() else ("none", "the damage failed")
    outcome, why = judge(done, slot.golden[target.command], path.relative_to(slot.case))
    return {
        "command": target.command,
        "file": glob,
        "path": str(path.relative_to(slot.case)),
        "class": what,
        "kind": kind,
        "outcome": outcome,
        "why": why,
        "status": done.status,
        "seconds": round(done.seconds, 2),
        "peak_mib": done.peak_bytes >> 20,
        "stderr": done.stderr[-1500:] if outcome == FAILED else done.stderr[-300:],
    }


def judge(done: server.Ended, golden: server.Ended, path: Path) -> tuple[str, str]:
    """The outcome, and of a failure why it is one."""
    wrong = (
        ("hangs", done.hung),
        (f"{done.peak_bytes >> 20} MiB", done.peak_bytes > 2 << 30),
        ("traceback", "Traceback" in done.stderr or "this is a bug" in done.stderr),
        (f"exit status {done.status}", done.status not in (0, 1, 2)),
    )
    for why, failed in wrong:
        if failed:
            return FAILED, why
    if done.status:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("iml: ", "iml-lm-eval: "))]
        if len(lines) == 1 and names(lines[0], path):
            return REFUSED, "" if done.status == 2 else "status 1"
        return FAILED, "does not name the file" if len(lines) == 1 else f"{len(lines)} lines"
    difference = changed(done, golden)
    before = (golden.stdout + golden.stderr).splitlines()
    new = [line for line in (done.stdout + done.stderr).splitlines() if line not in before]
    if not difference:
        return IDENTICAL, ""
    if any(names(line, path) for line in new) or dropped(done) > dropped(golden):
        return REPAIRED, ""
    return FAILED, f"silent change of {', '.join(difference[:4])}"


def names(line: str, path: Path) -> bool:
    """Whether a line names the file, or the checkpoint that it is part of."""
    if path.name in line or path.name.encode("unicode_escape").decode() in line:
        return True
    parts = path.parts
    if "checkpoints" in parts:
        step = parts[parts.index("checkpoints") + 1]
        return any(name.format(step) in line for name in ("checkpoints/{}", "checkpoint {}", "({}: it is"))
    return parts[-2:-1] == ("tokenizer",) and "/tokenizer" in line


def dropped(done: server.Ended) -> int:
    """The rows that a command says it dropped: what `iml tasks` prints, what `iml prepare` writes."""
    lines = re.findall(r"(?:skipped before these:|dropped:) (.*)", done.stdout + done.stderr)
    printed = sum(int(number) for line in lines for number in re.findall(r"(?:^|, )(\d+) ", line))
    return printed + int(done.digest.get(world.DROPPED, 0))


def show(cases: list[dict[str, object]]) -> int:
    """Prints the table and the failures; returns how many there are."""
    table: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in cases:
        table[str(one["command"]), f"{one['class']}: {one['kind']}"][str(one["outcome"])] += 1
        table[str(one["command"]), "all"][str(one["outcome"])] += 1
        table["all", str(one["class"])][str(one["outcome"])] += 1
        table["all", "all"][str(one["outcome"])] += 1
    print(f"{'command':<14} {'damage':<40}" + "".join(f"{name:>11}" for name in OUTCOMES))
    for (command, damage), counts in sorted(table.items(), key=lambda item: (item[0][0] == "all", item[0])):
        print(f"{command:<14} {damage:<40}" + "".join(f"{counts[name]:>11}" for name in OUTCOMES))
    failures = [one for one in cases if one["outcome"] == FAILED]
    for one in failures:
        last = str(one["stderr"]).strip().splitlines()[-1:] or [""]
        print(f"\ncase {one['case']}: {one['command']}: {one['path']} ({one['kind']}): {one['why']}")
        print(f"    {last[0][:300]}")
    worst = max((int(str(one["peak_mib"])) for one in cases), default=0)
    slowest = max((float(str(one["seconds"])) for one in cases), default=0.0)
    print(f"\n{len(cases)} cases, {len(failures)} failures; longest {slowest:.1f} s, largest {worst} MiB")
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
