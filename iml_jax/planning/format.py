"""A plan as text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iml_jax.planning import efficiency, memory, roofline, room
from iml_jax.planning.job import TITLES
from iml_jax.planning.memory import GIB
from iml_jax.planning.planner import Setting
from iml_jax.planning.replica_groups import PART
from iml_jax.planning.search import Candidate
from iml_jax.planning.topology import KINDS, Topology

SHOWN_COLLECTIVES = 8  # the largest single ones, below the sums


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Aligned columns; the first ``left`` to the left, the others to the right, the last as it is."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i < left or i == len(row) - 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  " + "  ".join(cells).rstrip()

    return [line(head), *(line(row) for row in rows)]


def size(count: float) -> str:
    """Bytes for people."""
    for unit, one in (("GiB", GIB), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= one:
            return f"{count / one:,.2f} {unit}"
    return f"{count:,.0f} B"


def heading(planned: Setting, topology: Topology, mesh: Mapping[str, int] | None) -> list[str]:
    """What is planned; without a mesh for a search."""
    model = planned.model
    lines = [
        f"topology  {topology}: {topology.chips} chips, {topology.devices} devices",
        "mesh      "
        + (" x ".join(f"{name} {size}" for name, size in mesh.items()) if mesh else "searched for"),
        f"model     {model.layers} layers, hidden {model.hidden}, {model.heads} heads, ffn {model.ffn}, "
        f"{model.vocab_rows} vocabulary rows, {model.compute_dtype}, remat {model.remat}",
        f"batch     {planned.rows} rows of {planned.length}, accumulation {planned.accumulation}",
    ]
    if topology.kind != "cpu":
        kind = KINDS[topology.kind]
        chip = kind.chip
        lines.append(
            f"chip      {chip.name}: {chip.hbm_gib:g} GiB HBM ({kind.usable_gib} GiB a device usable), "
            f"{chip.flops / 1e12:g} TFLOP/s bf16, HBM {chip.hbm_gb_per_second:g} GB/s, "
            f"ICI {chip.ici_gb_per_second:g} GB/s, DCN {kind.dcn_gb_per_second:g} GB/s"
        )
    return lines


def parameter_table(result: Mapping[str, Any]) -> list[str]:
    """Every weight with its axes and bytes a device."""
    rows = [
        [
            one["name"],
            "x".join(map(str, one["shape"])),
            " ".join(one["axes"]),
            one["spec"],
            size(one["bytes"]),
        ]
        for one in result["parameters"]
    ]
    state = result["state"]
    return [
        "parameters (bytes a device; the optimizer's moments lie like their parameters)",
        *table(["weight", "shape", "logical axes", "PartitionSpec", "bytes"], rows, left=4),
        f"  in all: parameters {size(state['parameters'])}, optimizer {size(state['optimizer'])}",
    ]


def verdicts(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader asks first: for each program whether it fits, with one number a device, and why.

    Args:
      found: program -> judged result.
    """
    lines = ["verdict"]
    for name, result in found.items():
        if result["status"] in ("refused", "failed"):
            lines.append(f"  {TITLES[name]}: {result['status']}: {result['reason']}")
            continue
        lines.append(f"  {TITLES[name]}: {room.verdict(result)}")
        lines += [f"    {line}" for line in room.account(result)]
        lines += [f"    {line}" for line in _expected(result)]
        lines += [f"    might fit with {line}" for line in result.get("advice", ())]
    return lines


def program(name: str, result: Mapping[str, Any]) -> list[str]:
    """The tables of one program."""
    title = TITLES[name]
    if result["status"] in ("refused", "failed"):
        return [f"== {title}: {result['status']}"]
    return [
        f"== {title}: {room.verdict(result)}",
        *_compilation(result),
        *_buffers(result),
        *_collectives(result),
        *_work(result),
    ]


def _expected(result: Mapping[str, Any]) -> list[str]:
    """The forecast of a training step, with how far such forecasts were off."""
    found = result.get("expected")
    if not found:
        return []
    return [
        f"expected: {found['seconds']:.2f} s a step (MFU {found['mfu']:.1%}), bound by {found['bound']}; "
        f"such forecasts were off by {efficiency.MEAN_ERROR:.0%} on average and "
        f"{efficiency.LARGEST_ERROR:.0%} at most on published steps"
    ]


def _compilation(result: Mapping[str, Any]) -> list[str]:
    how = "from the cache" if result.get("cached") else f"{result['compile_seconds']:.0f} s to compile"
    host = (result.get("memory") or {}).get("host")
    return [f"  {how}" + (f"; on the host {size(host)}" if host else "")]


def ranking(
    fitting: Sequence[tuple[Candidate, Mapping[str, Any]]],
    others: Sequence[tuple[Candidate, str]],
    out: Mapping[str, int],
    left: int,
) -> list[str]:
    """The table of a search.

    Args:
      fitting: the fastest first.
      others: compiled, and why they fall out.
      out: reason -> how many meshes fell out by arithmetic.
      left: candidates not compiled.
    """
    rows = []
    for number, (one, result) in enumerate(fitting, start=1):
        found = result.get("roofline") or {}
        rows.append(
            [
                *_choice(str(number), one),
                f"{result['room']['needed_gib']:.2f}",
                *(f"{found[name]:.3f}" if found else "-" for name in ("overlapped", "in_turn")),
                f"{result['expected']['seconds']:.3f}" if result.get("expected") else "-",
                f"MFU {found['mfu_in_turn']:.1%} to {found['mfu_overlapped']:.1%}" if found else "fits",
            ]
        )
    rows += [[*_choice("-", one), *"----", reason] for one, reason in others]
    head = [
        "rank",
        "data x fsdp x tensor",
        "remat",
        "accumulation",
        "GiB",
        "overlapped s",
        "in turn s",
        "expected s",
        "",
    ]
    whole = len(fitting) + len(others)
    lines = [
        f"search: {len(fitting)} of {whole} compiled settings fit",
        *table(head, rows, 3),
    ]
    lines += [f"  by arithmetic, not compiled: {count} meshes: {reason}" for reason, count in out.items()]
    if left:
        lines.append(
            f"  {left} more settings not compiled: the rule that orders them finds them slower or larger "
            "(--search=N compiles N)"
        )
    if fitting:
        lines.append(f"  the fastest that fits: {fitting[0][0].flags()}")
    else:
        lines.append("  none of the compiled settings fits: a larger --search or a larger slice")
    return lines


def _choice(rank: str, one: Candidate) -> list[str]:
    return [rank, " x ".join(map(str, one.mesh)), one.remat, str(one.accumulation)]


def _buffers(result: Mapping[str, Any]) -> list[str]:
    if not result.get("buffers"):
        return ["  largest buffers: the compiler gave no buffer assignment"]
    rows = [
        [size(one["bytes"]), one["kind"], one["shape"], memory.readable(one["name"])]
        for one in result["buffers"]
    ]
    return [
        "  largest buffers (places in memory; temporaries may share theirs with smaller ones)",
        *("  " + line for line in table(["bytes", "kind", "type", "made by"], rows, left=3)),
    ]


def _collectives(result: Mapping[str, Any]) -> list[str]:
    found = result.get("collectives")
    if found is None:
        return []
    if not found:
        return ["  collectives: none"]
    asked: dict[tuple[str, str], tuple[float, str]] = {
        (one["kind"], one["axis"]): (one["bytes"], one["why"]) for one in result["needs"]
    }
    sums: dict[tuple[str, str], list[float]] = {}
    for one in found:
        entry = sums.setdefault((one["kind"], one["axis"]), [0, 0.0])
        entry[0] += one["count"]
        entry[1] += one["bytes"]
    rows = []
    for place in dict.fromkeys((*sorted(sums, key=lambda key: -sums[key][1]), *asked)):
        count, sent = sums.get(place, [0, 0.0])
        need, why = asked.get(place, (0.0, ""))
        rows.append([place[0], place[1], f"{count:,.0f}", size(sent), size(need) if need else "-", why])
    head = ["kind", "axis", "count", "bytes", "theory asks", "rule"]
    names = ["kind", "axis", "count", "bytes", "array", "made by"]
    rows += _by_axis(sums, asked)
    lines = [
        "  collectives of a step (bytes that a device sends; loops multiplied out)",
        *("  " + line for line in table(head, rows, left=2)),
    ]
    if any(kind == "collective-permute" for kind, _ in sums):
        lines.append("  (permutations: the compiler does products piece by piece around the ring of an axis)")
    unknown = result.get("unknown_loops")
    if unknown:
        lines.append(f"  the trip count of {len(unknown)} loops is not known; they count once")
    largest = [
        [one["kind"], one["axis"], str(one["count"]), size(one["bytes"]), one["largest"],
         memory.readable(one["op_name"])]
        for one in found[:SHOWN_COLLECTIVES]
    ]  # fmt: skip
    lines += [
        "  the largest of them",
        *("  " + line for line in table(names, largest, left=2)),
    ]
    return lines


def _by_axis(
    sums: Mapping[tuple[str, str], Sequence[float]], asked: Mapping[tuple[str, str], tuple[float, str]]
) -> list[list[str]]:
    """All kinds of an axis together, with stages over parts of it.

    A ring of permutations does the work of a gather or a scatter, and two stages the work of one.
    """
    rows = []
    for axis in dict.fromkeys(axis.removesuffix(PART) for _, axis in (*asked, *sums)):
        sent = sum(entry[1] for (_, place), entry in sums.items() if place.removesuffix(PART) == axis)
        need = sum(entry[0] for (_, place), entry in asked.items() if place == axis)
        ratio = f"{sent / need:.2f} of what theory asks" if need else ""
        rows.append(["all", axis, "", size(sent), size(need) if need else "-", ratio])
    total, wanted = sum(entry[1] for entry in sums.values()), sum(need for need, _ in asked.values())
    ratio = f"{total / wanted:.2f} of what theory asks" if wanted else ""
    return [*rows, ["all", "all", "", size(total), size(wanted) if asked else "-", ratio]]


def _work(result: Mapping[str, Any]) -> list[str]:
    if "total_flops" not in result:
        return []
    lines = [f"  FLOPs a device: {result['total_flops']:.3e} compiled"]
    if result.get("model_flops"):
        lines[0] += f"; model FLOPs of the whole step: {result['model_flops']:.3e}"
    found = result.get("roofline")
    if found:
        times = ", ".join(f"{name} {found[name]:.3f}" for name in ("compute", "hbm", "ici", "dcn"))
        lines += [
            f"  roofline, seconds a step: {times}",
            f"    overlapped {found['overlapped']:.3f} s (MFU {found['mfu_overlapped']:.1%}), "
            f"in turn {found['in_turn']:.3f} s (MFU {found['mfu_in_turn']:.1%})",
            *(f"    {line}" for line in _expected(result)),
            f"    rule: {roofline.RULE}; {efficiency.RULE}",
        ]
    return lines
