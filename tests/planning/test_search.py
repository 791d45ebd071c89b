from __future__ import annotations

import dataclasses

import pytest

from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig
from iml_jax.models.sizes import SIZES, OptConfig
from iml_jax.parallel.mesh import MeshConfig
from iml_jax.planning import memory, planner, search, topology
from iml_jax.training.optimizer import OptimizerConfig

SMALL = OptConfig(hidden=256, layers=2, heads=4, ffn=1024, embed_dim=256, vocab_rows=512, vocab_tokens=500)


def setting(model=SMALL, rows=64):
    optimizer = OptimizerConfig(total_steps=100)
    return planner.Setting(model, optimizer, MeshConfig(), rows, 256, 1, EvaluateConfig(), GenerateConfig())


def test_meshes_multiply_to_the_devices_and_slices_lie_on_data():
    found = list(search.meshes(8))
    assert len(found) == len(set(found)) == 10 and all(a * b * c == 8 for a, b, c in found)
    assert {data for data, _, _ in search.meshes(8, slices=2)} == {2, 4, 8}


def test_state_is_parameters_and_two_moments_over_the_mesh():
    one, four = search.state_gib(setting(), (1, 1, 1)), search.state_gib(setting(), (1, 4, 1))
    weights = 4 * 3 * (2 * (4 * 256 * 256 + 2 * 256 * 1024) + 512 * 256) / memory.GIB
    assert one == pytest.approx(weights, rel=0.4) and one > weights  # biases, norms and positions as well
    assert four < one / 3


def test_what_arithmetic_rules_out_is_not_compiled():
    place = topology.parse("v5e:4x4")
    large = dataclasses.replace(SIZES["opt_30b"], remat="full")
    found, out = search.candidates(setting(large), place)
    assert found == [] and "parameters and optimizer alone exceed 15.75 GiB a device" in out
    found, out = search.candidates(setting(rows=4), place)
    assert {one.mesh[0] * one.mesh[1] for one in found} <= {1, 2, 4}
    assert out["4 rows do not divide over data x fsdp"] > 0
    assert "the mesh does not divide a weight" not in out or all(one.mesh[2] <= 4 for one in found)


def test_candidates_divide_the_rows_and_promise_the_fastest_first():
    found, _ = search.candidates(setting(), topology.parse("v5e:4x4"))
    assert all(64 % (one.mesh[0] * one.mesh[1] * one.accumulation) == 0 for one in found)
    assert [one.guess_seconds for one in found] == sorted(one.guess_seconds for one in found)
    applied = found[0].apply(setting())
    assert applied.accumulation == found[0].accumulation and applied.model.remat == found[0].remat
    assert f"--gin.Mesh.tensor={found[0].mesh[2]}" in found[0].flags()


def test_ranking_says_why_others_fall_out():
    one, two, three, four, five, six = search.candidates(setting(), topology.parse("v5e:4x4"))[0][:6]
    slow = {"status": "compiled", "roofline": {"in_turn": 1.0}, "expected": {"seconds": 3.0}}
    fast = {"status": "compiled", "roofline": {"in_turn": 2.0}, "expected": {"seconds": 2.0}}
    equal = {"status": "compiled", "roofline": {"in_turn": 1.5}, "expected": {"seconds": 2.0}}
    full = {"status": "does_not_fit", "room": {"spare_gib": -4.25, "fits": False}}
    tight = {"status": "compiled", "room": {"spare_gib": -0.5, "fits": False}, "roofline": fast["roofline"]}
    broken = {"status": "failed", "reason": "it broke"}
    tried = [(one, slow), (two, full), (three, fast), (four, broken), (five, tight), (six, equal)]
    fitting, others = search.ranked(tried)
    assert [candidate for candidate, _ in fitting] == [six, three, one]
    reasons = ["4.25 GiB a device too many", "failed: it broke", "0.50 GiB a device too many"]
    assert others == list(zip((two, four, five), reasons, strict=True))


def test_of_equal_guesses_the_fewest_micro_batches_come_first():
    found, _ = search.candidates(setting(), topology.parse("v5e:4x4"))
    groups = {}
    for one in found:
        fits = one.guess_gib <= topology.KINDS["v5e"].usable_gib
        groups.setdefault((fits, one.guess_seconds), []).append(one.accumulation)
    assert any(len(set(group)) > 1 for group in groups.values())
    assert all(group == sorted(group) for group in groups.values())


def result(mesh, state_gib):
    return {
        "devices": {"mesh": dict(zip(("data", "fsdp", "tensor"), mesh, strict=True))},
        "room": {"usable_gib": 15.75},
        "state": {"parameters": int(state_gib * memory.GIB), "optimizer": 0},
    }


def test_advice_names_flags_that_are_not_used_yet():
    place = topology.parse("v5e:4x4")
    said = " ".join(search.advice(setting(), place, result((2, 8, 1), 1.0)))
    assert "--gin.Mesh.data=1 --gin.Mesh.fsdp=16" in said and "--gin.Model.remat=full" in said
    assert "--gin.Train.accumulation=2" in said and "--gin.Mesh.fsdp=4 --gin.Mesh.tensor=2" in said
    assert "--gin.Optimizer.moment_dtype=bfloat16" in said
    used = dataclasses.replace(setting(dataclasses.replace(SMALL, remat="full")), accumulation=4)
    said = " ".join(search.advice(used, place, result((1, 16, 1), 1.0)))
    assert "remat=full" not in said and "remat=offload" in said
    narrow = dataclasses.replace(used.optimizer, moment_dtype="bfloat16")
    away = dataclasses.replace(used.model, remat="offload")
    used = dataclasses.replace(used, model=away, optimizer=narrow)
    said = " ".join(search.advice(used, place, result((1, 16, 1), 1.0)))
    assert (
        "moment_dtype" not in said
        and "remat" not in said
        and "accumulation" not in said
        and "Mesh.data" not in said
    )


def test_what_helps_when_the_state_alone_is_too_large():
    moments, slice_ = search.advice(setting(), topology.parse("v5e:4x4"), result((1, 16, 1), 20.0))
    assert "moment_dtype" in moments and "a larger slice" in slice_ and "20.00 GiB" in slice_
