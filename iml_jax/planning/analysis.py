"""A compiled program's dump -> plain values: memory, collectives, FLOPs, bytes through memory, parameters."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax

from iml_jax.models import opt
from iml_jax.parallel.rules import partition_spec
from iml_jax.planning import flops_and_bytes, hlo, hlo_collectives, memory, programs, trip_counts
from iml_jax.planning.job import Job

LARGEST = 12  # buffers that are kept


def statistics(compiled: Any) -> dict[str, int]:
    """The compiler's own sums of memory, bytes a device."""
    found = compiled.memory_analysis()
    if found is None:
        return {}
    return {
        "arguments": found.argument_size_in_bytes,
        "outputs": found.output_size_in_bytes,
        "aliased": found.alias_size_in_bytes,
        "temporaries": found.temp_size_in_bytes,
        "code": found.generated_code_size_in_bytes,
        "peak": found.peak_memory_in_bytes,
        "host": found.host_temp_size_in_bytes + found.host_argument_size_in_bytes,
    }


def _file(folder: Path, ending: str) -> str:
    """The dump of the program itself: the largest, since small helpers are compiled beside it."""
    found = [path for path in folder.glob(f"*{ending}") if path.is_file()]
    if not found:
        return ""
    return max(found, key=lambda path: path.stat().st_size).read_text(encoding="utf-8", errors="replace")


def analyse(job: Job, mesh: jax.sharding.Mesh, folder: Path, known: dict[str, int]) -> dict[str, Any]:
    """What the dump in ``folder`` says about the program, as JSON-able values.

    Args:
      known: the compiler's sums of memory (``memory``); empty for a program that does not fit, whose sums
        are then those of the buffer assignment. ``assigned`` has those for every program.
    """
    result: dict[str, Any] = {"parameters": parameters(job, mesh), "state": state_bytes(job, mesh)}
    text = _file(folder, "after_optimizations.txt")
    if not text:
        return {**result, "memory": known, "note": "the compiler left no program text: no analysis"}
    module = hlo.parse(text)
    runs = trip_counts.count(module)
    found = hlo_collectives.collect(module, runs, hlo_collectives.place_of(mesh))
    result["collectives"] = [dataclasses.asdict(one) | {"torus": _torus(mesh, one)} for one in found]
    result["loops"] = {name: list(counts) for name, counts in runs.loops.items()}
    result["unknown_loops"] = list(runs.unknown)
    result["flops"] = flops_and_bytes.flops(module, runs)
    result["kernels"] = sum(
        runs.times.get(computation.name, 0)
        for computation, one in module.instructions()
        if one.opcode == "custom-call" and "tpu_custom_call" in one.attributes
    )
    result["memory_bytes"] = flops_and_bytes.traffic(module, runs)
    assigned = memory.read(_file(folder, "buffer-assignment.txt"), module)
    result["buffers"] = [dataclasses.asdict(one) for one in assigned.buffers[:LARGEST]]
    result["assigned"] = {
        "arguments": assigned.arguments,
        "outputs": assigned.outputs,
        "temporaries": assigned.temporaries,
        "constants": assigned.constants,
    }
    result["memory"] = known or {**result["assigned"], "aliased": 0, "code": 0}
    return result


def _torus(mesh: jax.sharding.Mesh, one: hlo_collectives.Collective) -> dict[str, Any]:
    """How a group lies in the machine: torus dimensions it extends over, and whether it crosses slices."""
    devices = list(mesh.devices.flat)
    members = [devices[number] for number in one.groups if number < len(devices)]
    if len(members) < 2:
        return {"dimensions": [], "slices": one.slices}
    slices = len({getattr(device, "slice_index", 0) for device in members})
    places = [tuple(getattr(device, "coords", (0, 0, 0))) for device in members]
    first = getattr(members[0], "slice_index", 0)
    inside = [p for p, d in zip(places, members, strict=True) if getattr(d, "slice_index", 0) == first]
    varying = [axis for axis in range(len(inside[0])) if len({place[axis] for place in inside}) > 1]
    return {"dimensions": varying, "slices": slices}


def parameters(job: Job, mesh: jax.sharding.Mesh) -> list[dict[str, Any]]:
    """Every weight: path, shape, logical axes, PartitionSpec, bytes a device."""
    model = programs.configs(job)[0]
    shapes = programs.state_of(job, mesh).params
    names = opt.logical_axes(model)
    flat = jax.tree_util.tree_flatten_with_path(names, is_leaf=lambda node: isinstance(node, tuple))[0]
    table = []
    for (path, axes), leaf in zip(flat, jax.tree.leaves(shapes), strict=True):
        local = leaf.sharding.shard_shape(leaf.shape)
        table.append(
            {
                "name": "/".join(str(getattr(key, "key", key)) for key in path),
                "shape": list(leaf.shape),
                "dtype": str(leaf.dtype),
                "axes": list(axes),
                "spec": str(partition_spec(axes)).replace("PartitionSpec", ""),
                "bytes": math.prod(local) * leaf.dtype.itemsize,
            }
        )
    return table


def state_bytes(job: Job, mesh: jax.sharding.Mesh) -> dict[str, int]:
    """Bytes in a device's memory of the parameters and of the optimizer's state."""
    state = programs.state_of(job, mesh)
    sizes = programs.bytes_a_device
    return {"parameters": sizes(state.params), "optimizer": sizes(state.opt_state)}
