"""`iml tasks`: the tasks there are, those a data folder holds, and what a mixture takes of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from iml_jax.bench.sources import SOURCES
from iml_jax.commands.registry import PROMPTS
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import one_line, show
from iml_jax.storage import paths

HELP = "List the tasks that the sources offer, with category, role and metric."
CONFIGS = ("Mixture", "Subset", *PROMPTS, *SOURCES)
EXAMPLE = "iml tasks --gin_file=mixtures/miniature.gin --gin.Miniature.directory=miniature"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to list instead of the sources of ``Mixture``."""
    parser.add_argument(
        "--data_dir",
        type=paths.argument,
        metavar="DIR",
        help="list every task of OPT-IML Bench as present, missing or broken in this folder, which has a "
        "folder for each benchmark (docs/data.md)",
    )
    parser.add_argument("--count", action="store_true", help="with --data_dir: count all examples")
    parser.add_argument(
        "--show",
        type=int,
        metavar="N",
        help="print N rendered prompts of each task of --data_dir or of Mixture, the answer in [[ ]]",
    )
    parser.add_argument(
        "--tasks", default="*", metavar="PATTERN", help="with --show: only tasks benchmark:task that match"
    )
    parser.add_argument("--known", action="store_true", help="print the taxonomy's tables (docs/taxonomy.md)")
    parser.add_argument(
        "--mixture", action="store_true", help="print the examples and rates that Mixture comes to"
    )
    parser.add_argument(
        "--run",
        type=paths.argument,
        metavar="DIR",
        help="as --mixture, of this run, with the examples it has drawn of each task",
    )


def run(arguments: argparse.Namespace, config: Any) -> None:
    """Prints a line for every task listed, and a summary.

    Raises:
      UserError: the mixture, a source, a folder or a combination of flags is wrong.
    """
    _check(arguments)
    if arguments.show is not None:
        _show(arguments, config)
        return
    if arguments.known:
        from iml_jax.bench import known_tables

        text = known_tables.table()
    elif arguments.data_dir is not None:
        text = _listing(arguments.data_dir, count=arguments.count)
    elif arguments.run is not None:
        from iml_jax.bench import effective_mixture

        text = effective_mixture.render(effective_mixture.of_run(arguments.run))
    elif arguments.mixture:
        from iml_jax.bench import effective_mixture

        text = effective_mixture.render(effective_mixture.of_sources(config.build("Mixture")))
    else:
        text = render(config.build("Mixture"))
    show(text, end="")


def _check(arguments: argparse.Namespace) -> None:
    given = {
        "--known": arguments.known,
        "--data_dir": arguments.data_dir is not None,
        "--mixture or --run": arguments.mixture or arguments.run is not None,
    }
    chosen = [flag for flag, present in given.items() if present]
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]} and {chosen[1]} list different things; give one of them")
    if arguments.count and arguments.data_dir is None:
        raise UserError("--count goes with --data_dir=DIR; give that too")
    if arguments.show is None:
        if arguments.tasks != "*":
            raise UserError("--tasks goes with --show=N; give that too")
    elif arguments.show < 1:
        raise UserError(f"--show={arguments.show}: give the number of prompts of each task, at least 1")
    elif arguments.count or arguments.known or arguments.mixture or arguments.run is not None:
        raise UserError("--show goes with --data_dir or with the Mixture of a gin file only")


def _show(arguments: argparse.Namespace, config: Any) -> None:
    """Prints each prompt as soon as it is rendered."""
    from iml_jax.bench import preview, unused_files

    mixture = None
    if arguments.data_dir is not None:
        texts = preview.of_folder(arguments.data_dir, arguments.tasks, arguments.show)
    else:
        mixture = config.build("Mixture")
        texts = preview.of_mixture(mixture, arguments.tasks, arguments.show)
    for text in texts:
        show(text)
    if mixture is not None and (passed_over := unused_files.note(mixture)):
        show(f"# {passed_over}")


def _listing(data_dir: str, *, count: bool) -> str:
    """The table of a data folder, with a bar on a terminal while its files are read."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from iml_jax.bench import inventory

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("reading tasks", total=None)

        def tick(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        not_read: dict[str, dict[Path, str]] = {}
        rows = inventory.survey(data_dir, count=count, tick=tick, not_read=not_read)
        return inventory.render(rows, not_read)


def render(mixture: Any) -> str:
    """The table as tab-separated text with a header, the files not read, and one summary line (``# ...``).

    Columns: task, category, role, metric, splits (comma-separated), trained (yes/no), evaluated (split
    or no), level (``-`` where not evaluated).
    """
    from iml_jax.bench import mixtures, unused_files

    planned = mixtures.plan(mixture)  # a task for each variant of its prompts
    trained = {task.info.key: task.info for task in planned if task.trained}
    evaluated = {task.info.key: task for task in planned if task.evaluation_split}
    levels = mixtures.levels(trained.values(), (task.info for task in evaluated.values()))
    rows = [("task", "category", "role", "metric", "splits", "trained", "evaluated", "level")]
    offered = mixtures.offered(mixture)
    infos = sorted((info for _, info in offered), key=lambda info: info.key)
    for info in infos:
        task = evaluated.get(info.key)
        rows.append(
            (
                info.key,
                info.category,
                info.role,
                info.metric,
                ",".join(info.splits) or "none present",
                "yes" if info.key in trained else "no",
                task.evaluation_split if task else "no",
                levels.get(info.key, "-"),
            )
        )
    lines = ["\t".join(map(one_line, row)) for row in rows]
    sources = {id(source): source for source, _ in offered}  # two may have one name
    for key, source in sources.items():
        own = [info for other, info in offered if id(other) == key]
        lines += unused_files.lines({source.name: unused_files.of_source(source, own)})
    lines.append(
        f"# {len(infos)} tasks in {len({info.category for info in infos})} categories: "
        f"{len(trained)} trained, {len(evaluated)} evaluated"
    )
    return "\n".join(lines) + "\n"
