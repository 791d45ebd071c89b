"""Every collective of a compiled program: how often, how many bytes a chip sends, over which mesh axis.

Bytes are those a device sends (as many come in) with the ring algorithm, from the arrays' logical sizes: of a
full array of S bytes over n devices, all-gather and reduce-scatter (n-1)/n S, all-reduce 2 (n-1)/n S,
all-to-all (n-1)/n S, a permutation S.

A program for several slices is that of one slice: it numbers the slice's devices alone, and what crosses
slices is a ``send`` to the host, which the network's runtime (MegaScale) exchanges.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from iml_jax.planning import replica_groups
from iml_jax.planning.hlo import Computation, Instruction, Module
from iml_jax.planning.trip_counts import Runs

KINDS = (
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of one kind, axis and array that a step does.

    Attributes:
      kind: one of ``KINDS``; a TPU's fused all-reduce and slice is a ``reduce-scatter``.
      axis: mesh axes, see ``replica_groups.Axis``.
      size: devices that talk.
      count: how often in a step, trip counts of the loops included.
      bytes: that a device sends in a step.
      largest: the full array's type, as text.
      op_name: where in the JAX program.
      asynchronous: the compiler split it in start and done, so that it may overlap with computation.
      groups: one group of devices by their place in the mesh, for the way through the torus; empty if not
        understood.
      slices: how many slices talk; more than 1 goes through the data-center network.
    """

    kind: str
    axis: str
    size: int
    count: int
    bytes: float
    largest: str
    op_name: str
    asynchronous: bool
    groups: tuple[int, ...] = ()
    slices: int = 1


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a program runs.

    Attributes:
      axes, shape: of the mesh.
      numbering: the program's partition p is device ``numbering[p]`` of the mesh, in row-major order.
      slices: how many; ``slice_axes``: the mesh axes along which the slice changes, joined by ``+``.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    numbering: tuple[int, ...]
    slices: int = 1
    slice_axes: str = "none"


def place_of(mesh: Any) -> Place:
    """The place of a ``jax.sharding.Mesh``, whose devices may lie in several slices."""
    devices = mesh.devices
    of_slice = np.vectorize(lambda device: getattr(device, "slice_index", None) or 0)(devices)
    first = of_slice.flat[0]
    numbering = tuple(int(one) for one in np.flatnonzero(of_slice.ravel() == first))
    changing = [
        name
        for axis, name in enumerate(mesh.axis_names)
        if (of_slice != np.take(of_slice, [0], axis=axis)).any()
    ]
    slices = len(np.unique(of_slice))
    return Place(tuple(mesh.axis_names), devices.shape, numbering, slices, "+".join(changing) or "none")


def _crossing(one: Instruction, computation: Computation, times: int, place: Place) -> Collective | None:
    """What a send hands to the network's runtime; None for other sends."""
    found = re.search(r'_xla_megascale_transfer_type="(\w+)"', one.attributes)
    sent = computation.instructions.get(one.operands[0]) if one.operands else None
    if found is None or sent is None:
        return None
    kind = found[1].lower().replace("_", "-")
    slices, own = place.slices, float(sent.bytes)
    if kind == "all-gather":
        moved = own * (slices - 1)
    else:
        moved = own if kind == "collective-permute" else _sent(kind, own, slices)
    largest = str(sent.shape[0]) if sent.shape else ""
    name = one.op_name or sent.op_name
    return Collective(kind, place.slice_axes, slices, times, times * moved, largest, name, True, (), slices)


def _kind(opcode: str) -> str | None:
    name = opcode.removesuffix("-start")
    return name if name in KINDS else None


def _scatters(computation: Computation, one: Instruction) -> bool:
    """Whether an all-reduce's only use is to be cut: XLA's TPU backend runs that as a reduce-scatter."""
    if "reduce-scatter" not in computation.name:
        return False
    users = [user for user in computation.instructions.values() if one.name in user.operands]
    return bool(users) and all(user.opcode in ("dynamic-slice", "bitcast", "copy") for user in users)


def _full_bytes(kind: str, computation: Computation, one: Instruction, size: int) -> tuple[float, str]:
    """Bytes of the full (gathered, unreduced) array, and its type."""
    operands = [computation.instructions[name] for name in one.operands if name in computation.instructions]
    arrays = [array for operand in operands for array in operand.shape]
    if not arrays:
        return float(one.bytes), str(one.shape[0]) if one.shape else ""
    total = float(sum(array.bytes for array in arrays))
    largest = max(arrays, key=lambda array: array.bytes)
    if kind == "all-gather":
        results = [array for array in one.shape if array.elements == largest.elements * size]
        return total * size, str(results[0] if results else largest)
    return total, str(largest)


def _sent(kind: str, full: float, size: int) -> float:
    if size <= 1:
        return 0.0
    if kind == "collective-permute":
        return full
    return full * (size - 1) / size * (2 if kind == "all-reduce" else 1)


def collect(module: Module, runs: Runs, place: Place) -> list[Collective]:
    """The collectives of a step, the most bytes first.

    Args:
      module, runs: the program and how often its computations run.
      place: the mesh that it runs on.
    """
    callers = _callers(module)
    found: dict[tuple[str, ...], Collective] = {}
    seen: set[tuple[str, ...]] = set()
    for computation, one in module.instructions():
        kind = _kind(one.opcode)
        times = runs.times.get(computation.name, 0)
        if times and one.opcode == "send":
            between = _crossing(one, computation, times, place)
            if between is not None:
                _merge(found, between)
            continue
        if kind is None or not times:
            continue
        members = replica_groups.groups(one.attributes, module.partitions)
        if members is not None and max(map(max, members)) < len(place.numbering):
            members = [[place.numbering[number] for number in group] for group in members]
        axis = replica_groups.axis_of(members, place.axes, place.shape, pairs=kind == "collective-permute")
        if axis.size == 1:
            continue
        size = axis.size or module.partitions
        full, largest = _full_bytes(kind, computation, one, size)
        caller = callers.get(computation.name)
        chain = re.search(r'chain_id="(\d+)"', one.attributes)
        if chain:  # one collective in pieces: begun, gone on with inside other fusions, and ended
            piece = (_channel(one), chain[1], kind, largest)
            if piece in seen:
                continue
            seen.add(piece)
        if kind == "all-reduce" and _scatters(computation, one):
            kind = "reduce-scatter"
        if kind == "collective-permute" and members is not None:
            full *= len(members) / module.partitions  # some devices may send nothing
        op_name = one.op_name or (caller.op_name if caller else "")
        overlaps = bool(chain) or one.opcode.endswith("-start") or _begins(caller)
        sent = times * _sent(kind, full, size)
        group = tuple(members[0]) if members else ()
        _merge(found, Collective(kind, axis.name, size, times, sent, largest, op_name, overlaps, group))
    return sorted(found.values(), key=lambda one: (-one.bytes, -one.count))


def _merge(found: dict[tuple[str, ...], Collective], one: Collective) -> None:
    """Adds a collective to those of the same kind, place and array."""
    key = (one.kind, one.axis, str(one.size), one.largest, one.op_name, str(one.asynchronous))
    before = found.get(key)
    if before is not None:
        one = dataclasses.replace(one, count=one.count + before.count, bytes=one.bytes + before.bytes)
    found[key] = one


def _channel(one: Instruction) -> str:
    found = re.search(r"channel_id=(\d+)", one.attributes)
    return found[1] if found else one.name


def _callers(module: Module) -> dict[str, Instruction]:
    """Computation -> the instruction that calls it (the last of several)."""
    return {
        name: one for _, one in module.instructions() for names in one.called().values() for name in names
    }


def _begins(caller: Instruction | None) -> bool:
    """Whether a computation runs beside what follows its call."""
    return caller is not None and caller.opcode in ("async-start", "call-start")
