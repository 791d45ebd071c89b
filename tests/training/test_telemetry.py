"""What a log line says of the steps since the last one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iml_jax.training.telemetry import Telemetry, Window

STEP = {"loss": 2.0, "loss_tokens": 30.0, "tokens": 40.0, "gradient_norm": 1.0, "learning_rate": 1e-3}
EMPTY = {**STEP, "loss": 0.0, "loss_tokens": 0.0, "gradient_norm": 0.0}


def window(*steps: dict[str, float]) -> dict[str, float]:
    made = Window()
    for one in steps:
        made.add(one)
    return made.summary(steps[-1], 64, 1e9)


def test_the_loss_is_that_of_all_loss_tokens() -> None:
    found = window(STEP, {**STEP, "loss": 5.0, "loss_tokens": 10.0})
    assert found["loss"] == pytest.approx((2.0 * 30 + 5.0 * 10) / 40)
    assert found["packing_fill"] == pytest.approx(80 / 128)
    seconds = found["seconds_per_step"] * 2
    assert found["tokens_per_second"] * seconds == pytest.approx(80)
    assert found["loss_tokens_per_second"] * seconds == pytest.approx(40)
    assert found["model_flops_per_second"] * seconds == pytest.approx(2e9)
    assert "empty_batches" not in found


def test_batches_without_a_loss_token_are_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = window(STEP, EMPTY, EMPTY)
    assert found["empty_batches"] == 2 and found["loss"] == 2.0
    sink = Telemetry(tmp_path, 3, 0)
    sink.write(3, found)
    sink.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["empty_batches"] == 2
    assert "2 batches without a loss token, which left the weights as they were" in capsys.readouterr().err
