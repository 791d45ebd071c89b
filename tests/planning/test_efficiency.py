from __future__ import annotations

import dataclasses

import pytest

from iml_jax.planning import efficiency, format, roofline, topology

# OPT-175B, 768 rows on v6e:16x16, as compiled; MaxText measured 17.18 s there.
FOUND = roofline.Roofline(8.708, 7.967, 5.264, 0.0, 8.708, 13.972, 0.8162, 0.5087)


def test_the_longest_at_its_share_is_expected():
    found = efficiency.expected(FOUND)
    assert found.bound == "ICI" and found.seconds == pytest.approx(5.264 / efficiency.ICI_SHARE)
    assert found.mfu == pytest.approx(0.8162 * 8.708 / found.seconds)
    assert found.seconds == pytest.approx(17.18, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "bound", "seconds"),
    [
        ({"compute": 20.0}, "compute", 20.0 / efficiency.COMPUTE_SHARE),
        ({"hbm": 20.0}, "HBM", 20.0 / efficiency.HBM_SHARE),
        ({"dcn": 40.0}, "DCN", 40.0),
    ],
)
def test_every_resource_can_bound(changes, bound, seconds):
    found = efficiency.expected(dataclasses.replace(FOUND, **changes))
    assert (found.bound, found.seconds) == (bound, pytest.approx(seconds))


def test_it_is_never_below_the_roofline_and_needs_work():
    place = topology.parse("v5p:4x4x4")
    some = roofline.estimate(place, 459e12, 2765e9, [], 459e12 * 64)
    assert efficiency.expected(some).seconds > some.overlapped
    assert efficiency.expected(roofline.estimate(place, 0.0, 0.0, [], 0.0)) is None


def test_the_verdict_shows_it_with_its_error():
    forecast = dataclasses.asdict(efficiency.expected(FOUND))
    lines = format.verdicts({"train": {"status": "compiled", "expected": forecast}})
    assert lines[2].startswith(
        "    expected: 16.61 s a step (MFU 42.8%), bound by ICI; such forecasts were off by"
    )
    assert len(format.verdicts({"score": {"status": "compiled"}})) == 2
