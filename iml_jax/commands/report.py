"""``iml report A B``: evaluations side by side, as tables and as one HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import show
from iml_jax.storage import paths
from iml_jax.storage.writing import check_writable

if TYPE_CHECKING:
    from iml_jax.config import Config
    from iml_jax.evaluation.pages.compare import ComparedEvaluation
    from iml_jax.evaluation.results import Results

HELP = "Compare evaluations example by example: tables and one HTML page."
CONFIGS = ()
EXAMPLE = "iml report run/evaluation/0.json run --output comparison.html"
FOLDER = "evaluation"
LARGE = 1 << 24  # bytes of predictions, some seconds of work: from here on a log says what is done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "evaluations",
        type=paths.required_argument,
        nargs="+",
        metavar="EVALUATION",
        help="STEP.json as `iml evaluate` wrote it, a RUN or a directory (its newest); the first is what the "
        "others are compared with. One RUN alone: its first and its newest evaluation",
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default="comparison.html",
        metavar="FILE.html",
        help="the page (comparison.html)",
    )
    parser.add_argument(
        "--examples_per_task",
        type=int,
        default=6,
        metavar="N",
        help="examples shown with their answers (6; fewer where there are very many tasks)",
    )


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Prints the tables and writes the page.

    Raises:
      UserError: an evaluation is missing or damaged, or they share no example.
      Fault: the page cannot be written.
    """
    from iml_jax.evaluation.engine import exclusive
    from iml_jax.evaluation.engine.stages import Stages
    from iml_jax.evaluation.pages import compare, compare_page, compare_tables

    if arguments.examples_per_task < 1:
        raise UserError(f"--examples_per_task {arguments.examples_per_task}: must be at least 1")
    if not arguments.output.endswith((".html", ".htm")):
        raise UserError(f"--output {arguments.output}: must end in .html")
    check_writable(Path(arguments.output), "give --output FILE.html in a directory that you may write to")
    page = Path(arguments.output)
    exclusive.check_page(page)
    files = find_files(arguments.evaluations)
    with exclusive.held_page(page) as held, Stages("report", in_log=_size(files) > LARGE) as stages:
        found = compare.compare(read_sources(files, stages), stages)
        stages.pause()
        compare_tables.print_tables(found)
        stages("writing the page")
        held.check()
        page = compare_page.write_page(arguments.output, found, per_task=arguments.examples_per_task)
    show(f"page: {page}")


def _size(files: list[Path]) -> int:
    """Bytes of what will be read; 0 for what is missing, which reading names."""
    from iml_jax.evaluation import results

    predictions = [results.predictions_path(file) for file in files]
    return sum(path.stat().st_size for path in predictions if path.is_file())


def find_files(given: list[str]) -> list[Path]:
    """The evaluations that are meant.

    Raises:
      UserError: one is missing, damaged or named twice.
    """
    files = first_and_newest(Path(given[0])) if len(given) == 1 else [newest(Path(one)) for one in given]
    if len({file.resolve() for file in files}) < len(files):
        raise UserError(f"{', '.join(map(str, files))}: the same evaluation twice")
    if len(files) > 26:
        raise UserError(f"{len(files)} evaluations: at most 26 fit side by side")
    return files


def read_sources(files: list[Path], stage: Callable[[str], None]) -> list[ComparedEvaluation]:
    """Loads every evaluation, with a letter and a short name of its own.

    Raises:
      UserError: one is damaged.
    """
    from iml_jax.evaluation import results
    from iml_jax.evaluation.pages.compare import ComparedEvaluation

    def load(number: int, file: Path) -> Results:
        stage(f"reading {file} ({number + 1} of {len(files)})")
        return results.load(file, predictions=True)

    return [
        ComparedEvaluation(chr(ord("A") + number), name, str(file), load(number, file))
        for number, (file, name) in enumerate(zip(files, short_names(files), strict=True))
    ]


def newest(path: Path) -> Path:
    """The evaluation that a path means.

    Args:
      path: an evaluation file; a run (its newest evaluation); a directory of evaluations (the newest).

    Raises:
      UserError: there is none.
    """
    return path if _is_file(path) else _by_step(path)[-1]


def first_and_newest(path: Path) -> list[Path]:
    """A run's two ends.

    Raises:
      UserError: it has fewer than two evaluations, or ``path`` is one evaluation.
    """
    if _is_file(path):
        raise UserError(f"{path}: one evaluation alone; give a second to compare it with")
    found = _by_step(path)
    if len(found) < 2:
        raise UserError(f"{found[0]}: the only evaluation there; give a second to compare it with")
    return [found[0], found[-1]]


def short_names(files: list[Path]) -> list[str]:
    """``RUN, step N`` or ``RUN/SUITE, step N``; more of the path where files share such a name."""
    whole = [file.resolve().with_suffix("") for file in files]
    parts = [[part for part in file.parts if part != FOLDER] for file in whole]
    least = [3 if file.parent.parent.name == FOLDER else 2 for file in whole]  # RUN/evaluation/SUITE/STEP
    tails: list[list[str]] = []
    for more in range(max(map(len, parts))):
        tails = [one[-(few + more) :] for one, few in zip(parts, least, strict=True)]
        if len(set(map(tuple, tails))) == len(tails):
            break
    return [_short_name(tail) for tail in tails]


def _short_name(tail: list[str]) -> str:
    from iml_jax.evaluation.pages import run_outputs

    known = run_outputs.parse(Path(f"{tail[-1]}.json"))
    if known is None:
        return "/".join(tail)
    step, label = known
    return f"{'/'.join(tail[:-1])}, step {step}" + (f" ({label})" if label else "")


def _is_file(path: Path) -> bool:
    if path.name.endswith(".predictions.jsonl"):
        raise UserError(f"{path}: name the .json beside it")
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")
    return path.is_file()


def _by_step(path: Path) -> list[Path]:
    """The evaluations of a run or directory, by the number of updates.

    They have one group of settings: that of the plain names, or the only label where there are none.
    """
    from iml_jax.evaluation.pages import run_outputs

    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    by_label: dict[str, list[tuple[int, Path]]] = {}
    for file in folder.glob("*.json"):
        if known := run_outputs.parse(file):
            by_label.setdefault(known[1], []).append((known[0], file))
    found = by_label.get("") or (next(iter(by_label.values())) if len(by_label) == 1 else [])
    if not found:
        other = sorted(str(file) for files in by_label.values() for _, file in files)
        below = other or sorted(str(file) for file in folder.glob("*/*.json"))
        there = f"; there is {below[0]}" if below else ""
        raise UserError(f"{folder}: holds no evaluation STEP.json{there}; `iml evaluate` writes one")
    return [file for _, file in sorted(found)]
