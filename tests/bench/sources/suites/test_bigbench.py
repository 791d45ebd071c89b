"""BIG-bench's JSON tasks in BIG-bench's own prompts."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.sources.suites.bigbench import BigBench
from iml_jax.foundation.errors import UserError

CANARY = "NEVER TRAIN. canary GUID 1-2-3"


def put(folder: Path, name: str, examples: list[dict[str, Any]], **fields: object) -> BigBench:
    (folder / name).mkdir(parents=True)
    content = {"canary": CANARY, "preferred_score": "multiple_choice_grade", **fields, "examples": examples}
    (folder / name / "task.json").write_text(json.dumps(content))
    return BigBench(str(folder))


def examples(source: BigBench, name: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == name]
    return list(source.examples(info, "test", skipped)), dict(skipped)


def test_choices(tmp_path: Path) -> None:
    rows = [{"input": "Which?", "target_scores": {"this": 0.2, "that ": 1, "both": 1}, "target": "this"}]
    source = put(tmp_path, "a/sub", rows)
    (info,) = source.tasks()
    assert (info.task, info.metric, info.role) == ("a/sub", "accuracy", "evaluation")
    (one,), skipped = examples(source, "a/sub")
    assert not skipped
    shown = one.source.removeprefix("Q: Which?\n  choice: ").removesuffix("\nA:").split("\n  choice: ")
    assert sorted(shown) == ["both", "that ", "this"]
    assert one.options == tuple(text.strip() for text in shown)  # in the order of the prompt
    assert (set(one.references), one.completion) == ({"that", "both"}, True)


def test_the_order_of_choices_is_drawn_for_each_row(tmp_path: Path) -> None:
    """In the files the right one is the first; "the first" must not score 100."""
    scores = {"right": 1, "wrong": 0, "worse": 0}
    rows = [{"input": f"Which, {number}?", "target_scores": scores} for number in range(600)]
    found, _ = examples(put(tmp_path / "one", "a", rows), "a")
    places = collections.Counter(one.options.index("right") for one in found)
    assert sorted(places) == [0, 1, 2] and max(places.values()) < 250  # 200 are expected, deviation 11.5
    turned = [{**row, "target_scores": dict(reversed(scores.items()))} for row in rows]
    assert examples(put(tmp_path / "two", "a", turned), "a")[0] == found
    orders = {one.options for one in found}
    assert len(orders) == 6


def test_prefixes_and_generation(tmp_path: Path) -> None:
    rows = [
        {"input": "one", "target": ["uno", "un"]},
        {"input": "two", "target_scores": {"dos": 1, "tres": 0}},
    ]
    source = put(
        tmp_path, "b", rows,
        preferred_score="exact_str_match", task_prefix="Translate.\n", example_input_prefix="English: ",
        example_output_prefix="\nSpanish: ", append_choices_to_input=False,
    )  # fmt: skip
    (info,) = source.tasks()
    assert info.metric == "exact_match"
    (first, second), _ = examples(source, "b")
    assert (first.instruction, first.source) == ("Translate.", "English: one\nSpanish:")
    assert (first.references, second.references) == (("uno", "un"), ("dos",))
    assert first.options == second.options == ()
    assert put(tmp_path, "c", rows, preferred_score="bleu").tasks()[1].metric == "rouge_l"


def test_what_cannot_be_asked_is_counted(tmp_path: Path) -> None:
    scores = {"x": 1, "y": 0}
    rows = [
        {"input": "", "target_scores": scores},
        {"input": CANARY, "target_scores": scores},
        {"input": "q", "target_scores": {"x": 1, "y": 1}},
        {"input": "q", "target_scores": scores},
    ]
    found, skipped = examples(put(tmp_path, "a", rows), "a")
    assert [one.example_id for one in found] == ["0", "3"]
    assert skipped == {
        "holds the canary of BIG-bench": 1,
        "no option is better than the others": 1,
    }
    assert not any("canary" in one.source for one in found)
    put(tmp_path, "b", [{"input": " ", "target": "x"}], preferred_score="bleu")
    assert examples(BigBench(str(tmp_path)), "b") == ([], {"empty question": 1})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"input": "q", "target_scores": {"x": "1"}},
            r"examples\[0\]: the target score of 'x' must be a number",
        ),
        ({"input": "q", "target": "x"}, "has neither"),
        ({"input": 1, "target_scores": {"x": 1}}, "'input' must be a string"),
    ],
)
def test_malformed(tmp_path: Path, row: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        examples(put(tmp_path, "a", [row]), "a")


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no TASK/task\.json below it"):
        BigBench(str(tmp_path)).tasks()
    with pytest.raises(UserError, match="no list 'examples'"):
        examples(put(tmp_path, "a", []), "a")


def test_real_files(shared: Path) -> None:
    source = BigBench(str(shared / "data/bigbench"))
    tasks = source.tasks()
    assert len(tasks) >= 100
    total = 0
    for info in tasks:
        skipped: collections.Counter[str] = collections.Counter()
        found = list(source.examples(info, "test", skipped))
        total += len(found) + sum(skipped.values())
        assert found or set(skipped) == {"empty question"}, info.task
        assert all(set(one.references) <= set(one.options) for one in found if one.options)
    manifest = (shared / "data/MANIFEST.tsv").read_text().splitlines()
    header = manifest[0].split("\t")
    rows = [dict(zip(header, line.split("\t"), strict=False)) for line in manifest[1:]]
    assert total == sum(int(row["n"]) for row in rows if row["meta"] == "bigbench")
