"""What newer result files hold and older ones lack."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from iml_jax.errors import UserError
from iml_jax.evaluation import results
from iml_jax.evaluation.results import Results, TaskScore, TemplateScore

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
    text = path.read_text()
    old = text.replace('"others": {\n    "bleu": 12.5\n   },', "").replace('"others": {},', "")
    assert old.count('"others"') == 0
    path.write_text(old)
    assert results.load(path).tasks[0].others == {}
    path.write_text(text.replace("12.5", '"much"'))
    with pytest.raises(UserError, match="damaged evaluation"):
        results.load(path)
