"""P3: every public form of its rendered prompts, by dataset and template."""

from __future__ import annotations

import collections
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.example import Example
from iml_jax.bench.inventory import survey
from iml_jax.bench.sources import default_sources
from iml_jax.bench.sources.base import OTHER_TASK, TaskInfo
from iml_jax.bench.sources.promptsource.p3 import P3
from iml_jax.bench.sources.promptsource.p3_rows import parse_name
from iml_jax.foundation.errors import UserError

COMPLETED = [{"prompt": f"p{n}?\n", "completion": f" c{n}<|endoftext|>"} for n in range(5)]
CHOSEN = [
    {
        "inputs": [1, 2],
        "inputs_pretokenized": f"q{n} ",
        "targets": [3],
        "targets_pretokenized": "yes\n",
        "answer_choices": ["no", "yes "],
    }
    for n in range(3)
]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _read(source: P3, task: str, split: str) -> tuple[TaskInfo, list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return info, list(source.examples(info, split, skipped)), dict(skipped)


def test_names_are_taken_apart() -> None:
    assert parse_name("adversarial_qa_dbert_based_on") == ("adversarial_qa/dbert", "based_on")
    assert parse_name("cnn_dailymail_3.0.0_news_stock") == ("cnn_dailymail/3.0.0", "news_stock")
    assert parse_name("super_glue_wsc.fixed_p_is_are_r_score_eval")[0] == "super_glue/wsc.fixed"
    assert parse_name("glue_mrpc_want_to_know") == ("glue/mrpc", "want_to_know")
    assert parse_name("squad_v2_Trivia") == ("squad_v2", "Trivia")
    assert parse_name("squad_jeopardy") == ("squad", "jeopardy")
    assert parse_name("squadron_x") == ("squadron_x", "")


def test_files_of_prompt_and_completion(tmp_path: Path) -> None:
    _jsonl(tmp_path / "ag_news_classify.jsonl.gz", COMPLETED)
    _jsonl(
        tmp_path / "ag_news_recommend.jsonl", [*COMPLETED[:2], {"prompt": "p", "completion": "<|endoftext|>"}]
    )
    _jsonl(tmp_path / "adversarial_qa_dbert_generate_question.jsonl", COMPLETED)
    _jsonl(tmp_path / "dream_listed.jsonl", [{"inputs": "i", "targets": ["a", "b", "a"]}])
    source = pickle.loads(pickle.dumps(P3(str(tmp_path))))
    info, examples, skipped = _read(source, "ag_news", "train")
    assert (info.key, info.metric, info.splits, len(info.files)) == (
        "promptsource:ag_news",
        "rouge_l",
        ("train",),
        2,
    )
    assert info.category == "Text Categorization"
    assert source.templates(info) == 2
    assert [(e.source, e.references, e.template) for e in examples] == [
        *((f"p{n}?", (f"c{n}",), template) for n in range(2) for template in ("classify", "recommend")),
        *((f"p{n}?", (f"c{n}",), "classify") for n in range(2, 5)),
    ]
    assert skipped == {"empty target": 1}
    assert len({e.example_id for e in examples}) == 5
    assert not any(e.instruction or e.options for e in examples)
    assert _read(source, "dream", "train")[1][0].references == ("a", "b")
    # Question generation is left out of a dataset of questions to answer.
    (info,) = [info for info in source.tasks() if info.task == "adversarial_qa/dbert"]
    assert (info.role, info.splits, source.templates(info)) == ("excluded", (), 0)
    # Neither templates nor the table say anything of its dataset.
    _jsonl(tmp_path / "strange_set.jsonl", COMPLETED)
    assert tmp_path / "strange_set" / "templates.yaml" in source.missing()
    assert not P3(str(tmp_path), original_task_only=False).missing()
    every = P3(str(tmp_path), original_task_only=False)
    assert len(_read(every, "adversarial_qa/dbert", "train")[1]) == 5


def test_templates_say_what_the_table_does_not(tmp_path: Path) -> None:
    _jsonl(tmp_path / "p3" / "wiki_qa_one_two.jsonl", COMPLETED)
    _jsonl(tmp_path / "p3" / "wiki_qa_three.jsonl", COMPLETED)
    assert len(_read(P3(str(tmp_path / "p3")), "wiki_qa", "train")[1]) == 10
    path = tmp_path / "templates" / "wiki_qa" / "templates.yaml"
    path.parent.mkdir(parents=True)
    entry = {"jinja": "a ||| b", "answer_choices": None}
    path.write_text(
        json.dumps(
            {
                "templates": {
                    "1": entry | {"name": "one-two", "metadata": {"original_task": False}},
                    "2": entry | {"name": "three", "metadata": {"original_task": True}},
                }
            }
        )
    )
    source = P3(str(tmp_path / "p3"), template_dir=str(tmp_path / "templates"))
    _, examples, skipped = _read(source, "wiki_qa", "train")
    assert {e.template for e in examples} == {"three"}
    assert skipped == {OTHER_TASK: 5}
    # P3 keeps the underscore of a final "?" or space; others cut it, or have one more.
    first, second = (tmp_path / "p3" / f"wiki_qa_one_two{end}.jsonl" for end in ("", "_"))
    first.rename(second)
    _, examples, skipped = _read(source, "wiki_qa", "train")
    assert {e.template for e in examples} == {"three"} and skipped == {OTHER_TASK: 5}
    _jsonl(second, [*COMPLETED[:2], {"what": 1}])  # what is malformed there counts as one row
    assert _read(source, "wiki_qa", "train")[2] == {OTHER_TASK: 3}
    second.rename(tmp_path / "p3/adversarial_qa_dbert_generate_question_.jsonl")
    (info,) = [info for info in P3(str(tmp_path / "p3")).tasks() if info.task == "adversarial_qa/dbert"]
    assert info.role == "excluded"


def test_folders_of_the_hub(tmp_path: Path) -> None:
    name = "super_glue_rte_does_it_follow_that"
    _jsonl(tmp_path / name / "train.jsonl", CHOSEN)
    (tmp_path / name / "info.train.json").write_text("{}")
    parquet.write_table(
        pyarrow.Table.from_pylist(CHOSEN), tmp_path / name / "validation-00000-of-00001.parquet"
    )
    plain = [{key: value for key, value in row.items() if key != "answer_choices"} for row in CHOSEN]
    _jsonl(tmp_path / "super_glue_rte_guaranteed_true" / "validation.jsonl", plain)
    _jsonl(
        tmp_path / "super_glue_rte_can_we_infer" / "validation.jsonl",
        [CHOSEN[0] | {"targets_pretokenized": "?"}],
    )
    source = P3(str(tmp_path))
    info, examples, skipped = _read(source, "super_glue/rte", "train")
    assert (info.metric, info.splits) == ("accuracy", ("train", "validation"))
    assert [(e.source, e.references, e.options) for e in examples] == [
        (f"q{n}", ("yes",), ("no", "yes")) for n in range(3)
    ]
    assert not skipped
    _, examples, skipped = _read(source, "super_glue/rte", "validation")
    assert {e.template for e in examples} == {"does_it_follow_that"}
    assert skipped == {
        "prompt without answer choices (the task is scored by accuracy)": 3,
        "target is not among the answer choices": 1,
    }
    roles = tmp_path / "datasets.csv"
    roles.write_text("HF_name,subset,do_train,do_eval\nsuper_glue,rte,,BASE\n")
    evaluated = P3(str(tmp_path), role_table=str(roles))
    info, examples, _ = _read(evaluated, "super_glue/rte", "validation")
    assert (info.role, info.splits, len(examples)) == ("evaluation", ("validation",), 3)
    assert {e.split for e in evaluated.demonstrations(info, collections.Counter())} == {"train"}


def test_candidates_become_one_example(tmp_path: Path) -> None:
    rows = [
        {
            "idx": [n, c],
            "inputs_pretokenized": f"q{n}",
            "targets_pretokenized": choice,
            "is_correct": int(c == n % 3),
            "weight": 1.0,
        }
        for n in range(4)
        for c, choice in enumerate(("no", "yes"))
    ]
    _jsonl(tmp_path / "super_glue_cb_based_on_score_eval" / "validation.jsonl", rows)
    info, examples, skipped = _read(P3(str(tmp_path)), "super_glue/cb", "validation")
    assert info.metric == "accuracy"
    assert [(e.source, e.references, e.options, e.template) for e in examples] == [
        ("q0", ("no",), ("no", "yes"), "based_on"),
        ("q1", ("yes",), ("no", "yes"), "based_on"),
        ("q3", ("no",), ("no", "yes"), "based_on"),
    ]
    assert skipped == {"another candidate of the same example": 4, "no candidate is correct": 1}
    # Where the plain rows are there too, they are read.
    _jsonl(tmp_path / "super_glue_cb_based_on" / "validation.jsonl", CHOSEN)
    assert [e.source for e in _read(P3(str(tmp_path)), "super_glue/cb", "validation")[1]] == [
        "q0",
        "q1",
        "q2",
    ]


def test_a_data_folder_of_rendered_prompts(tmp_path: Path) -> None:
    _jsonl(tmp_path / "promptsource" / "p3" / "ag_news_classify.jsonl", COMPLETED)
    (source,) = default_sources(tmp_path)
    assert isinstance(source, P3)
    listed = {row.task: row for row in survey(tmp_path) if row.benchmark == "promptsource"}
    assert listed["ag_news"].state == "present"
    assert listed["glue/mrpc"].state == "missing"
    assert "promptsource/p3/glue_mrpc_TEMPLATE/ or glue_mrpc_TEMPLATE.jsonl" in listed["glue/mrpc"].note
    (tmp_path / "promptsource" / "data").mkdir()
    assert not isinstance(default_sources(tmp_path)[0], P3)


def test_of_several_forms_of_a_prompt_one_is_read(tmp_path: Path) -> None:
    """The hub's folder, which tells the answer choices, before files of the prompt."""
    folder = tmp_path / "ag_news_classify"
    _jsonl(folder / "train.jsonl", CHOSEN)
    _jsonl(tmp_path / "ag_news_classify.jsonl", COMPLETED)
    _jsonl(tmp_path / "ag_news_classify_score_eval" / "train.jsonl", CHOSEN)
    source = P3(str(tmp_path))
    info, found, skipped = _read(source, "ag_news", "train")
    assert info.files == (folder / "train.jsonl",)
    assert len(found) == len(CHOSEN) and not skipped
    same = f"the same prompt as {folder / 'train.jsonl'}, which is read"
    assert source.set_aside() == {
        tmp_path / "ag_news_classify.jsonl": same,
        tmp_path / "ag_news_classify_score_eval" / "train.jsonl": same,
    }


def test_mistakes_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompts of P3"):
        P3(str(tmp_path)).tasks()
    _jsonl(tmp_path / "ag_news_classify.jsonl", [{"text": "a", "label": 1}])
    with pytest.raises(UserError, match=r"classify\.jsonl:1: no texts .*; the row has text, label"):
        _read(P3(str(tmp_path)), "ag_news", "train")
    (tmp_path / "imdb_x").mkdir()
    (tmp_path / "imdb_x" / "train.tfrecord-00000-of-00002").write_bytes(b"")
    (tmp_path / "ag_news_classify.jsonl").unlink()
    with pytest.raises(UserError, match="1 of 2 shards are there"):
        P3(str(tmp_path)).tasks()


@pytest.mark.slow
def test_records_of_the_hub(tmp_path: Path) -> None:
    import tensorflow as tf

    def text(*values: str) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    folder = tmp_path / "imdb_Writer"
    folder.mkdir()
    path = folder / "train.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in CHOSEN:
            features = {
                "inputs": tf.train.Feature(int64_list=tf.train.Int64List(value=row["inputs"])),
                "inputs_pretokenized": text(row["inputs_pretokenized"]),
                "targets_pretokenized": text("é"),
                "answer_choices": text("é", "ü"),
            }
            record = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(record.SerializeToString())
    info, examples, skipped = _read(P3(str(tmp_path)), "imdb", "train")
    assert info.metric == "accuracy"
    assert [(e.source, e.references, e.options) for e in examples] == [
        (f"q{n}", ("é",), ("é", "ü")) for n in range(3)
    ]
    assert not skipped
    (folder / "info.train.json").write_text(json.dumps({"features": {"targets_pretokenized": {}}}))
    assert P3(str(tmp_path)).tasks()[0].metric == "rouge_l"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"00001: damaged after record 2 .*fetch it again"):
        _read(P3(str(tmp_path)), "imdb", "train")


def test_all_public_prompts(shared: Path) -> None:
    folder = shared / "data" / "promptsource"
    totals = {}
    for only in (True, False):
        source = P3(
            str(folder / "p3_rendered"),
            template_dir=str(folder / "templates"),
            role_table=str(folder / "meta" / "t0_datasets.csv"),
            original_task_only=only,
        )
        skipped: collections.Counter[str] = collections.Counter()
        tasks = source.tasks()
        examples = [
            e for task in tasks for split in task.splits for e in source.examples(task, split, skipped)
        ]
        assert all(e.source and e.references and "<|endoftext|>" not in e.references[0] for e in examples)
        assert all(info.category.split(":")[0] != "Uncategorised" for info in tasks)
        totals[only] = (len(tasks), sum(map(source.templates, tasks)), len(examples), dict(skipped))
    # TREC's completions are empty in these files.
    assert totals[False] == (28, 215, 7779, {"empty target": 280})
    assert 7779 + 280 == 8059
    assert totals[True] == (28, 173, 6242, {"empty target": 280, OTHER_TASK: 1537})
    assert 6242 + 280 + 1537 == 8059
