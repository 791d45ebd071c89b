from __future__ import annotations

import dataclasses

import pytest

from iml_jax.models.sizes import OptConfig
from iml_jax.planning import analytic_comms, roofline, topology

MODEL = OptConfig(
    hidden=64, layers=3, heads=4, ffn=256, embed_dim=64, vocab_rows=512, vocab_tokens=500, remat="full"
)
LAYERS = 3 * (4 * 64 * 64 + 2 * 64 * 256)  # elements of all layers' matrices
TABLE = 512 * 64


def asked(program, mesh, model=MODEL, accumulation=1):
    sizes = dict(zip(("data", "fsdp", "tensor"), mesh, strict=True))
    needs = analytic_comms.needs(program, model, sizes, 16, 32, accumulation=accumulation)
    return {(need.kind, need.axis): need.bytes for need in needs}


def looked_up(fsdp):
    """Bytes of a device's rows, all but its own columns."""
    return 16 / fsdp * 32 * 64 * 2 * (fsdp - 1) / fsdp


def test_fsdp_gathers_layers_twice_and_scatters_once():
    assert asked("train", (1, 8, 1)) == {
        ("all-gather", "fsdp"): (2 * LAYERS + TABLE) * 2 * 7 / 8,
        ("reduce-scatter", "fsdp"): (LAYERS + TABLE) * 2 * 7 / 8,
        ("all-to-all", "fsdp"): 4 * looked_up(8),
    }


def test_a_table_taken_part_by_part_is_gathered_twice():
    large = dataclasses.replace(
        MODEL, vocab_rows=2**22 + 8, vocab_tokens=2**22
    )  # 64 wide: above 2**28 elements
    table = large.vocab_rows * 64
    found = asked("train", (1, 4, 1), large)
    assert found["all-gather", "fsdp"] == (2 * LAYERS + 2 * table) * 2 * 3 / 4
    assert found["reduce-scatter", "fsdp"] == (LAYERS + table) * 2 * 3 / 4
    halves = asked("train", (1, 4, 2), large)  # each of two devices has half of it: whole at once
    assert halves["all-gather", "fsdp"] == (2 * LAYERS + table) / 2 * 2 * 3 / 4


def test_accumulation_gathers_anew():
    once, four = asked("train", (1, 4, 1)), asked("train", (1, 4, 1), accumulation=4)
    assert once.pop(("all-to-all", "fsdp")) == four.pop(("all-to-all", "fsdp"))  # each row's once
    assert {key: 4 * value for key, value in once.items()} == four


def test_data_parallelism_sums_each_chips_part():
    found = asked("train", (2, 4, 1))
    assert found["all-reduce", "data"] == (LAYERS + TABLE) * 2 / 4  # 2 (n-1)/n of the part, n = 2


def test_tensor_parallelism_moves_the_stream():
    found = asked("train", (1, 1, 4))
    stream = 16 * 32 * 64 * 2 * 3 / 4
    assert found == {
        ("all-gather", "tensor"): (6 * 3 + 3) * stream,
        ("reduce-scatter", "tensor"): (5 * 3 + 2) * stream,
    }
    kept = asked("train", (1, 1, 4), dataclasses.replace(MODEL, remat="none"))
    assert kept["reduce-scatter", "tensor"] == (4 * 3 + 2) * stream


def test_evaluation_gathers_once_and_one_chip_sends_nothing():
    assert asked("score", (1, 8, 1)) == {
        ("all-gather", "fsdp"): (LAYERS + TABLE) * 2 * 7 / 8,
        ("all-to-all", "fsdp"): 2 * looked_up(8),
    }
    assert asked("train", (1, 1, 1)) == {} and asked("decode", (1, 8, 1)) == {}


def test_float32_is_twice_as_much():
    wide = dataclasses.replace(MODEL, compute_dtype="float32")
    assert (
        asked("train", (1, 8, 1), wide)["all-gather", "fsdp"]
        == 2 * asked("train", (1, 8, 1))["all-gather", "fsdp"]
    )


def collective(sent, dimensions, slices=1):
    return {"bytes": sent, "torus": {"dimensions": dimensions, "slices": slices}}


def test_gradients_summed_in_float32_are_twice_as_much():
    exact = dataclasses.replace(MODEL, reduce_dtype="float32")
    plain, wide = asked("train", (2, 4, 1)), asked("train", (2, 4, 1), exact)
    changed = {key for key in plain if plain[key] != wide[key]}
    assert changed == {("reduce-scatter", "fsdp"), ("all-reduce", "data")}
    assert wide["reduce-scatter", "fsdp"] == (2 * LAYERS + TABLE) * 2 * 3 / 4
    assert wide["all-reduce", "data"] == 2 * (2 * LAYERS + TABLE) * 2 / 4 / 2


def test_roofline_of_v5p():
    place = topology.parse("v5p:4x4x2")
    found = roofline.estimate(place, 459e12, 2765e9 / 2, [], 459e12 * 32 / 2)
    assert (found.compute, found.hbm, found.ici, found.dcn) == (1.0, 0.5, 0.0, 0.0)
    assert (found.overlapped, found.in_turn, found.mfu_in_turn) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("dimensions", "links"),
    [([0], 2), ([0, 1], 4), ([2], 1), ([0, 1, 2], 5), ([], 1)],  # a torus of 2 along z is no ring
)
def test_links_of_a_group(dimensions, links):
    place = topology.parse("v5p:4x4x2")
    found = roofline.estimate(place, 0.0, 0.0, [collective(100e9, dimensions)], 1.0)
    assert found.ici == pytest.approx(1 / links)  # 600 GB/s over 6 links


def test_between_slices_the_network_counts():
    place = topology.parse("v5e:16x16", 2)
    both = [collective(3.125e9, [], slices=2), collective(100e9, [0])]
    found = roofline.estimate(place, 197e12, 0.0, both, 1.0)
    assert (found.dcn, found.ici) == pytest.approx((1.0, 1.0))
    assert found.overlapped == pytest.approx(1.0) and found.in_turn == pytest.approx(3.0)


def test_a_core_of_7x_is_half_a_chip():
    found = roofline.estimate(topology.parse("tpu7x:2x2x1"), 2307e12 / 2, 0.0, [], 0.0)
    assert found.compute == pytest.approx(1.0)


def test_cpus_have_no_roofline():
    assert roofline.estimate(topology.parse("cpu:8"), 1.0, 1.0, [], 1.0) is None
