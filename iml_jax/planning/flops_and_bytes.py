"""FLOPs and bytes through memory of a compiled program, loops multiplied out."""

from __future__ import annotations

import math
import re

from iml_jax.planning.hlo import Computation, Instruction, Module
from iml_jax.planning.trip_counts import Runs

_FREE = (
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "iota",
    "partition-id", "replica-id", "after-all", "opt-barrier", "copy-done", "all-gather-done",
    "all-reduce-done", "collective-permute-done", "async-done", "async-update", "call-done", "slice-done",
)  # fmt: skip


def _numbers(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    return [int(number) for number in re.findall(r"\d+", found[1])] if found else []


def _dot(computation: Computation, one: Instruction) -> float:
    left = computation.instructions.get(one.operands[0])
    if left is None or not one.shape:
        return 0.0
    contracted = _numbers(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
    return 2.0 * one.shape[0].elements * math.prod(left.shape[0].dims[dim] for dim in contracted)


def _convolution(computation: Computation, one: Instruction) -> float:
    """TPU programs hold matrix products as convolutions, whose batch axes stand in the window."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    right = computation.instructions.get(one.operands[1]) if len(one.operands) > 1 else None
    if labels is None or right is None or not one.shape:
        return 0.0
    kernel, output = labels[2], labels[3]
    dims = right.shape[0].dims
    reach = dims[kernel.index("i")]  # input features: contracted
    window = re.search(r"window=\{([^}]*)\}", one.attributes)
    spatial = sorted(label for label in kernel if label.isdigit())
    settings = window[1] if window else ""
    sizes = _numbers(r"size=([\dx]+)", settings)
    products = 1.0
    for place, label in enumerate(spatial):
        size = sizes[place] if place < len(sizes) else dims[kernel.index(label)]
        out = one.shape[0].dims[output.index(label)]
        products *= _taps(settings, place, size, out, _input_size(computation, one, labels[1], label))
    outer = one.shape[0].dims[output.index("b")] * one.shape[0].dims[output.index("f")]
    groups = _numbers(r"batch_group_count=(\d+)", one.attributes)
    return 2.0 * outer * reach * products / (groups[0] if groups else 1)


def _input_size(computation: Computation, one: Instruction, labels: str, label: str) -> int:
    left = computation.instructions.get(one.operands[0])
    return left.shape[0].dims[labels.index(label)] if left is not None else 1


def _taps(settings: str, place: int, size: int, out: int, available: int) -> float:
    """Products along one spatial axis: pairs (output, kernel) that meet a real input, padding left out."""

    def value(name: str, default: int) -> int:
        found = re.search(rf"(?:^|\s){name}=([\d_x\-]+)", settings)
        if not found:
            return default
        parts = found[1].split("x")
        return int(parts[place].split("_")[0]) if place < len(parts) else default

    stride, low = value("stride", 1), value("pad", 0)
    base, dilation = value("lhs_dilate", 1), value("rhs_dilate", 1)
    if size > 4096 or out > 65536:
        return float(min(size, available) * out)
    met = 0
    for position in range(out):
        start = position * stride - low
        for tap in range(size):
            at = start + tap * dilation
            met += 0 <= at < (available - 1) * base + 1 and at % base == 0
    return float(met)


def flops(module: Module, runs: Runs) -> float:
    """FLOPs of a device's matrix products in one step; kernels (custom calls) are not seen.

    Args:
      module, runs: the program and how often its computations run.
    """
    total = 0.0
    for computation, one in module.instructions():
        times = runs.times.get(computation.name, 0)
        if times and one.opcode == "dot":
            total += times * _dot(computation, one)
        elif times and one.opcode == "convolution":
            total += times * _convolution(computation, one)
    return total


def _operand_bytes(module: Module, computation: Computation, one: Instruction) -> float:
    """Bytes that an instruction reads from the main memory; of a fusion only what it slices out."""
    inner = None
    if one.opcode == "fusion" and (called := one.called().get("calls")):
        inner = module.computations.get(called[0])
    total = 0.0
    for number, name in enumerate(one.operands):
        made = computation.instructions.get(name)
        if made is None:
            continue
        size = float(sum(array.bytes for array in made.shape if not array.space))
        if inner is not None and size:
            size = min(size, _sliced(inner, number, size))
        elif one.opcode in ("dynamic-slice", "slice", "gather") and number == 0:
            size = min(size, float(one.bytes))
        elif one.opcode == "dynamic-update-slice" and number == 0:
            size = 0.0
        total += size
    return total


def _sliced(inner: Computation, number: int, size: float) -> float:
    """What a fusion reads of an argument that it only slices, or only writes a slice into."""
    argument = inner.parameter(number)
    if argument is None:
        return size
    users = [one for one in inner.instructions.values() if argument.name in one.operands]
    if users and all(user.opcode in ("dynamic-slice", "slice", "gather") for user in users):
        return float(sum(user.bytes for user in users))
    if users and all(
        user.opcode == "dynamic-update-slice" and user.operands[0] == argument.name for user in users
    ):
        return 0.0
    return size


def _result_bytes(module: Module, computation: Computation, one: Instruction) -> float:
    made = one
    where = computation
    if one.opcode == "fusion" and (called := one.called().get("calls")):
        where = module.computations.get(called[0], computation)
        made = where.root
        while made.opcode in ("bitcast", "copy", "convert") and made.operands[0] in where.instructions:
            made = where.instructions[made.operands[0]]
    if made.opcode == "dynamic-update-slice" and made.operands[1] in where.instructions:
        return float(where.instructions[made.operands[1]].bytes)
    return float(sum(array.bytes for array in one.shape if not array.space))


def traffic(module: Module, runs: Runs) -> float:
    """Bytes that a device's main memory gives and takes in one step.

    Every instruction outside a fusion reads its operands and writes its result once; what the compiler keeps
    in the on-chip memory, and slices written in place, count as what really moves.
    """
    fused = {
        name
        for _, one in module.instructions()
        if one.opcode in ("fusion", "reduce", "reduce-window", "sort", "scatter", "map", "all-reduce")
        for names in one.called().values()
        for name in names
    }
    total = 0.0
    for computation, one in module.instructions():
        times = runs.times.get(computation.name, 0)
        if not times or computation.name in fused or one.opcode in _FREE:
            continue
        total += times * (_operand_bytes(module, computation, one) + _result_bytes(module, computation, one))
    return total
