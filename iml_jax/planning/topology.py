"""The slices that people ask for, in their notation, and what libtpu calls them.

``v5p:4x4x8`` names the torus; ``v5p-256`` is Google Cloud's accelerator type, whose number counts TensorCores
for v2 to v4, v5p and 7x (two a chip), and chips for v5litepod and v6e. ``cpu:8`` is eight simulated devices.
"""

from __future__ import annotations

import dataclasses
import math
import re

from iml_jax.foundation.errors import UserError
from iml_jax.foundation.suggestions import nearest
from iml_jax.parallel.chips import CHIPS, Chip

LARGEST_SLICES = 64


@dataclasses.dataclass(frozen=True)
class Kind:
    """A generation of TPU as libtpu knows it.

    Attributes:
      name: as people call it.
      libtpu: the prefix of libtpu's topology names.
      config: libtpu's ``chip_config_name``; with ``megacore`` a chip's two cores are one device.
      device_kind: jax's, the key of ``parallel.chips.CHIPS``.
      dims: of the torus.
      cores: TensorCores a chip, which the accelerator type may count.
      devices: jax devices a chip.
      usable_gib: HBM that a device's program may use. Source: what libtpu 0.0.42.1 says when a program is
        too large for it ("exceeds available HBM"); a slow test asks again.
      dcn_gb_per_second: a chip's share of its host's network, one direction. Source: Cloud TPU's pages
        ("data center network bandwidth per Pod" / chips of a Pod: v5e, v6e) and the networking table of
        jax-ml.github.io/scaling-book (v5p); v4 and 7x are taken to be like v5p and v6e.
    """

    name: str
    libtpu: str
    config: str
    device_kind: str
    dims: int
    cores: int
    devices: int
    usable_gib: float
    dcn_gb_per_second: float

    @property
    def chip(self) -> Chip:
        """The chip's peaks."""
        return CHIPS[self.device_kind]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("v4", "v4", "megacore", "TPU v4", 3, 2, 1, 30.75, 6.25),
        Kind("v5e", "v5e", "default", "TPU v5 lite", 2, 1, 1, 15.75, 3.125),
        Kind("v5p", "v5", "megacore", "TPU v5", 3, 2, 1, 95.74, 6.25),
        Kind("v6e", "v6e", "default", "TPU v6 lite", 2, 1, 1, 31.25, 12.5),
        Kind("tpu7x", "tpu7x", "default", "TPU7x", 3, 2, 2, 94.75, 12.5),
    )
}
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e", "v6": "v6e", "trillium": "v6e", "7x": "tpu7x", "v7x": "tpu7x"}

# chips -> torus, for accelerator types. Source: the "supported configurations" of cloud.google.com/tpu/docs.
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_DEEP = {
    4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8",
    1024: "8x8x16", 2048: "8x16x16", 4096: "16x16x16", 6144: "16x16x24",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Topology:
    """What is compiled for.

    Attributes:
      kind: the generation; ``cpu`` for simulated devices.
      shape: of one slice's torus, or the number of simulated devices.
      slices: that many of them, joined by the data-center network.
    """

    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chips(self) -> int:
        """Chips of all slices."""
        return math.prod(self.shape) * self.slices

    @property
    def devices(self) -> int:
        """jax devices of all slices."""
        return self.chips * (KINDS[self.kind].devices if self.kind != "cpu" else 1)

    def __str__(self) -> str:
        text = f"{self.kind}:{'x'.join(map(str, self.shape))}"
        return text if self.slices == 1 else f"{self.slices} x {text}"


def parse(text: str, slices: int = 1) -> Topology:
    """Reads ``v5p:4x4x8``, ``v5p-256``, ``v5litepod-64`` or ``cpu:8``.

    Raises:
      UserError: no such generation, shape or number, or an impossible number of slices.
    """
    if not 1 <= slices <= LARGEST_SLICES:
        raise UserError(f"--slices={slices}: must be from 1 to {LARGEST_SLICES}")
    found = re.fullmatch(r"\s*([A-Za-z0-9]+?)\s*(?:(:)\s*([0-9]+(?:x[0-9]+)*)|-([0-9]+))\s*", text)
    if found is None:
        raise UserError(f"--topology={text}: write a generation and a torus, v5p:4x4x8, or a type, v5p-256")
    name = ALIASES.get(found[1].lower(), found[1].lower())
    if name == "cpu":
        if not found[2] or "x" in found[3] or not 1 <= int(found[3]) <= 1024:
            raise UserError(f"--topology={text}: simulated devices are written cpu:8, from 1 to 1024")
        if slices > 1:
            raise UserError("--slices: simulated CPU devices have no slices")
        return Topology("cpu", (int(found[3]),))
    if name not in KINDS:
        near = nearest(found[1].lower(), (*KINDS, *ALIASES, "cpu"), quote="")
        raise UserError(f"--topology={text}: no TPU {found[1]!r}{near or ';'} known: {', '.join(KINDS)}, cpu")
    kind = KINDS[name]
    shape = _shape(text, kind, found[3]) if found[2] else _of_type(text, kind, int(found[4]))
    return Topology(name, shape, slices)


def _shape(text: str, kind: Kind, written: str) -> tuple[int, ...]:
    shape = tuple(int(size) for size in written.split("x"))
    if len(shape) != kind.dims or 0 in shape:
        example = (_FLAT if kind.dims == 2 else _DEEP)[64]
        raise UserError(
            f"--topology={text}: {kind.name} has {kind.dims} dimensions, as in {kind.name}:{example}"
        )
    largest = 256 if kind.dims == 2 else 16 * 16 * 36  # 7x has the largest pods
    if math.prod(shape) > largest:
        raise UserError(
            f"--topology={text}: a slice of {kind.name} has at most {largest} chips; see --slices"
        )
    return shape


def _of_type(text: str, kind: Kind, number: int) -> tuple[int, ...]:
    table = _FLAT if kind.dims == 2 else _DEEP
    per_chip = kind.cores
    if number % per_chip or number // per_chip not in table:
        sizes = [chips * per_chip for chips in table]
        near = min(sizes, key=lambda size: abs(math.log(size / max(number, 1))))
        raise UserError(
            f"--topology={text}: no slice {kind.name}-{number}; did you mean {kind.name}-{near}? "
            f"The number counts {'TensorCores, two a chip' if per_chip == 2 else 'chips'}; "
            f"{kind.name}:{table[near // per_chip]} names the torus itself"
        )
    return tuple(int(size) for size in table[number // per_chip].split("x"))
