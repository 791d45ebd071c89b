"""The mixture table adds up and shows every task by its whole name."""

from __future__ import annotations

import json

from iml_jax.bench import left_out, mixture_table
from iml_jax.bench.left_out import Thing
from iml_jax.bench.sources.formats.shortening import shortened
from iml_jax.data.manifest import Manifest, SplitEntry, TaskEntry, VocabularyEntry

NAME = "b" * 40 + ":" + "t" * 60 + ":zero_shot"


def entry(name, trained, splits):
    return TaskEntry(
        name=name,
        benchmark="b",
        task="t",
        category="QA",
        role="train",
        level="fully_held_out",
        metric="accuracy",
        trained=trained,
        evaluated=True,
        evaluation_split="test",
        cap=4 if trained else 0,
        rate=1.0 if trained else 0.0,
        fingerprint="f",
        splits=splits,
    )


def manifest():
    reasons = {"no reference": 2, shortened("a value"): 30}
    train = SplitEntry((), 1000, 70_000, 3_000, 7, reasons)
    test = SplitEntry((), 50, 3_500, 150, 1, {"no reference": 1, "too odd": 4}, {"shown": 600})
    tasks = (entry(NAME, True, {"train": train, "test": test}), entry("b:u:zero_shot", False, {"test": test}))
    return Manifest(name="m", length=64, vocabulary=VocabularyEntry(500, 504, "v"), tasks=tasks)


def test_totals():
    record = mixture_table.as_record(manifest())
    assert record["totals"]["all"] == {
        "splits": 3,
        "examples": 1100,
        "tokens": 77_000,
        "loss_tokens": 3_300,
        "left_truncated": 9,
        "dropped": {"no reference": 4, "too odd": 8},
        "shortened": {"a value": 30},
        "demonstrations": {"shown": 1200},
    }
    assert record["totals"]["test"]["examples"] == 100
    assert record["tasks"][0]["splits"]["train"]["dropped"] == {"no reference": 2}


def test_text():
    text = mixture_table.render(manifest())
    lines = [line for line in text.splitlines() if line.startswith(NAME)]
    assert lines[0].split() == [NAME, "train", "1,000", "70,000", "3,000", "7", "2", "4", "1.00000"]
    assert lines[1].split() == [NAME, "test", "50", "3,500", "150", "1", "5"]
    assert "dropped 8: too odd" in text
    assert "shortened 30: a value (of all prompts rendered)\n" in text and "32" not in text
    assert "demonstrations 1,200: shown" in text
    assert "2 tasks: 1 trained, 2 evaluated" in text


def test_what_is_left_out_is_told_with_its_reason():
    left = left_out.counted(
        [
            Thing("t5", left_out.BENCHMARK, "no such folder", "t5"),
            *(Thing("flan", left_out.FILE, "no dataset of FLAN", name) for name in ("b", "a", "b")),
            Thing("flan", left_out.SPLIT, "unlabelled", "x", rows=1200, all_counted=True),
            Thing("flan", left_out.TASK, "no template", "y", rows=3, all_counted=True),
            Thing("flan", left_out.TASK, "no template", "z", rows=4),
        ]
    )
    text = mixture_table.render(manifest(), left)
    assert "left out t5: no such folder\n" in text
    assert "left out 2 files of flan: no dataset of FLAN (e.g. a)\n" in text
    assert "left out 1 split of flan with 1,200 rows: unlabelled (x)\n" in text
    assert "left out 2 tasks of flan with at least 7 rows: no template (e.g. y)\n" in text
    record = mixture_table.as_record(manifest(), left)["left_out"]
    assert [(row["count"], row["rows"], row["all_counted"]) for row in record] == [
        (2, 0, False),
        (1, 1200, True),
        (2, 7, False),
        (1, 0, False),
    ]
    assert mixture_table.as_record(manifest())["benchmarks"] == {"b": 1.0}


def test_save_and_summary(tmp_path):
    assert mixture_table.save(manifest(), tmp_path) == (tmp_path / "mixture_table.txt").read_text()
    assert json.loads((tmp_path / "mixture_table.json").read_text()) == mixture_table.as_record(manifest())
    assert "1 tasks trained on 1,000 examples, 70,000 tokens (3,000 with loss)" in mixture_table.summary(
        manifest()
    )
