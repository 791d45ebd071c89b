"""benchmarks/plan_calibration.py: its table is sound, and its fit gives the planner's constants."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from iml_jax import config
from iml_jax.planning import efficiency, planner, topology

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import plan_calibration as calibration

ROWS = calibration.load()
NAMES = [row["name"] for row in ROWS]


def test_the_fit_gives_the_planners_constants():
    shares = calibration.fit(ROWS)
    known = (efficiency.COMPUTE_SHARE, efficiency.HBM_SHARE, efficiency.ICI_SHARE)
    assert shares == pytest.approx(known, abs=0.0011)
    # What the command prints as the error of such forecasts is that of rows that the fit has not seen.
    errors = np.abs(calibration.left_out(ROWS, lambda row: row["name"]))
    assert np.mean(errors) == pytest.approx(efficiency.MEAN_ERROR, abs=0.005)
    assert np.max(errors) == pytest.approx(efficiency.LARGEST_ERROR, abs=0.005)


def test_constants_that_made_the_steps_are_found_again():
    made = np.array([0.6, 0.45, 0.25])
    rows = [
        {**row, "published": {"seconds": calibration.expected(made, row), "rule": "causal"}} for row in ROWS
    ]
    assert calibration.fit(rows) == pytest.approx(made, rel=1e-3)
    assert np.abs(calibration.left_out(rows, lambda row: row["name"])).max() < 0.01


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_row_has_a_source_a_mesh_and_a_model_of_equal_matrices(row):
    place = topology.parse(row["plan"]["topology"])
    assert row["source"].startswith("https://github.com/") and place.devices == row["chips"]
    assert int(np.prod(row["plan"]["mesh"])) == row["chips"]
    model = row["plan"]
    assert calibration.matrices(row) == 4 * model["hidden"] ** 2 + 2 * model["hidden"] * model["ffn"]
    assert calibration.measured(row) > calibration.at_peak(row).max() > 0


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "tflops" in row["published"]], ids=lambda row: row["name"]
)
def test_the_rule_of_flops_is_the_one_of_the_published_figure(row):
    """Seconds and TFLOP/s of one log line agree by the rule that the table names for it."""
    rate = calibration.rule_flops(row) / row["published"]["seconds"] / 1e12
    assert rate == pytest.approx(row["published"]["tflops"], rel=2e-3)


def test_published_shares_of_the_peak_are_converted_by_their_rule():
    row = next(row for row in ROWS if row["name"] == "GPT 16B, v5e-256")
    # 120 TFLOP/s beside 61.10% in the same table.
    assert calibration.rule_flops(row) / calibration.measured(row) / 1e12 == pytest.approx(120, abs=0.5)


def test_products_that_were_kept_are_not_counted():
    row = next(row for row in ROWS if row["name"] == "Llama 3.1 8B, v6e-256")
    kept = 2 * 4096 * (2 * 4096 + 2 * 1024) * 32 * 4 * 8192 / 918e12
    assert calibration.at_peak(row)[0] == pytest.approx(row["seconds_at_peak"]["compute"] - kept)


def test_the_command_of_a_row_plans_what_was_measured():
    row = next(row for row in ROWS if row["name"] == "GPT 128B, v5p-256")
    words = calibration.command(row)
    overrides = [word.removeprefix("--gin.") for word in words if word.startswith("--gin.")]
    found = planner.setting(config.load(["models/opt_175b.gin"], overrides))
    assert (found.rows, found.length, found.model.remat) == (256, 2048, "dots")
    assert (found.mesh.data, found.mesh.fsdp, found.mesh.tensor) == (1, 16, 8)
    assert (found.model.ffn, found.model.layers, found.model.hidden) == (77824, 64, 10240)
