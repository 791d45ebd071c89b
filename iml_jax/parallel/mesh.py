"""The device mesh: three named axes, always present, so that one program text serves every slice."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils

from iml_jax.foundation.errors import UserError

DATA, FSDP, TENSOR = AXES = ("data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How many devices lie along each axis; gin name ``Mesh``.

    One of them may be -1: all devices that the others leave.
    """

    data: int = dataclasses.field(
        default=1, metadata={"help": "copies of the parameters; each sees its own rows."}
    )
    fsdp: int = dataclasses.field(
        default=1,
        metadata={"help": "parameters and optimizer state are sharded over it, and rows too (ZeRO-3)."},
    )
    tensor: int = dataclasses.field(
        default=1, metadata={"help": "heads, MLP width and vocabulary are sharded over it (Megatron)."}
    )


def mesh_shape(config: MeshConfig, devices: int) -> tuple[int, int, int]:
    """Sizes along ``AXES`` for so many devices, -1 filled in.

    Raises:
      UserError: a size that is neither positive nor -1, two -1, or a product other than ``devices``.
    """
    sizes = [config.data, config.fsdp, config.tensor]
    written = "x".join(str(size) for size in sizes)
    if any(size < 1 and size != -1 for size in sizes):
        raise UserError(f"Mesh {written} (data x fsdp x tensor): sizes are positive, or -1 for the rest")
    if sizes.count(-1) > 1:
        raise UserError(f"Mesh {written} (data x fsdp x tensor): only one axis may be -1")
    product = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and devices % product == 0:
        sizes[sizes.index(-1)] = devices // product
    elif -1 in sizes or product != devices:
        raise UserError(
            f"Mesh {written} (data x fsdp x tensor) asks for {'a multiple of ' if -1 in sizes else ''}"
            f"{product} devices but there are {devices}: change Mesh.data, fsdp or tensor (-1: the rest)"
        )
    return (sizes[0], sizes[1], sizes[2])


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """A mesh with Auto axes ``data``, ``fsdp``, ``tensor`` over all (or the given) devices.

    On TPU the axes are laid along the torus; ``tensor``, which talks most, gets the nearest neighbours. Of
    several slices each takes a part of ``data``: only gradients go over the data-center network between them.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or ``data`` not to that of slices.
    """
    chosen = list(jax.devices() if devices is None else devices)
    shape = mesh_shape(config, len(chosen))
    on_tpu = chosen[0].platform == "tpu"
    slices = len({getattr(device, "slice_index", 0) for device in chosen}) if on_tpu else 1
    if shape[0] % slices:
        raise UserError(
            f"Mesh.data = {shape[0]} does not divide over {slices} slices: only data may go over the network "
            f"between them; set Mesh.data to a multiple of {slices}"
        )
    if slices > 1:
        grid = mesh_utils.create_hybrid_device_mesh(
            (shape[0] // slices, *shape[1:]), (slices, 1, 1), chosen, allow_split_physical_axes=True
        )
    elif on_tpu:
        grid = mesh_utils.create_device_mesh(shape, devices=chosen, allow_split_physical_axes=True)
    else:
        grid = np.asarray(chosen, dtype=object).reshape(shape)
    return jax.sharding.Mesh(grid, AXES, axis_types=(jax.sharding.AxisType.Auto,) * len(AXES))


@contextlib.contextmanager
def single_device(device: jax.Device | None = None) -> Iterator[jax.sharding.Mesh]:
    """Set a 1x1x1 mesh on one device (the first local one): for conversions, checks and small tests."""
    mesh = make_mesh(MeshConfig(), [device or jax.local_devices()[0]])
    with jax.set_mesh(mesh):
        yield mesh
