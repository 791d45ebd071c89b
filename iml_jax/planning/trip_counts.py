"""How often every computation of a compiled program runs: the trip counts of its loops, multiplied."""

from __future__ import annotations

import dataclasses
import re

from iml_jax.planning.hlo import Computation, Instruction, Module

_THROUGH = ("copy", "bitcast", "convert", "reshape", "broadcast", "copy-start", "copy-done", "opt-barrier")
_FOLLOWED = ("calls", "to_apply", "branch_computations", "true_computation", "false_computation")


@dataclasses.dataclass(frozen=True)
class Runs:
    """How often computations run.

    Attributes:
      times: computation -> runs in one step; a conditional's branches count as taken.
      loops: the while instructions: name -> (trip count, runs of the loop itself).
      unknown: while instructions whose trip count could not be read; they count once.
    """

    times: dict[str, int]
    loops: dict[str, tuple[int, int]]
    unknown: tuple[str, ...]


def _constant(computation: Computation, name: str, depth: int = 0) -> int | None:
    """The integer that an instruction always gives, looking through copies."""
    one = computation.instructions.get(name)
    if one is None or depth > 20:
        return None
    if one.opcode == "constant":
        return int(one.inside) if re.fullmatch(r"-?\d+", one.inside) else None
    if one.opcode in _THROUGH and one.operands:
        return _constant(computation, one.operands[0], depth + 1)
    return None


def _element(computation: Computation, name: str, index: int, depth: int = 0) -> str | None:
    """The instruction that makes element ``index`` of a tuple-valued instruction."""
    one = computation.instructions.get(name)
    if one is None or depth > 20:
        return None
    if one.opcode == "tuple":
        return one.operands[index] if index < len(one.operands) else None
    if one.opcode in _THROUGH and one.operands:
        return _element(computation, one.operands[0], index, depth + 1)
    return None


def _tuple_index(computation: Computation, name: str, depth: int = 0) -> int | None:
    """The index of the loop state's element that an instruction is, looking through copies."""
    one = computation.instructions.get(name)
    if one is None or depth > 20:
        return None
    if one.opcode == "get-tuple-element":
        return one.index()
    if one.opcode in _THROUGH and one.operands:
        return _tuple_index(computation, one.operands[0], depth + 1)
    return None


def _bound(module: Module, condition: Computation, one: Instruction) -> list[tuple[Instruction, Computation]]:
    """The comparisons that a loop's condition is made of, with the computation in which each stands."""
    if one.opcode == "compare":
        return [(one, condition)]
    if one.opcode == "and" or one.opcode in _THROUGH:
        parts = [condition.instructions[name] for name in one.operands if name in condition.instructions]
        return [found for part in parts for found in _bound(module, condition, part)]
    if one.opcode in ("fusion", "call"):
        found = []
        for name in (name for names in one.called().values() for name in names):
            inner = module.computations[name]
            for compare, where in _bound(module, inner, inner.root):
                found.append((_substituted(compare, where, one), condition))
        return found
    return []


def _substituted(compare: Instruction, inner: Computation, call: Instruction) -> Instruction:
    """A comparison inside a fusion, with the fusion's operands for its parameters."""
    operands = []
    for name in compare.operands:
        one = inner.instructions.get(name)
        while one is not None and one.opcode in _THROUGH and one.operands:
            one = inner.instructions.get(one.operands[0])
        if one is not None and one.opcode == "parameter":
            operands.append(call.operands[int(one.inside)])
        else:
            operands.append(f"{inner.name}/{name}" if one is None else f"={one.inside}")
    return dataclasses.replace(compare, operands=tuple(operands))


def trip_count(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """How often a while's body runs, or None if the text does not say.

    A loop that may also end early (a second condition) counts as run to its end.
    """
    known = re.search(r'known_trip_count"?\s*[:=]\s*\{\\?"n\\?"\s*:\s*\\?"(\d+)', loop.attributes)
    if known:
        return int(known[1])
    called = loop.called()
    condition = module.computations[called["condition"][0]]
    body = module.computations[called["body"][0]]

    def value(name: str) -> int | None:
        if name.startswith("="):
            return int(name[1:]) if re.fullmatch(r"=-?\d+", name) else None
        found = _constant(condition, name)
        if found is None and (index := _tuple_index(condition, name)) is not None:
            made = _element(computation, loop.operands[0], index)
            found = _constant(computation, made) if made else None
        return found

    for compare, where in _bound(module, condition, condition.root):
        direction = re.search(r"direction=(\w+)", compare.attributes)
        index = None if compare.operands[0].startswith("=") else _tuple_index(where, compare.operands[0])
        if direction is None or direction[1] not in ("LT", "LE", "NE") or index is None:
            continue
        end = value(compare.operands[1])
        made = _element(computation, loop.operands[0], index)
        start = _constant(computation, made) if made else 0
        if end is not None:
            span = end - (start or 0) + (direction[1] == "LE")
            return max(0, -(-span // _increment(body, index)))
    return None


def _increment(body: Computation, index: int) -> int:
    """What a loop adds to its counter; 1 where the text does not say."""
    made = _element(body, body.root.name, index)
    one = body.instructions.get(made) if made else None
    while one is not None and one.opcode in _THROUGH and one.operands:
        one = body.instructions.get(one.operands[0])
    if one is not None and one.opcode == "add":
        for name in one.operands:
            if found := _constant(body, name):
                return found
    return 1


def count(module: Module) -> Runs:
    """How often each computation runs when the program runs once."""
    times: dict[str, int] = {}
    loops: dict[str, tuple[int, int]] = {}
    unknown: list[str] = []

    def visit(name: str, runs: int) -> None:
        times[name] = times.get(name, 0) + runs
        computation = module.computations[name]
        for one in computation.instructions.values():
            called = one.called()
            if not called or one.opcode.endswith(("-done", "-update")):
                continue  # an asynchronous call's three parts name the same computation
            if one.opcode == "while":
                trips = trip_count(module, computation, one)
                if trips is None:
                    unknown.append(one.name)
                loops[one.name] = (trips or 1, runs)
                visit(called["body"][0], runs * (1 if trips is None else trips))
                continue
            for kind in _FOLLOWED:
                for inner in called.get(kind, ()):
                    if inner in module.computations:
                        visit(inner, runs)

    visit(module.entry, 1)
    return Runs(times, loops, tuple(unknown))
