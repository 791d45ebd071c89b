"""Mesh shapes, and the ones that cannot be."""

import dataclasses

import jax
import numpy as np
import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.parallel.mesh import AXES, MeshConfig, make_mesh, mesh_shape, single_device


@pytest.mark.parametrize(
    ("sizes", "shape"), [((8, 1, 1), (8, 1, 1)), ((2, -1, 2), (2, 2, 2)), ((-1, 1, 1), (8, 1, 1))]
)
def test_shape(sizes, shape):
    mesh = make_mesh(MeshConfig(*sizes))
    assert mesh.axis_names == AXES
    assert mesh.devices.shape == shape
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
    assert set(mesh.devices.flat) == set(jax.devices())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 2, 1), "asks for 4 devices but there are 8"),
        ((-1, 3, 1), "asks for a multiple of 3 devices but there are 8"),
        ((-1, -1, 1), "only one axis"),
        ((0, 1, 8), "positive"),
    ],
)
def test_wrong_product_names_both_numbers(sizes, message):
    with pytest.raises(UserError, match=message):
        mesh_shape(MeshConfig(*sizes), 8)


def test_single_device_sets_a_mesh_of_one():
    with single_device() as mesh:
        assert jax.sharding.get_abstract_mesh().shape == mesh.shape == dict.fromkeys(AXES, 1)
    assert jax.sharding.get_abstract_mesh().empty


@dataclasses.dataclass(frozen=True)
class FakeChip:
    """As much of a TPU v5e's jax.Device as laying out a mesh asks for."""

    id: int
    slice_index: int
    coords: tuple[int, int, int]
    process_index: int = 0
    core_on_chip: int = 0
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"


def two_slices():
    places = [(x, y, 0) for y in range(2) for x in range(2)]
    return [FakeChip(4 * s + i, s, place) for s in (1, 0) for i, place in enumerate(places)]


@pytest.mark.parametrize("sizes", [(2, 2, 2), (4, 1, 2), (8, 1, 1), (2, 1, 4)])
def test_only_data_goes_from_slice_to_slice(sizes, monkeypatch):
    made = {}
    monkeypatch.setattr(jax.sharding, "Mesh", lambda grid, *_, **__: made.update(grid=grid))
    make_mesh(MeshConfig(*sizes), two_slices())
    indices = np.vectorize(lambda chip: chip.slice_index)(made["grid"])
    assert made["grid"].shape == sizes
    half = sizes[0] // 2
    assert (indices[:half] == 0).all() and (indices[half:] == 1).all()


def test_slices_that_fsdp_would_cross_are_refused():
    with pytest.raises(UserError, match=r"Mesh\.data = 1 does not divide over 2 slices"):
        make_mesh(MeshConfig(1, 4, 2), two_slices())
