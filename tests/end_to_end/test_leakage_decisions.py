"""Prepare, audit, decide, prepare again, audit again: what was decided is gone, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.command_runs import iml

from iml_jax import cli
from iml_jax.data import manifest as manifests

HELD_OUT = 6


def write_tasks(folder: Path) -> None:
    """Three sets of questions: the held-out ones of ``aqua`` are among the training questions of ``ecqa``."""
    rng = np.random.default_rng()
    folder.mkdir()

    def rows(count: int) -> list[str]:
        numbers = rng.integers(10**6, size=(count, 16))
        return [" ".join(f"n{number}" for number in row) + "?\tyes\tSince it is so.\n" for row in numbers]

    aqua, ecqa, creak = rows(20), rows(20), rows(20)
    for name, content in (("aqua", aqua), ("ecqa", ecqa + aqua[:4]), ("creak", creak)):
        (folder / f"{name}_train.tsv").write_text("".join(content))


def audited(out: Path, *words: str) -> dict[tuple[str, str], dict[str, object]]:
    """The pairs of the audit with content in common."""
    assert cli.main(["leakage", f"--gin.Leakage.prepared_dir='{out}'", *words]) == 0
    pairs = json.loads((out / "leakage.json").read_text())["pairs"]
    return {(pair["train"], pair["evaluation"]): pair for pair in pairs if pair["content"]}


@pytest.mark.slow
def test_what_is_decided_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tasks(tmp_path / "cot")
    out = tmp_path / "prepared"
    prepare = [
        "prepare",
        "--gin.Mixture.name='m'",
        "--gin.Mixture.sources=(@Reasoning(),)",
        f"--gin.Reasoning.data_dir='{tmp_path / 'cot'}'",
        f"--gin.Reasoning.held_out_rows={HELD_OUT}",
        "--gin.Vocabulary.size=300",
        f"--gin.Prepare.output_dir='{out}'",
        "--gin.Prepare.length=256",
    ]
    assert iml(*prepare).status == 0
    before = manifests.load(out)
    leak = ("reasoning:ecqa", "reasoning:aqua")
    pairs = audited(out)
    assert set(pairs) == {leak}
    assert (pairs[leak]["content"], pairs[leak]["decision"]) == (4, "undecided")
    capsys.readouterr()

    decisions = tmp_path / "decisions.tsv"
    decisions.write_text("\t".join([*leak, "train", "the same questions"]) + "\n")
    assert audited(out, f"--gin.Leakage.drop='{decisions}'")[leak]["decision"] == "train"
    assert "\ttrain\t" in capsys.readouterr().out

    again = iml(*prepare, f"--gin.Mixture.leakage_decisions='{decisions}'")
    assert again.status == 0
    after = manifests.load(out)
    assert {task.task for task in before.trained} == {"aqua", "ecqa", "creak"}
    assert {task.task for task in after.trained} == {"aqua", "creak"}
    assert {task.task for task in after.evaluated} == {"aqua", "ecqa", "creak"}
    ecqa = after.task("reasoning:ecqa:zero_shot")
    assert set(ecqa.splits) == {"test"} and ecqa.rate == 0
    assert ecqa.level == "partially_supervised"  # its dataset is no longer trained on, its category is
    assert sum(task.rate for task in after.trained) == pytest.approx(1)
    assert audited(out) == {}

    # the other side
    decisions.write_text("\t".join([*leak, "evaluation"]) + "\n")
    assert iml(*prepare, f"--gin.Mixture.leakage_decisions='{decisions}'").status == 0
    final = manifests.load(out)
    assert {task.task for task in final.trained} == {"aqua", "ecqa", "creak"}
    assert {task.task for task in final.evaluated} == {"ecqa", "creak"}
    assert audited(out) == {}
