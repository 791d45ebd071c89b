"""``iml plan``: what a run needs of a TPU slice, before anyone pays for one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.foundation.printing import show
from iml_jax.storage import paths

if TYPE_CHECKING:
    from iml_jax.config import Config
    from iml_jax.planning import compiling, planner
    from iml_jax.planning.topology import Topology

HELP = "Compile a run for a TPU slice that is not at hand: does it fit, and how fast."
CONFIGS = ("Model", "Optimizer", "Loader", "Mesh", "Train", "Evaluate", "Generate")
EXAMPLE = "iml plan --gin_file=runs/opt_iml_30b.gin --topology=v5p:4x4x4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "--topology",
        required=True,
        metavar="NAME",
        help="v4, v5e, v5p, v6e or tpu7x and a torus (v5p:4x4x8), a type (v5litepod-256), or cpu:8",
    )
    parser.add_argument(
        "--slices",
        type=int,
        default=1,
        metavar="N",
        help="so many, joined by the network (default: 1)",
    )
    parser.add_argument(
        "--only", choices=("train", "evaluate"), help="only the train step, or only the evaluation steps"
    )
    parser.add_argument(
        "--search",
        type=int,
        nargs="?",
        const=12,
        default=0,
        metavar="N",
        help="compile the N (12) most promising meshes, remat policies and accumulations of the train step",
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="compilations at once (default: one for two CPUs)"
    )
    parser.add_argument(
        "--json", type=paths.argument, default="", metavar="FILE", help="write everything there, for programs"
    )
    parser.add_argument(
        "--cache",
        type=paths.argument,
        default="",
        metavar="DIR",
        help="where results are kept (default: ~/.cache/iml_jax/plan)",
    )
    parser.add_argument("--no_cache", action="store_true", help="compile again, and keep nothing")


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Compiles and prints.

    Raises:
      UserError: topology and configuration are not what they must be, or libtpu is missing.
      Fault: a compiler broke, or a file cannot be written.
      Preempted: SIGTERM came; the workers are ended, what they finished is kept.
    """
    from iml_jax.foundation import interrupts

    with interrupts.ended("ended by SIGTERM; what was compiled is kept"):
        _plan(arguments, config)


def _plan(arguments: argparse.Namespace, config: Config) -> None:
    from iml_jax.foundation.errors import Fault, UserError
    from iml_jax.parallel.mesh import AXES, mesh_shape
    from iml_jax.planning import compiling, format, planner, room, search, topology
    from iml_jax.planning.job import TITLES, TRAIN
    from iml_jax.storage import ownership
    from iml_jax.storage.writing import check_writable

    if arguments.workers < 0:
        raise UserError(f"--workers={arguments.workers}: must be at least 1")
    cache = _cache(arguments)
    if arguments.json:
        check_writable(Path(arguments.json), "give another --json FILE")
        ownership.check_record(Path(arguments.json), _is_plan, "plan", "--json FILE")
    if cache is not None:
        check_writable(cache / "result.json", "give another --cache DIR, or --no_cache")
    place = topology.parse(arguments.topology, arguments.slices)
    planned = planner.setting(config)
    compiling.require_libtpu(place.kind)
    names = planner.programs(arguments.only or "")
    compiler = compiling.Compiler(_workers(arguments.workers), cache, _log)
    if arguments.search:
        _search(arguments, planned, place, compiler)
        return
    mesh = dict(zip(AXES, mesh_shape(planned.mesh, place.devices), strict=True))
    show("\n".join(format.heading(planned, place, mesh)))
    waiting = [(f"{TITLES[name]} for {place}", planner.job(planned, place, name)) for name in names]
    found: dict[str, Any] = {}
    for index, result in compiler.run(waiting):
        found[names[index]] = planner.judge(planned, place, names[index], result)
    if "room" in found.get(TRAIN, {}) and not room.fits(found[TRAIN]):
        found[TRAIN]["advice"] = search.advice(planned, place, found[TRAIN])
    found = {name: found[name] for name in names}
    show("\n" + "\n".join(format.verdicts(found)))
    with_table = [result for result in found.values() if "parameters" in result]
    if with_table:
        show("\n" + "\n".join(format.parameter_table(with_table[0])))
    for name in names:
        show("\n" + "\n".join(format.program(name, found[name])))
    if arguments.json:
        _write(arguments.json, {"topology": str(place), "mesh": mesh, "programs": found})
    refused = [result["reason"] for result in found.values() if result["status"] == "refused"]
    if refused:
        raise UserError(refused[0])
    failed = [result["reason"] for result in found.values() if result["status"] == "failed"]
    if failed:
        raise Fault(failed[0])


def _search(
    arguments: argparse.Namespace, planned: planner.Setting, place: Topology, compiler: compiling.Compiler
) -> None:
    from iml_jax.foundation.errors import UserError
    from iml_jax.planning import format, planner, search
    from iml_jax.planning.job import TRAIN

    if arguments.search < 1:
        raise UserError(f"--search={arguments.search}: must be at least 1")
    all_of_them, out = search.candidates(planned, place)
    chosen = all_of_them[: arguments.search]
    waiting = [
        (f"{'x'.join(map(str, one.mesh))} {one.remat} accumulation {one.accumulation}",
         planner.job(one.apply(planned), place, TRAIN))
        for one in chosen
    ]  # fmt: skip
    tried = [
        (chosen[index], planner.judge(chosen[index].apply(planned), place, TRAIN, result))
        for index, result in compiler.run(waiting)
    ]
    fitting, others = search.ranked(tried)
    show("\n".join(format.heading(planned, place, None)) + "\n")
    show("\n".join(format.ranking(fitting, others, out, len(all_of_them) - len(chosen))))
    if arguments.json:
        table = [dataclasses.asdict(one) | {"result": result} for one, result in tried]
        _write(arguments.json, {"topology": str(place), "search": table, "by_arithmetic": out})


def _workers(asked: int) -> int:
    return asked or max(1, (os.cpu_count() or 2) // 2)


def _cache(arguments: argparse.Namespace) -> Path | None:
    from iml_jax.planning.compiling import default_cache

    if arguments.no_cache:
        return None
    return Path(arguments.cache) if arguments.cache else default_cache()


def _log(line: str) -> None:
    show(f"plan: {line}", file=sys.stderr, flush=True)


def _is_plan(found: dict[str, Any]) -> bool:
    return "topology" in found and ("programs" in found or "search" in found)


def _write(file: str, values: dict[str, Any]) -> None:
    from iml_jax.storage.writing import write_atomically

    write_atomically(Path(file), json.dumps(values, indent=1) + "\n")
