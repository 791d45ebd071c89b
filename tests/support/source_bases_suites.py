"""A small valid data folder of every evaluation suite, as ``source_bases`` has one of every other source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.base import Source
from iml_jax.bench.sources.suites.bbh import BigBenchHard
from iml_jax.bench.sources.suites.bigbench import BigBench
from iml_jax.bench.sources.suites.mmlu import Mmlu
from iml_jax.bench.sources.suites.opt14 import Opt14
from iml_jax.bench.sources.suites.raft import Raft

Files = Mapping[str, Any]
_PROMPT = "Canary line\n-----\nAnswer it.\n\nQ: Is it?\nA: Let's think step by step.\nSo the answer is (A).\n"


def mmlu(root: Path) -> tuple[Source, Files]:
    rows = 'Where?,a,b,c,d,B\n"Who, then?",a,b,c,d,A\n'
    files = {f"{part}/astronomy_{part}.csv": rows for part in ("dev", "val", "test")}
    return Mmlu(str(root)), files | {"test/virology_test.csv.gz": rows}


def bbh(root: Path) -> tuple[Source, Files]:
    rows = [{"input": f"Is it {n}?\nOptions:\n(A) no\n(B) yes", "target": "(B)"} for n in range(3)]
    files = {"bbh/own.json": {"canary": "c", "examples": rows}, "cot-prompts/own.txt": _PROMPT}
    return BigBenchHard(str(root)), files


def bigbench(root: Path) -> tuple[Source, Files]:
    choices = [{"input": f"q{n}", "target_scores": {"a": 1, "b": 0}} for n in range(3)]
    about = {"name": "own", "description": "d", "keywords": ["logic"], "metrics": ["multiple_choice_grade"]}
    files = {"own/task.json": about | {"examples": choices, "preferred_score": "multiple_choice_grade"}}
    return BigBench(str(root)), files


def raft(root: Path) -> tuple[Source, Files]:
    columns = {"data_columns": ["Tweet"], "label_columns": {"Label": ["n", "y"]}}
    about = {"name": "own", "description": "Is it?", **columns}
    return Raft(str(root)), {"own/task.json": about, "own/train.csv": "ID,Tweet,Label\n0,a,y\n1,b,n\n2,c,y\n"}


def opt14(root: Path) -> tuple[Source, Files]:
    row = {"goal": "g", "sol1": "a", "sol2": "b", "label": 1}
    return Opt14(str(root)), {"piqa/validation.jsonl": [row] * 2, "piqa/train.jsonl": [row]}


SUITES = {"MMLU": mmlu, "BBH": bbh, "BIG-bench": bigbench, "RAFT": raft, "OPT-14": opt14}
