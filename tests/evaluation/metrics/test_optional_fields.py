"""What newer result files hold and older ones lack."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support.compared_results import make_results

from iml_jax.data.positions import Positions
from iml_jax.evaluation import results
from iml_jax.evaluation.intervals import DIFFERENCES, Spread
from iml_jax.evaluation.metrics import cautions
from iml_jax.evaluation.results import Results, TaskScore, TemplateScore
from iml_jax.foundation.errors import UserError

TASK = TaskScore(
    name="a:x:zero_shot", benchmark="a", task="x", category="X", level="fully_held_out", metric="accuracy",
    split="test", score=10.0, templates={"": TemplateScore(10.0, 1)}, constant_score=1.0, constant_answer="",
    examples=1, truncated=0, unfinished=0, dropped={},
)  # fmt: skip
TASKS = (TASK, dataclasses.replace(TASK, name="a:x:five_shot"))


def test_other_metrics_and_intervals_are_kept_and_may_be_missing(tmp_path: Path) -> None:
    kept = dataclasses.replace(TASKS[0], others={"bleu": 12.5}, interval=(9.0, 11.5))
    path = results.save(Results({}, (kept, TASKS[1])), tmp_path / "1.json")
    assert results.load(path).tasks == (kept, TASKS[1])
    record = json.loads(path.read_text())
    del record["sha256"]  # which older files lack, too
    text = json.dumps(record, indent=1)
    old = text.replace('"others": {\n    "bleu": 12.5\n   },', "").replace('"others": {},', "")
    assert old.count('"others"') == 0
    path.write_text(old)
    assert results.load(path).tasks[0].others == {}
    path.write_text(text.replace("12.5", '"much"'))
    with pytest.raises(UserError, match="damaged evaluation"):
        results.load(path)


def test_gain_and_positions_are_kept_and_checked(tmp_path: Path) -> None:
    gain = Spread(2.0, 40.0, 9.0, limits=DIFFERENCES, added=(-5.0, 5.0))
    kept = dataclasses.replace(
        TASK, gain=gain, chance=50.0, remark=cautions.CHANCE, positions=Positions(9, (5, 4), 1.0, 1, 55.5)
    )
    path = results.save(Results({}, (kept, TASKS[1])), tmp_path / "1.json")
    assert results.load(path).tasks == (kept, TASKS[1])
    for old, new in (
        ('"examples": 9.0', '"examples": 0.0'),
        ("-100.0", "-1.0"),
        ('"mean": 2.0', '"mean": 2e300'),
        ('"best": 1', '"best": 3'),
        ('"rows": 9', '"rows": 4'),
        ('"p_value": 1.0', '"p_value": -1.0'),
    ):
        record = json.loads(path.read_text())
        del record["sha256"]
        text = json.dumps(record)
        assert text.count(old) == 1, old
        damaged = path.with_name("2.json")
        damaged.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=r"2\.json: damaged evaluation \(a:x:zero_shot: impossible "):
            results.load(damaged)


def test_every_changed_value_of_scores_and_predictions_is_noticed(tmp_path):
    path = results.save(make_results(1, 0.5), tmp_path / "1.json")
    record = json.loads(path.read_text())
    for change in ({"metadata": {**record["metadata"], "step": 2}}, {"tasks": record["tasks"][:-1]}):
        path.write_text(json.dumps({**record, **change}))
        with pytest.raises(UserError, match=r"1\.json: damaged \(its checksum"):
            results.load(path)
    path.write_text(json.dumps(record))
    lines = results.predictions_path(path)
    lines.write_text(lines.read_text().replace('"score": 100.0', '"score": 99.0', 1))
    results.load(path)  # the scores alone are not
    with pytest.raises(UserError, match=r"1\.predictions\.jsonl: its checksum is not the one in 1\.json"):
        results.load(path, predictions=True)
