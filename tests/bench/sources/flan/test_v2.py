"""FLAN's collections of rendered prompts, as Hugging Face has them."""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.example import Example
from iml_jax.bench.sources.flan.source import Flan
from iml_jax.bench.sources.flan.v2 import canonical, category
from iml_jax.foundation.errors import UserError


def _prompt(
    task: str, inputs: str, targets: str, kind: str = "zs_opt", source: str = "Flan2021"
) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "targets": targets,
        "task_source": source,
        "task_name": task,
        "template_type": kind,
    }


ROWS = [
    _prompt("glue/cola:2.0.0", "Me go.\nOPTIONS:\n- acceptable\n- unacceptable", "unacceptable"),
    _prompt("cot_gsm8k", "What is 1 + 1?", "One and one. 2", "zs_opt", "CoT"),
    _prompt("glue/cola:2.0.0", " Is 'I go' right?\n", "acceptable\n", "zs_noopt"),
    _prompt("aeslc:1.0.0", "Subject?\n\nHi", "Hello", "fs_noopt"),
    _prompt("glue/cola:2.0.0", "Q", " "),
    _prompt("glue/cola:2.0.0", " ", "acceptable"),
    _prompt("task001_quoref_question_generation", "OPTIONS:\n- Who?\n- How?", "Who?", "fs_opt", "NIv2"),
]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _examples(source: Flan, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, split, skipped)), dict(skipped)


def test_tasks_of_a_collection(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pyarrow.Table.from_pylist(ROWS)
    parquet.write_table(table.slice(0, 3), tmp_path / "data/train-00000-of-00002-abc.parquet")
    parquet.write_table(table.slice(3), tmp_path / "data/train-00001-of-00002-def.parquet")
    (tmp_path / "README.md").write_text("A card.")
    source = pickle.loads(pickle.dumps(Flan(str(tmp_path))))
    tasks = {task.task: task for task in source.tasks()}
    assert {name: (task.category, task.metric) for name, task in tasks.items()} == {
        "aeslc:1.0.0": ("Summarization", "rouge_l"),
        "cot_gsm8k": ("Reasoning", "rouge_l"),
        "glue/cola:2.0.0": ("Text Quality Evaluation", "accuracy"),
        "task001_quoref_question_generation": ("Question Generation", "rouge_l"),
    }
    assert all((task.role, task.splits) == ("train", ("train",)) for task in tasks.values())
    assert [len(task.files) for task in tasks.values()] == [1, 1, 2, 1]
    assert {source.templates(task) for task in tasks.values()} == {1}
    examples, skipped = _examples(source, "glue/cola:2.0.0", "train")
    assert examples == [
        Example(
            benchmark="flan",
            task="glue/cola:2.0.0",
            example_id="data/train-00000-of-00002-abc.parquet:1",
            split="train",
            instruction="",
            source="Me go.\nOPTIONS:\n- acceptable\n- unacceptable",
            references=("unacceptable",),
            options=("acceptable", "unacceptable"),
            template="zs_opt",
        ),
        Example(
            benchmark="flan",
            task="glue/cola:2.0.0",
            example_id="data/train-00000-of-00002-abc.parquet:3",
            split="train",
            instruction="",
            source="Is 'I go' right?",
            references=("acceptable",),
            template="zs_noopt",
        ),
    ]
    assert skipped == {"empty target": 1, "empty input": 1}
    assert [path.name for path in source.unread()] == ["README.md"]


def test_evaluated_prompts_have_one_metric(tmp_path: Path) -> None:
    _jsonl(tmp_path / "flan_zs_opt.jsonl", ROWS)
    source = Flan(str(tmp_path), held_out_clusters=("linguistic_acceptability",))
    cola = next(task for task in source.tasks() if task.task.startswith("glue/cola"))
    assert (cola.role, cola.splits) == ("evaluation", ("test",))
    examples, skipped = _examples(source, cola.task, "test")
    assert [example.options for example in examples] == [("acceptable", "unacceptable")]
    assert examples[0].split == "test"
    assert skipped == {"empty target": 1, "empty input": 1, "target is not among the options": 1}
    niv2 = source.assigned(
        next(task for task in source.tasks() if task.task.startswith("task001")),
        trained=False,
        evaluated=True,
    )
    (example,) = source.examples(niv2, "test", collections.Counter())
    assert (example.options, example.references) == ((), ("Who?",))  # whether all rows list any, nobody knows
    (trained,) = _examples(source, niv2.task, "train")[0]
    assert trained.options == ("Who?", "How?")


def test_the_prompts_of_2021(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [
            {"inputs": f"{split} OPTIONS:\n- no\n- yes", "targets": "yes", "task": "bool_q_10templates"},
            {"inputs": split, "targets": "free", "task": "bool_q_10templates"},
        ]
        _jsonl(tmp_path / "train_and_test" / f"bool_q_10templates_{split}.jsonl", rows)
    source = Flan(str(tmp_path))
    (task,) = source.tasks()
    assert (task.task, task.category, task.metric) == ("bool_q", "Question Answering", "accuracy")
    assert task.splits == ("train", "validation", "test")
    assert [example.source[:5] for example in _examples(source, "bool_q", "train")[0]] == ["train"] * 2
    examples, skipped = _examples(source, "bool_q", "test")
    assert [(example.references, example.options) for example in examples] == [(("yes",), ("no", "yes"))]
    assert skipped == {"target is not among the options": 1}


def test_forms(tmp_path: Path) -> None:
    _jsonl(tmp_path / "xsum/test.jsonl", [{"document": "d", "summary": "s"}])
    (tmp_path / "templates.json").write_text(json.dumps({"xsum": [["{text}", "{summary}"]]}))
    assert [task.task for task in Flan(str(tmp_path)).tasks()] == ["xsum"]
    with pytest.raises(
        UserError, match=r"no \.parquet or \.jsonl file with the columns inputs, targets, task_name"
    ):
        Flan(str(tmp_path), form="v2").tasks()
    _jsonl(tmp_path / "train.jsonl", ROWS)
    assert len(Flan(str(tmp_path)).tasks()) == 4
    unread = Flan(str(tmp_path)).unread()  # rows and templates, the other form
    assert set(unread) == {tmp_path / "xsum/test.jsonl", tmp_path / "templates.json"}
    assert all("no prompts of a collection" in why for why in unread.values())
    # A broken file does not make rows into a collection, and does not hide one.
    (tmp_path / "a.jsonl").write_text("{")
    assert len(list(Flan(str(tmp_path), form="v1").tasks())) == 1
    with pytest.raises(UserError, match=r"a.jsonl:1: malformed JSON"):
        Flan(str(tmp_path)).tasks()


@pytest.mark.parametrize(
    ("task", "source", "name"),
    [
        ("squad/v1.1:3.0.0", "Flan2021", "Question Answering"),
        ("huggingface:xsum", "Flan2021", "Summarization"),
        ("true_case", "Flan2021", "Capitalization Restoration"),
        ("unified_qa_science_inst", "Flan2021", "Uncategorised: unified_qa_science_inst"),
        ("cot_esnli_ii", "CoT", "Reasoning"),
        ("qrecc", "Dialog", "Dialogue Generation"),
        ("task1289_trec_classification.json", "NIv2", "Question Understanding"),
        ("quoref_Guess_Answer", "P3", "Question Answering"),
        ("glue_mrpc_same_thing", "P3", "Text Matching"),
        ("no_such_dataset", "P3", "Uncategorised: no_such_dataset"),
    ],
)
def test_categories(task: str, source: str, name: str) -> None:
    assert category(task, source) == name


def test_flans_own_names() -> None:
    assert canonical("imdb_reviews/plain_text:1.0.0") == "imdb_reviews"
    assert canonical("glue/mnli:2.0.0") == "mnli_matched"
    assert canonical("aeslc:1.0.0") == canonical("aeslc") == "aeslc"
    assert canonical("cot_gsm8k") == "cot_gsm8k"
