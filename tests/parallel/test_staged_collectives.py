"""Collectives in two stages against those in one, and which sizes have which stages."""

import functools
import math

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from iml_jax.parallel import staged_collectives
from iml_jax.parallel.mesh import MeshConfig, make_mesh


@pytest.fixture(params=[(1, 8, 1), (2, 4, 1)])
def mesh(request, monkeypatch):
    monkeypatch.setattr(staged_collectives, "in_stages", lambda: True)
    mesh = make_mesh(MeshConfig(*request.param))
    with jax.set_mesh(mesh):
        yield mesh


def mapped(function, inputs, outputs):
    return jax.jit(jax.shard_map(function, in_specs=inputs, out_specs=outputs, check_vma=False))


def cut(dimension, dimensions=3):
    return PartitionSpec(*("fsdp" if place == dimension else None for place in range(dimensions)))


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_gather_width(mesh, dimension):
    array = np.random.default_rng().normal(size=(8, 16, 24)).astype(np.float32)
    function = mapped(
        functools.partial(staged_collectives.gather_width, dimension=dimension),
        cut(dimension),
        PartitionSpec(),
    )
    np.testing.assert_array_equal(function(array), array)
    assert function.lower(array).as_text().count("stablehlo.all_gather") == 2


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_scatter_width(mesh, dimension):
    data, fsdp = mesh.shape["data"], mesh.shape["fsdp"]
    arrays = np.random.default_rng().normal(size=(data * fsdp, 8, 16, 24))

    def local(mine):
        return staged_collectives.scatter_width(mine[0], dimension)[None]

    rows = PartitionSpec(("data", "fsdp"))
    function = mapped(local, rows, PartitionSpec("data", *cut(dimension)))
    for copy, group in zip(function(arrays), arrays.reshape(data, fsdp, *arrays.shape[1:]), strict=True):
        np.testing.assert_allclose(copy, group.sum(axis=0), rtol=1e-5, atol=1e-5)
    assert function.lower(arrays).as_text().count("stablehlo.reduce_scatter") == 2


@pytest.mark.parametrize("size", [*range(2, 65), 96, 128, 256, 384, 512, 1024, 2048])
def test_stages_multiply_to_the_size(size):
    found = staged_collectives.stages(size)
    assert math.prod(found) == size
    assert all(stage > 1 for stage in found)
    is_prime = all(size % divisor for divisor in range(2, size))
    assert len(found) == (1 if is_prime else 2)


def test_stages_of_whole_slices_are_planes():
    sizes = (64, 128, 256, 512, 1024)
    assert [staged_collectives.stages(size) for size in sizes] == [
        (16, 4),
        (16, 8),
        (16, 16),
        (64, 8),
        (64, 16),
    ]


@pytest.mark.parametrize(
    ("platform", "shape", "expected"),
    [
        ("tpu", (1, 64, 1), True),
        ("tpu", (2, 64, 1), True),
        ("tpu", (1, 32, 2), False),  # no axis is the whole slice
        ("tpu", (4, 8, 1), False),
        ("tpu", (1, 17, 1), False),  # nothing to divide
        ("cpu", (1, 64, 1), False),
        ("gpu", (1, 64, 1), False),
    ],
)
def test_where_collectives_run_in_stages(monkeypatch, platform, shape, expected):
    sizes = dict(zip(("data", "fsdp", "tensor"), shape, strict=True))
    monkeypatch.setattr(staged_collectives, "platform", lambda: platform)
    monkeypatch.setattr(staged_collectives, "mesh_size", sizes.__getitem__)
    assert staged_collectives.in_stages() is expected
