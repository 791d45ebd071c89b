"""Whether a compiled program fits into a device's memory: one number, from the compiler's buffer assignment.

Arguments, outputs that are no donated arguments, constants and the heap of temporaries are the allocations
that the compiler assigns in the main memory; the code is loaded beside them. Their sum is what the device
must hold, and what the compiler compares with its limit when it refuses a program. The temporaries of
``memory_analysis()`` are another quantity: on a TPU they exceed the heap (24.80 GiB where the heap has 19.88
GiB), so a sum made of them may exceed the limit of a program that fits. ``peak_memory_in_bytes`` of the same
call agrees with the buffer assignment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from iml_jax.planning.memory import GIB

PARTS = ("arguments", "temporaries", "outputs", "constants", "code")


@dataclasses.dataclass(frozen=True)
class Room:
    """What one device needs and has, in GiB.

    Attributes:
      needed_gib: the sum of ``parts``; where the compiler refused the program, the sum that it names.
      usable_gib: HBM that a program may use; None where no limit is known (simulated devices).
      spare_gib: usable less needed, negative where it does not fit; None without a limit.
      fits: None without a limit.
      parts: GiB of each of ``PARTS``.
    """

    needed_gib: float
    usable_gib: float | None
    spare_gib: float | None
    fits: bool | None
    parts: Mapping[str, float]


def of(result: Mapping[str, Any], usable: float | None) -> Room | None:
    """The room of one compilation's result, or None where the compiler left no sums.

    Args:
      result: as ``worker`` writes it: ``assigned`` and ``memory`` in bytes; ``needed_gib`` and
        ``available_gib`` where the compiler refused it.
      usable: GiB that the table of chips names; the compiler's own figure is preferred.
    """
    assigned, reported = result.get("assigned"), result.get("memory") or {}
    if assigned is None:
        return None
    parts = {name: assigned[name] / GIB for name in PARTS if name != "code"}
    parts["code"] = reported.get("code", 0) / GIB
    needed = float(result.get("needed_gib", sum(parts.values())))
    usable = result.get("available_gib", usable)
    if usable is None:
        return Room(needed, None, None, None, parts)
    # What the compiler refuses does not fit, whatever the rounded figures of its message say.
    fits = result["status"] == "compiled" and needed <= usable
    return Room(needed, usable, usable - needed, fits, parts)


def fits(result: Mapping[str, Any]) -> bool:
    """Whether a judged result compiled and fits, or compiled for devices without a known limit."""
    found = result.get("room") or {}
    return result["status"] == "compiled" and found.get("fits") is not False


def too_many(result: Mapping[str, Any]) -> float:
    """GiB a device by which a judged result that does not fit exceeds its limit, never below 0."""
    return max(0.0, -float(result["room"]["spare_gib"]))


def verdict(result: Mapping[str, Any]) -> str:
    """Whether it fits, in a few words with one number a device."""
    found = result.get("room") or {}
    if not found:
        return "compiles"
    needed, usable = found["needed_gib"], found["usable_gib"]
    if usable is None:
        return f"compiles; {needed:.2f} GiB a device"
    if fits(result):
        return f"fits: {needed:.2f} of {usable:.2f} GiB a device, {usable - needed:.2f} GiB to spare"
    refused = "the compiler refuses it" if result["status"] == "does_not_fit" else "compiled, but too large"
    return (
        f"DOES NOT FIT: {needed:.2f} of {usable:.2f} GiB a device, {too_many(result):.2f} GiB too many "
        f"({refused})"
    )


def account(result: Mapping[str, Any]) -> list[str]:
    """Two lines: the verdict's number part by part, and what the compiler says beside it."""
    found = result.get("room") or {}
    if not found:
        return []
    parts = found["parts"]
    total = sum(parts.values())
    terms = " + ".join(f"{name} {parts[name]:.2f}" for name in PARTS)
    lines = [f"arithmetic: {terms} = {total:.2f} GiB a device, the compiler's buffer assignment and code"]
    if result["status"] == "does_not_fit":
        lines.append(
            f"compiler: refuses it, naming {found['needed_gib']:.2f} GiB of {found['usable_gib']:.2f}"
        )
    elif (result.get("memory") or {}).get("peak"):
        peak = result["memory"]["peak"] / GIB
        lines.append(f"compiler: accepts it; the peak of its live values and code is {peak:.2f} GiB")
    return lines
