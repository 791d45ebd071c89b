from __future__ import annotations

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.parallel.chips import CHIPS
from iml_jax.planning import topology


@pytest.mark.parametrize(
    ("text", "kind", "shape", "devices"),
    [
        ("v5p:4x4x8", "v5p", (4, 4, 8), 128),
        ("v4:4x4x4", "v4", (4, 4, 4), 64),
        ("v5e:16x16", "v5e", (16, 16), 256),
        ("V5E:2x4", "v5e", (2, 4), 8),
        ("v5p-256", "v5p", (4, 4, 8), 128),
        ("v4-128", "v4", (4, 4, 4), 64),
        ("v5litepod-256", "v5e", (16, 16), 256),
        ("v6e-8", "v6e", (2, 4), 8),
        ("tpu7x:2x2x1", "tpu7x", (2, 2, 1), 8),  # a device for each of a chip's cores
        ("tpu7x-16", "tpu7x", (2, 2, 2), 16),
        ("cpu:8", "cpu", (8,), 8),
    ],
)
def test_notations(text, kind, shape, devices):
    found = topology.parse(text)
    assert (found.kind, found.shape, found.devices) == (kind, shape, devices)


def test_slices_multiply():
    found = topology.parse("v5e:16x16", 2)
    assert found.chips == 512 and str(found) == "2 x v5e:16x16"


@pytest.mark.parametrize(
    ("text", "slices", "said"),
    [
        ("v5q:4x4x8", 1, "did you mean 'v5p'|did you mean v5p"),
        ("v5p:4x4", 1, "has 3 dimensions, as in v5p:4x4x4"),
        ("v5e:4x4x4", 1, "has 2 dimensions, as in v5e:8x8"),
        ("v5e:32x32", 1, "at most 256 chips; see --slices"),
        ("v5p-100", 1, "did you mean v5p-128.*two a chip"),
        ("v5litepod-100", 1, "did you mean v5e-128.*counts chips"),
        ("4x4x8", 1, "write a generation and a torus"),
        ("v5p:", 1, "write a generation and a torus"),
        ("v5p:0x4x4", 1, "3 dimensions"),
        ("cpu:0", 1, "cpu:8"),
        ("cpu:2x2", 1, "cpu:8"),
        ("cpu:8", 2, "no slices"),
        ("v5p:4x4x4", 0, "--slices=0"),
    ],
)
def test_mistakes_are_named(text, slices, said):
    with pytest.raises(UserError, match=said):
        topology.parse(text, slices)


def test_every_generation_has_its_chip_in_the_table_of_chips():
    for kind in topology.KINDS.values():
        chip = CHIPS[kind.device_kind]
        assert kind.chip is chip and 0.9 * chip.hbm_gib < kind.usable_gib * kind.devices < 1.02 * chip.hbm_gib
