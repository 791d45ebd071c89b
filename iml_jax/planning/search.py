"""Which mesh, remat policy and accumulation: tries them by compiling, the promising ones first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax.sharding import AbstractMesh

from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import REMAT_POLICIES, count_params
from iml_jax.parallel.mesh import AXES, MeshConfig
from iml_jax.planning import analytic_comms, room
from iml_jax.planning.job import TRAIN
from iml_jax.planning.memory import GIB
from iml_jax.planning.planner import Setting, model_flops
from iml_jax.planning.programs import bytes_a_device
from iml_jax.planning.topology import KINDS, Topology
from iml_jax.training.step import TrainStep

LARGEST_TENSOR = 16  # more leaves each device too little of a layer
LARGEST_ACCUMULATION = 16
# Bytes that a layer keeps for the backward pass, over positions x hidden x bytes of the compute dtype: its
# input; with `selective` attention, middle and MLP too; with `dots` every product; else everything
# (Korthikanti et al. 2022, table 2: 34 bytes at 2 bytes an element). For ordering only, never for a verdict.
_KEPT = {"full": 1.0, "selective": 7.0, "dots": 10.0, "none": 17.0}
# Offloading is for what does not fit otherwise: no rule here knows what the way to the host costs.
_TRIED = tuple(policy for policy in REMAT_POLICIES if policy != "offload")
# FLOPs over those of a step without recomputation; the MLP's second product need not be done again.
_RECOMPUTED = {"full": (6 + 2 * 2 / 3) / 6, "selective": 1.02, "dots": 1.05, "none": 1.0}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One setting that might be trained with.

    Attributes:
      mesh: sizes of data, fsdp, tensor.
      remat, accumulation: as ``Model.remat`` and ``Train.accumulation``.
      state_gib: parameters and optimizer a device, exact.
      guess_gib: state, gradients and kept activations by rule; for the order only.
      guess_seconds: by the roofline's rule from theory's bytes; for the order only.
    """

    mesh: tuple[int, int, int]
    remat: str
    accumulation: int
    state_gib: float
    guess_gib: float
    guess_seconds: float

    def apply(self, planned: Setting) -> Setting:
        """The setting with this candidate's choices."""
        model = dataclasses.replace(planned.model, remat=self.remat)
        mesh = MeshConfig(*self.mesh)
        return dataclasses.replace(planned, model=model, mesh=mesh, accumulation=self.accumulation)

    def flags(self) -> str:
        """The flags that choose it."""
        sizes = " ".join(f"--gin.Mesh.{n}={s}" for n, s in zip(AXES, self.mesh, strict=True))
        return f"{sizes} --gin.Model.remat={self.remat} --gin.Train.accumulation={self.accumulation}"


def meshes(devices: int, slices: int = 1) -> Iterator[tuple[int, int, int]]:
    """Every data x fsdp x tensor of so many devices; slices are joined by ``data`` alone."""
    for tensor in (t for t in range(1, min(devices, LARGEST_TENSOR) + 1) if devices % t == 0):
        rest = devices // tensor
        for data in (d for d in range(1, rest + 1) if rest % d == 0 and d % slices == 0):
            yield data, rest // data, tensor


def state_gib(planned: Setting, mesh: tuple[int, int, int]) -> float:
    """GiB a device of parameters and optimizer state, from shapes alone.

    Raises:
      UserError: the mesh does not divide a weight.
    """
    abstract: Any = AbstractMesh(mesh, AXES)
    state = TrainStep(planned.model, planned.optimizer, abstract).abstract_state
    return bytes_a_device((state.params, state.opt_state)) / GIB


def candidates(planned: Setting, topology: Topology) -> tuple[list[Candidate], dict[str, int]]:
    """What could be compiled, the most promising first, and how many fall out by arithmetic, by reason.

    Falls out: a mesh that does not divide a weight or the rows of a micro-batch, or on which parameters and
    optimizer alone are larger than a device's memory.
    """
    usable = KINDS[topology.kind].usable_gib if topology.kind != "cpu" else math.inf
    out: dict[str, int] = {}
    found: list[Candidate] = []
    for mesh in meshes(topology.devices, topology.slices):
        parts = mesh[0] * mesh[1]
        if planned.rows % parts:
            _add(out, f"{planned.rows} rows do not divide over data x fsdp")
            continue
        try:
            state = state_gib(planned, mesh)
        except UserError:
            _add(out, "the mesh does not divide a weight")
            continue
        if planned.model.heads % mesh[2]:
            _add(out, "tensor does not divide the heads")
            continue
        if state > usable:
            _add(out, f"parameters and optimizer alone exceed {usable} GiB a device")
            continue
        most = min(LARGEST_ACCUMULATION, planned.rows // parts)
        for accumulation in (a for a in range(1, most + 1) if planned.rows // parts % a == 0):
            if accumulation & (accumulation - 1):
                continue
            tries = [Candidate(mesh, remat, accumulation, state, 0.0, 0.0) for remat in _TRIED]
            found.extend(_guessed(one, planned, topology) for one in tries)
    # Micro-batches cost time that no rule here knows: the fewest first among equals.
    found.sort(key=lambda one: (one.guess_gib > usable, one.guess_seconds, one.accumulation, one.guess_gib))
    return found, out


def _add(out: dict[str, int], reason: str) -> None:
    out[reason] = out.get(reason, 0) + 1


def _guessed(one: Candidate, planned: Setting, topology: Topology) -> Candidate:
    """The candidate with its guesses filled in."""
    data, fsdp, tensor = one.mesh
    accumulation = one.accumulation
    model = dataclasses.replace(planned.model, remat=one.remat)
    width = 4 if model.compute_dtype == "float32" else 2
    positions = planned.rows // (data * fsdp * accumulation) * planned.length
    kept = _KEPT.get(one.remat, _KEPT["none"]) * model.layers * positions * model.hidden * width / tensor
    gradients = 4 * count_params(model) / (fsdp * tensor)
    sizes = dict(zip(AXES, one.mesh, strict=True))
    needs = analytic_comms.needs(TRAIN, model, sizes, planned.rows, planned.length, accumulation=accumulation)
    seconds = 0.0
    if topology.kind != "cpu":
        kind = KINDS[topology.kind]
        ici = kind.chip.ici_gb_per_second * 1e9 / kind.devices
        setting = dataclasses.replace(planned, model=model)
        flops = model_flops(setting, TRAIN) * _RECOMPUTED.get(one.remat, 1.0)
        seconds = flops / topology.devices / (kind.chip.flops / kind.devices)
        seconds += sum(need.bytes / (ici / 3 if need.axis == "tensor" else ici) for need in needs)
    guess = one.state_gib + (gradients + kept) / GIB
    return dataclasses.replace(one, guess_gib=guess, guess_seconds=seconds)


def ranked(
    tried: Sequence[tuple[Candidate, Mapping[str, Any]]],
) -> tuple[list[tuple[Candidate, Mapping[str, Any]]], list[tuple[Candidate, str]]]:
    """Those that fit, the fastest as expected first (of equals, by ``in turn``); the others with a reason."""
    fitting, others = [], []
    for candidate, result in tried:
        if room.fits(result):
            fitting.append((candidate, result))
        elif result["status"] in ("compiled", "does_not_fit"):
            others.append((candidate, f"{room.too_many(result):.2f} GiB a device too many"))
        else:
            others.append((candidate, f"{result['status']}: {result['reason'][:100]}"))
    fitting.sort(key=lambda pair: _speed(pair[1]))
    return fitting, others


def _speed(result: Mapping[str, Any]) -> tuple[float, float]:
    found, forecast = result.get("roofline"), result.get("expected")
    if found and forecast:
        return float(forecast["seconds"]), float(found["in_turn"])
    return float(result["memory"]["temporaries"]), 0.0  # no peaks are known (CPU): the smallest first


def advice(planned: Setting, topology: Topology, result: Mapping[str, Any]) -> list[str]:
    """Flags that may make a train step fit that does not; none of them has been compiled."""
    mesh = result["devices"]["mesh"]
    data, fsdp, tensor = mesh["data"], mesh["fsdp"], mesh["tensor"]
    usable, state = result["room"]["usable_gib"], sum(result["state"].values()) / GIB
    found = []
    if data > topology.slices:
        spread = f"--gin.Mesh.data={topology.slices} --gin.Mesh.fsdp={fsdp * data // topology.slices}"
        found.append(f"{spread}: parameters and optimizer cut over all chips of a slice")
    if planned.optimizer.moment_dtype == "float32":
        found.append("--gin.Optimizer.moment_dtype=bfloat16: moments of half the size")
    if state > usable:
        found.append(
            f"a larger slice: parameters and optimizer alone need {state:.2f} GiB a device of {usable:.2f}"
        )
        return found
    if planned.model.remat not in ("full", "offload"):
        found.append("--gin.Model.remat=full: keeps one activation a layer")
    elif planned.model.remat == "full" and planned.model.scan_layers:
        found.append("--gin.Model.remat=offload: these wait in the host's memory")
    micro = planned.rows // (data * fsdp * planned.accumulation)
    if micro > 1 and micro % 2 == 0:
        found.append(f"--gin.Train.accumulation={planned.accumulation * 2}: half the activations")
    if fsdp % 2 == 0 and planned.model.heads % (2 * tensor) == 0 and planned.model.ffn % (2 * tensor) == 0:
        found.append(
            f"--gin.Mesh.fsdp={fsdp // 2} --gin.Mesh.tensor={tensor * 2}: layers' weights and logits, once "
            "gathered, are half as large"
        )
    larger = "--slices or a larger torus: fewer rows and a smaller part of the state a chip"
    return [*found, larger]
