from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from iml_jax.planning import flops_and_bytes, hlo, hlo_collectives, trip_counts

AXES, SHAPE = ("data", "fsdp", "tensor"), (2, 2, 2)
PLACE = hlo_collectives.Place(AXES, SHAPE, tuple(range(8)))
FULL = 64 * 32 * 4  # bytes of the array that the programs below gather, reduce, ...


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh(SHAPE, AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)


def found_in(text: str):
    module = hlo.parse(text)
    return hlo_collectives.collect(module, trip_counts.count(module), PLACE)


def run(mesh, body, specs, out, times=1):
    """The collectives of ``body``, ``times`` over in a scan, under shard_map."""

    def local(x, scales):
        return jax.lax.scan(lambda carry, scale: (carry, body(jnp.tanh(x * scale))), 0, scales)[1]

    function = jax.shard_map(
        local, mesh=mesh, in_specs=(specs, P(None)), out_specs=P(None, *out), check_vma=False
    )
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=jax.NamedSharding(mesh, specs))
    scales = jax.ShapeDtypeStruct((times,), jnp.float32)
    return found_in(jax.jit(function).lower(x, scales).compile().as_text())


def test_all_gather_in_a_scan(mesh):
    def gather(x):
        return jax.lax.all_gather(x, "fsdp", axis=0, tiled=True)

    (one,) = run(mesh, gather, P("fsdp", None), (None, None), times=5)
    assert (one.kind, one.axis, one.size, one.count) == ("all-gather", "fsdp", 2, 5)
    assert one.bytes == 5 * FULL / 2


def test_all_reduce(mesh):
    (one,) = run(mesh, lambda x: jax.lax.psum(x, "tensor"), P(None, None), (None, None), times=3)
    assert (one.kind, one.axis, one.count, one.bytes) == ("all-reduce", "tensor", 3, 3 * FULL)


def test_all_reduce_over_two_axes(mesh):
    (one,) = run(mesh, lambda x: jax.lax.psum(x, ("data", "tensor")), P(None, None), (None, None))
    assert (one.axis, one.size, one.bytes) == ("data+tensor", 4, 2 * FULL * 3 / 4)


def test_reduce_scatter(mesh):
    def scatter(x):
        return jax.lax.psum_scatter(x, "data", scatter_dimension=0, tiled=True)

    (one,) = run(mesh, scatter, P(None, None), ("data", None), times=2)
    assert (one.kind, one.axis, one.count, one.bytes) == ("reduce-scatter", "data", 2, 2 * FULL / 2)


def test_all_to_all(mesh):
    def turn(x):
        return jax.lax.all_to_all(x, "fsdp", 1, 0, tiled=True)

    (one,) = run(mesh, turn, P("fsdp", None), (None, "fsdp"))
    assert (one.kind, one.axis, one.count, one.bytes) == ("all-to-all", "fsdp", 1, FULL / 4)


def test_permutation_along_an_axis(mesh):
    def shift(x):
        return jax.lax.ppermute(x, "fsdp", [(0, 1), (1, 0)])

    (one,) = run(mesh, shift, P("fsdp", None), ("fsdp", None), times=4)
    assert (one.kind, one.axis, one.count, one.bytes) == ("collective-permute", "fsdp", 4, 4 * FULL / 2)


HAND = """HloModule m, num_partitions=8

%add (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[] parameter(0)
  %y = bf16[] parameter(1)
  ROOT %s = bf16[] add(%x, %y)
}

%all-reduce-scatter.1 (i: bf16[16,8]) -> bf16[8,8] {
  %i = bf16[16,8] parameter(0)
  %zero = s32[] constant(0)
  %sum = bf16[16,8] all-reduce(%i), channel_id=5, replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %cut = bf16[8,8] dynamic-slice(%sum, %zero, %zero), dynamic_slice_sizes={8,8}
}

%begun (q: bf16[4,8]) -> bf16[8,8] {
  %q = bf16[4,8] parameter(0)
  ROOT %g1 = bf16[8,8] all-gather(%q), channel_id=9, replica_groups=[4,2]<=[8], dimensions={0}, frontend_attributes={chain_id="0"}
}

%ended (q: bf16[4,8]) -> bf16[8,8] {
  %q = bf16[4,8] parameter(0)
  ROOT %g2 = bf16[8,8] all-gather(%q), channel_id=9, replica_groups=[4,2]<=[8], dimensions={0}, frontend_attributes={chain_id="0"}
}

ENTRY %main (a: bf16[16,8], b: bf16[4,8]) -> bf16[8,8] {
  %a = bf16[16,8] parameter(0)
  %b = bf16[4,8] parameter(1)
  %f1 = bf16[8,8] fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1, metadata={op_name="jit(f)/grad"}
  %f2 = bf16[8,8] fusion(%b), kind=kCustom, calls=%begun, metadata={op_name="jit(f)/gather"}
  %start = (bf16[4,8], bf16[8,8]) all-gather-start(%b), channel_id=11, replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}
  %done = bf16[16,8] all-gather-done(%start)
  %alone = bf16[4,8] all-reduce(%b), channel_id=12, replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}, to_apply=%add
  ROOT %f3 = bf16[8,8] fusion(%b), kind=kCustom, calls=%ended
}
"""  # noqa: E501


def test_tpu_forms():
    """A fused all-reduce and slice is a reduce-scatter; pieces of one collective count once."""
    found = {(one.kind, one.axis): one for one in found_in(HAND)}
    assert set(found) == {
        ("reduce-scatter", "tensor"), ("all-gather", "tensor"), ("all-gather", "data+fsdp")
    }  # fmt: skip
    scatter = found["reduce-scatter", "tensor"]
    assert (scatter.bytes, scatter.count, scatter.op_name) == (16 * 8 * 2 / 2, 1, "jit(f)/grad")
    pieces = found["all-gather", "tensor"]
    assert (pieces.bytes, pieces.count, pieces.asynchronous) == (8 * 8 * 2 / 2, 1, True)
    begun = found["all-gather", "data+fsdp"]
    assert (begun.bytes, begun.size, begun.asynchronous) == (4 * 8 * 2 * 4 * 3 / 4, 4, True)
    assert not scatter.asynchronous


SLICES = """HloModule m, num_partitions=4

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %s = f32[] add(%x, %y)
}

ENTRY %main (a: f32[64]) -> f32[128] {
  %a = f32[64] parameter(0), metadata={op_name="gradient"}
  %t = token[] after-all()
  %in = f32[64] all-reduce(%a), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add
  %s1 = (f32[64], u32[], token[]) send(%a, %t), frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}
  %s2 = (f32[64], u32[], token[]) send(%a, %t), frontend_attributes={_xla_megascale_transfer_type="ALL_GATHER"}
  %s3 = (f32[64], u32[], token[]) send(%a, %t), is_host_transfer=true
  ROOT %g = f32[128] all-gather(%a), channel_id=2, replica_groups={{0,2},{1,3}}, dimensions={0}
}
"""  # noqa: E501


@dataclasses.dataclass(frozen=True)
class Device:
    slice_index: int


def test_a_program_of_several_slices_numbers_one_slice_and_sends_to_the_others():
    devices = np.array([[[Device(1)] * 2] * 2, [[Device(0)] * 2] * 2])  # data crosses the slices
    place = hlo_collectives.place_of(SimpleNamespace(devices=devices, axis_names=AXES))
    assert place == hlo_collectives.Place(AXES, SHAPE, (0, 1, 2, 3), 2, "data")
    module = hlo.parse(SLICES)
    found = hlo_collectives.collect(module, trip_counts.count(module), place)
    assert {(one.kind, one.axis, one.bytes, one.slices) for one in found} == {
        ("all-reduce", "tensor", 256.0, 1),
        ("all-gather", "fsdp", 256.0, 1),
        ("all-reduce", "data", 256.0, 2),
        ("all-gather", "data", 256.0, 2),
    }
    crossed = np.array([[[Device(0), Device(1)]] * 2] * 2)
    place = hlo_collectives.place_of(SimpleNamespace(devices=crossed, axis_names=AXES))
    assert place.slice_axes == "tensor" and place.numbering == (0, 2, 4, 6)
    found = hlo_collectives.collect(module, trip_counts.count(module), place)
    assert {one.axis for one in found} == {"tensor", "fsdp", "data"}


def test_flops_of_dots_in_a_scan():
    def step(carry, weight):
        return jnp.tanh(carry @ weight), None

    def loss(weights, x):
        return jnp.sum(jax.lax.scan(step, x, weights)[0] ** 2)

    lowered = jax.jit(jax.grad(loss)).lower(jnp.ones((3, 64, 64)), jnp.ones((8, 64)))
    module = hlo.parse(lowered.compile().as_text())
    one = 2 * 8 * 64 * 64
    # Forward 3, backward 6, less the gradient of the first input, which nobody asks for (XLA may keep it).
    assert flops_and_bytes.flops(module, trip_counts.count(module)) in (8 * one, 9 * one)


CONVOLUTION = """HloModule m, num_partitions=1

ENTRY %main (a: bf16[{left}], b: bf16[{right}]) -> bf16[{out}] {{
  %a = bf16[{left}] parameter(0)
  %b = bf16[{right}] parameter(1)
  ROOT %c = bf16[{out}] convolution(%a, %b){attributes}
}}
"""


@pytest.mark.parametrize(
    ("left", "right", "out", "attributes", "flops"),
    [
        ("8,32", "32,16", "8,16", ", dim_labels=bf_io->bf", 2 * 8 * 32 * 16),
        # A spatial axis of the output that only one operand has: [4,8,32] x [32,16].
        ("4,8,32", "1,32,16", "4,8,16", ", window={size=1}, dim_labels=0bf_0io->0bf", 2 * 4 * 8 * 32 * 16),
        # A batched product [4,8,32] x [4,32,16]: stride and dilation let each batch meet its own only.
        (
            "4,8,32", "4,32,16", "4,8,16",
            ", window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0io->0bf", 2 * 4 * 8 * 32 * 16,
        ),
    ],
)  # fmt: skip
def test_flops_of_matrix_products_written_as_convolutions(left, right, out, attributes, flops):
    module = hlo.parse(CONVOLUTION.format(left=left, right=right, out=out, attributes=attributes))
    assert flops_and_bytes.flops(module, trip_counts.count(module)) == flops


def test_bytes_through_memory_count_what_moves():
    text = """HloModule m, num_partitions=1

%fused (p: f32[100,8], i: s32[]) -> f32[1,8] {
  %p = f32[100,8] parameter(0)
  %i = s32[] parameter(1)
  %z = s32[] constant(0)
  ROOT %d = f32[1,8] dynamic-slice(%p, %i, %z), dynamic_slice_sizes={1,8}
}

ENTRY %main (p: f32[100,8], i: s32[]) -> f32[1,8] {
  %p = f32[100,8] parameter(0)
  %i = s32[] parameter(1)
  %f = f32[1,8] fusion(%p, %i), kind=kLoop, calls=%fused
  %v = f32[1,8]{1,0:S(1)} negate(%f)
  ROOT %n = f32[1,8] add(%v, %f)
}
"""
    module = hlo.parse(text)
    # fusion: 32 read of the slice, 4 of i, 32 written; negate: 32 read, written on chip; add: 32 + 32.
    assert flops_and_bytes.traffic(module, trip_counts.count(module)) == (32 + 4 + 32) + 32 + (32 + 32)
