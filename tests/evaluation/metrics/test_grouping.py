"""Which tasks count as one, and what a variant's name says of its shots."""

from __future__ import annotations

import csv
import fnmatch

import pytest

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.suites.bbh import TASKS as BBH_TASKS
from iml_jax.bench.variants import FewShot, MetaICL, ZeroShot
from iml_jax.evaluation.metrics import grouping


@pytest.mark.parametrize(
    ("variant", "shots", "title"),
    [
        (ZeroShot(), 0, "0-shot"),
        (ZeroShot(options_block=True), 0, "0-shot, options"),
        (FewShot(), 5, "5-shot"),
        (FewShot(shots=32), 32, "32-shot"),
        (FewShot(shots=2, separators=("\n\n",)), 2, "2-shot, n2"),
        (MetaICL(), None, "metaicl_a2"),
    ],
)
def test_variants_names(variant: ZeroShot | FewShot | MetaICL, shots: int | None, title: str) -> None:
    place = grouping.group_of(f"b:t:{variant.name}", "b", "t", "C")
    assert place == grouping.TaskGroup("b:t", "C", variant.name, shots)
    assert grouping.variant_title(variant.name) == title


def test_columns_stand_in_the_order_of_their_shots() -> None:
    names = ["metaicl_a2", "32_shot", "five_shot_n2", "zero_shot", "five_shot", "ten_shot"]
    ordered = ["zero_shot", "five_shot", "five_shot_n2", "ten_shot", "32_shot", "metaicl_a2"]
    assert sorted(names, key=grouping.variant_order) == ordered


def test_units() -> None:
    def unit(benchmark: str, task: str) -> str:
        return grouping.group_of(f"{benchmark}:{task}:zero_shot", benchmark, task, "C").unit

    assert unit("promptsource", "wino_bias/type1_anti") == "Winobias"
    assert unit("flan", "copa") == unit("promptsource", "super_glue/copa") == "COPA"
    assert unit("super_natural_instructions", "task1159_bard_analogical_reasoning_containers").startswith(
        "Bard"
    )
    assert len({unit("bbh", task) for task in BBH_TASKS}) == 23
    assert len({unit(name, task) for name in ("bbh", "bbh_cot") for task in BBH_TASKS}) == 46
    assert unit("bbh", "logical_deduction_three_objects") == unit("bbh", "logical_deduction_seven_objects")
    assert unit("crossfit", "copa") == "crossfit:copa"  # not the same benchmark's name
    assert grouping.group_of(
        "mmlu:anatomy:zero_shot", "mmlu", "anatomy", "Question Answering"
    ) == grouping.TaskGroup("MMLU", "MMLU", "zero_shot", 0)


def test_every_row_names_known_tasks_of_one_category() -> None:
    """A unit whose tasks had two categories would be split; a misspelt row would group nothing."""
    with grouping.TABLE.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    categories: dict[str, set[str]] = {}
    for row in rows:
        if row["benchmark"] in ("bbh", "bbh_cot", "raft"):
            continue  # their task names are in their files
        tasks = [
            one for one in known_tasks.every(row["benchmark"]) if fnmatch.fnmatchcase(one.task, row["task"])
        ]
        assert tasks, row
        categories.setdefault(row["unit"], set()).update(one.category for one in tasks)
    assert {unit for unit, found in categories.items() if len(found) > 1} == set()
