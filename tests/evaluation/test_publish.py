"""Where a run keeps its evaluations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prepared_questions import make_questions

from iml_jax.data import manifest as manifests
from iml_jax.evaluation import publish


def test_a_suite_has_a_folder_of_its_own(tmp_path: Path) -> None:
    make_questions(tmp_path)
    own = manifests.load(tmp_path)
    assert publish.suite_of(own.fingerprint, own) == ""
    assert publish.suite_of("", own) == ""  # weights from elsewhere
    suite = dataclasses.replace(own, name="MMLU 5-shot/x")
    manifests.save(suite, tmp_path)
    assert publish.suite_of(own.fingerprint, manifests.load(tmp_path)) == "MMLU_5-shot_x"
    assert publish.result_file("run", 5) == Path("run/evaluation/5.json")
    assert publish.result_file("run", 5, "mmlu") == Path("run/evaluation/mmlu/5.json")
    assert publish.report_file("run") == Path("run/report.html")
    assert publish.report_file("run", "mmlu") == Path("run/evaluation/mmlu/report.html")


def test_steps_that_were_evaluated(tmp_path: Path) -> None:
    assert publish.saved_steps(tmp_path) == []
    for name in ("5.json", "mmlu/10.json", "5.predictions.jsonl", "notes.json", "7.unfinished/x-1.jsonl"):
        path = tmp_path / "evaluation" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert publish.saved_steps(tmp_path) == [5, 10]
