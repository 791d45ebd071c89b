"""Which devices talk in a collective: replica groups in all their printed forms -> mesh axes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

_EXPLICIT = re.compile(r"replica_groups=(\{\{[\d,{} ]*\}\}|\{\})")
_IOTA = re.compile(r"replica_groups=(\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?)")
_MESH = re.compile(
    r"replica_groups=(?:@?\w+)?mesh\[(?P<axes>[^\]]*)\]"
    r"(?:,\s*device_ids=\(?(?P<ids>\[[^)]*?\](?:<=\[[\d,]+\])?(?:T\([\d,]+\))?)\)?)?\s*\{(?P<used>[^}]*)\}"
)
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _iota(text: str, shape: Sequence[int] | None = None) -> np.ndarray:
    """``[4,2]<=[2,4]T(1,0)``: 0..7 as [2,4], transposed, as [4,2]; ``[2,4]T(1,0)`` alone stays flat."""
    left, _, right = text.partition("<=")
    source, _, order = (right or left).partition("T")
    dims = _numbers(source)
    array = np.arange(int(np.prod(dims))).reshape(dims)
    if order:
        array = array.transpose(_numbers(order))
    target = shape if shape is not None else _numbers(left)
    return array.reshape(target)


def groups(attributes: str, partitions: int) -> list[list[int]] | None:
    """The groups of partition numbers of one collective; None where the text is not understood.

    Args:
      attributes: what stands behind the operands.
      partitions: of the module; an empty list of groups means all of them.
    """
    if found := _PAIRS.search(attributes):
        return [list(_numbers(pair)) for pair in re.findall(r"\{\d+,\d+\}", found[1])]
    if found := _EXPLICIT.search(attributes):
        inner = re.findall(r"\{([\d, ]+)\}", found[1])
        return [list(_numbers(group)) for group in inner] or [list(range(partitions))]
    if found := _IOTA.search(attributes):
        return [[int(one) for one in row] for row in np.atleast_2d(_iota(found[1]))]
    if found := _MESH.search(attributes):
        axes = re.findall(r"'([^']+)'=(\d+)", found["axes"])
        names, sizes = [name for name, _ in axes], [int(size) for _, size in axes]
        used = re.findall(r"'([^']+)'", found["used"])
        if re.search(r"\d", re.sub(r"'[^']*'", "", found["used"])):
            return None  # a part of an axis, ``'x':(2)4``
        whole = int(np.prod(sizes))
        ids = found["ids"]
        devices = _iota(ids, sizes) if ids else np.arange(whole).reshape(sizes)
        chosen = [names.index(name) for name in used]
        others = [place for place in range(len(names)) if place not in chosen]
        width = int(np.prod([sizes[place] for place in chosen], dtype=int))
        rows = devices.transpose([*others, *chosen]).reshape(-1, width)
        return [[int(one) for one in row] for row in rows]
    return None


PART = " (part)"  # ends the name of an axis that groups do not span


@dataclasses.dataclass(frozen=True)
class Axis:
    """Where a collective runs on the mesh.

    Attributes:
      name: mesh axes joined by ``+``, ``(part)`` behind it if the groups do not span them; ``none`` for
        groups of one; ``unknown`` where the text was not understood.
      size: devices of a group (2 for a permutation's pairs).
    """

    name: str
    size: int


def axis_of(
    found: Sequence[Sequence[int]] | None, axes: Sequence[str], shape: Sequence[int], *, pairs: bool = False
) -> Axis:
    """The mesh axes over which the groups extend.

    Args:
      found: as ``groups`` gives them; partition p is device p of the mesh in row-major order.
      axes, shape: the mesh's axis names and sizes.
      pairs: whether they are a permutation's pairs, which never span an axis.
    """
    if not found:
        return Axis("unknown", 0)
    size = max(map(len, found))
    varying = [False] * len(shape)
    for group in found:
        places = np.array(np.unravel_index(np.asarray(group), tuple(shape)))
        for number in range(len(shape)):
            varying[number] |= bool((places[number] != places[number][0]).any())
    names = [name for name, varies in zip(axes, varying, strict=True) if varies]
    whole = int(np.prod([one for one, varies in zip(shape, varying, strict=True) if varies], dtype=int))
    if size == 1 or not names:
        return Axis("none", 1)
    return Axis("+".join(names) + ("" if pairs or size == whole else PART), size)
