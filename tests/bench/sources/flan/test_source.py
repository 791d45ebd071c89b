"""FLAN's templates over rows of datasets: tasks, splits, roles, every row with every template."""

from __future__ import annotations

import collections
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from support.flan_cases import CASES

from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import NO_CHOICES, OTHER_TASK, BrokenTask
from iml_jax.bench.sources.flan.fields import forms
from iml_jax.bench.sources.flan.source import Flan
from iml_jax.bench.sources.formats.bounds import LONG_ROW as TOO_LONG
from iml_jax.bench.sources.formats.bounds import NOT_UNICODE
from iml_jax.bench.sources.formats.datasets import locate
from iml_jax.foundation.errors import UserError

PATTERNS = {
    "rte": [
        ["{premise}\nSo {hypothesis}\n{options_}", "{answer}"],
        ["Is '{hypothesis}' true?", "{answer}"],
        *[["{premise}", "{answer}"]] * 7,
        ["Generate a pair.", "{premise} {hypothesis}"],  # the tenth is filtered
    ],
    "sst2": [["{sentence}", "{answer}"]] * 8 + [["Write a {answer} one.", "{sentence}"]],
    "xsum": [["Summarize: {text}", "{summary}"]],
    "openbookqa": [["{fact}\n{question}", "{answer}"], ["Given '{fact}': {question}", "{answer}"]],
    "wmt16_translate": [["{lang1} to {lang2}: {sent1}", "{sent2}"], ["In {lang1}? {sent2}", "{sent1}"]],
    "trec": [["{text}", "{answer}"]],
}


def _rows(root: Path, name: str, *rows: dict[str, Any]) -> None:
    path = root / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _source(root: Path, patterns: Any = PATTERNS, **settings: Any) -> Flan:
    (root / "templates.json").write_text(json.dumps(patterns))
    return Flan(str(root), **settings)


def _examples(source: Flan, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, split, skipped)), dict(skipped)


def _nli(number: int, label: int = 0) -> dict[str, Any]:
    return {"premise": f"p{number}", "hypothesis": f"h{number}", "label": label, "idx": number}


def test_every_row_with_every_template(tmp_path: Path) -> None:
    _rows(tmp_path, "super_glue/rte/train", *(_nli(number, number % 2) for number in range(900)))
    _rows(tmp_path, "super_glue/rte/validation", *(_nli(number, number % 3 - 1) for number in range(6)))
    _rows(tmp_path, "super_glue/rte/test", _nli(0, -1))
    source = pickle.loads(pickle.dumps(_source(tmp_path)))
    (task,) = source.tasks()
    assert (task.benchmark, task.task, task.role, task.metric) == ("flan", "rte", "train", "accuracy")
    assert task.category == "Textual Entailment"
    assert task.splits == ("train", "validation", "test")
    assert [path.name for path in task.files] == ["train.jsonl", "validation.jsonl", "templates.json"]
    assert source.templates(task) == 9
    trained, skipped = _examples(source, "rte", "train")
    assert skipped == {OTHER_TASK: 700}
    assert len(trained) == 700 * 9
    assert [example.template for example in trained[:10]] == [*"012345678", "0"]
    assert trained[0] == Example(
        benchmark="flan",
        task="rte",
        example_id="train:1",
        split="train",
        instruction="",
        source="p0\nSo h0\nOPTIONS:\n- yes\n- no",
        references=("yes",),
        options=("yes", "no"),
        template="0",
    )
    validated, _ = _examples(source, "rte", "validation")
    assert [example.source for example in validated[::9]] == [
        f"p{number}\nSo h{number}\nOPTIONS:\n- yes\n- no" for number in range(700, 900)
    ]
    tested, skipped = _examples(source, "rte", "test")
    assert [example.references for example in tested[::9]] == [("yes",), ("no",)] * 2
    assert {example.example_id for example in tested} == {f"validation:{n}" for n in (2, 3, 5, 6)}
    assert skipped == {"no label": 2 * 9, OTHER_TASK: 6}
    assert source.unread() == {tmp_path / "super_glue/rte/test.jsonl": "FLAN uses other splits"}


def test_templates_that_change_the_task(tmp_path: Path) -> None:
    rows = [{"sentence": f"s{number}", "label": 1} for number in range(3)]
    _rows(tmp_path, "glue/sst2/train", *rows)
    _rows(tmp_path, "glue/sst2/validation", *rows)
    every = _source(tmp_path, original_task_only=False)
    (task,) = every.tasks()
    assert every.templates(task) == 9
    trained, _ = _examples(every, "sst2", "train")
    (turned,) = {
        (e.source, e.references, e.options) for e in trained if e.template == "8" and "0" in e.references[0]
    }
    assert turned == ("Write a positive one.", ("s0",), ())
    # In evaluation a task has one metric: only what asks to choose.
    tested, skipped = _examples(every, "sst2", "test")
    assert {example.template for example in tested} == set("01234567")
    assert skipped == {NO_CHOICES: 3}
    original = _source(tmp_path)
    assert original.templates(task) == 8
    trained, skipped = _examples(original, "sst2", "train")
    assert {example.template for example in trained} == set("01234567")
    assert skipped == {OTHER_TASK: len(trained) // 8}  # one for each row
    assert _examples(original, "sst2", "test")[1] == {OTHER_TASK: 3}
    assert original.settings() != every.settings()


def test_rows_that_give_no_example(tmp_path: Path) -> None:
    long = {"document": "x" * 2_000_000, "summary": "s"}
    _rows(
        tmp_path,
        "xsum/test",
        {"document": "d", "summary": "s"},
        {"document": " ", "summary": "s"},
        {"document": "d", "summary": "\n"},
        {"document": "d \ud800", "summary": "s"},
        long,
    )
    source = _source(tmp_path)
    examples, skipped = _examples(source, "xsum", "test")
    assert [(e.source, e.references, e.options) for e in examples] == [("Summarize: d", ("s",), ())]
    assert skipped == {"empty input": 1, "empty target": 1, NOT_UNICODE: 1, TOO_LONG: 1}


def test_templates_of_fields_that_rows_lack(tmp_path: Path) -> None:
    question = {"stem": "q", "choice_A": "a", "choice_B": "b", "choice_C": "c", "choice_D": "d"}
    _rows(
        tmp_path,
        "openbookqa/test",
        {"question": question, "answerKey": 0},
        {"question": question, "answerKey": "C", "fact1": "f"},
    )
    examples, skipped = _examples(_source(tmp_path), "openbookqa", "test")
    assert [example.source for example in examples] == ["q", "f\nq", "Given 'f': q"]
    assert skipped == {"template needs a field that the row lacks": 1}


def test_sentence_pairs_of_any_set(tmp_path: Path) -> None:
    _rows(tmp_path, "flores_translate/ru-en/dev", {"en": "yes", "ru": "да"})
    _rows(tmp_path, "wmt16_translate/de-en/train", {"de": "ja", "en": "yes"})
    _rows(tmp_path, "flores_translate/x-y/dev", {"x": "a", "y": "b"})
    _rows(tmp_path, "wmt14_translate/fr-en/test", {"fr": "oui", "en": "yes"})  # FLAN's own wmt14_enfr
    source = _source(tmp_path)
    assert [(task.task, task.category, task.splits) for task in source.tasks()] == [
        ("flores_translate_ruen", "Translation", ("test",)),
        ("wmt14_enfr", "Translation", ()),
        ("wmt16_translate_deen", "Translation", ("train",)),
    ]
    examples, _ = _examples(source, "flores_translate_ruen", "test")
    assert [(e.source, e.references) for e in examples] == [
        ("English to Russian: yes", ("да",)),
        ("In English? да", ("yes",)),
    ]
    assert source.unread() == {tmp_path / "flores_translate/x-y/dev.jsonl": "no dataset of FLAN"}


def test_roles(tmp_path: Path) -> None:
    _rows(tmp_path, "super_glue/rte/train", *(_nli(number) for number in range(9)))
    _rows(tmp_path, "super_glue/rte/validation", _nli(9))
    _rows(tmp_path, "xsum/train", {"document": "d", "summary": "s"})
    _rows(tmp_path, "glue/cola/train", {"sentence": "s", "label": 1})
    source = _source(tmp_path, held_out_clusters=("entailment", "summarization"))
    cola, rte, xsum = source.tasks()
    assert (cola.role, cola.splits, source.templates(cola)) == ("excluded", (), 0)  # no key in the templates
    assert source.assigned(cola, trained=True, evaluated=True) == cola
    assert list(source.demonstrations(cola, collections.Counter())) == []
    assert (rte.role, rte.splits) == ("evaluation", ("validation", "test"))
    shown = list(source.demonstrations(rte, collections.Counter()))
    assert {example.example_id for example in shown} == {f"train:{number}" for number in range(1, 7)}
    # Of a task with training rows only these are the test split, and not shown.
    assert (xsum.role, xsum.splits) == ("evaluation", ("test",))
    (tested,) = source.examples(xsum, "test", collections.Counter())
    assert (tested.split, tested.example_id) == ("test", "train:1")
    assert list(source.demonstrations(xsum, collections.Counter())) == []
    trained = source.assigned(rte, trained=True, evaluated=True)
    assert (trained.role, trained.splits) == ("train", ("train", "validation", "test"))
    assert source.assigned(trained, trained=False, evaluated=True) == rte
    with pytest.raises(UserError, match=r"held_out_clusters: no cluster 'nli'; FLAN has .*entailment"):
        _source(tmp_path, held_out_clusters=("nli",))
    with pytest.raises(UserError, match=r"Flan.form = 'v3'"):
        _source(tmp_path, form="v3")


def test_numbers_of_classes_in_another_order(tmp_path: Path) -> None:
    """Hugging Face numbers TREC's classes by the alphabet; its files say so, and the names count."""
    classes = {"_type": "ClassLabel", "names": ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]}
    features = {"text": {"_type": "Value", "dtype": "string"}, "label-coarse": classes}
    table = pyarrow.table({"text": [f"q{number}" for number in range(6)], "label-coarse": list(range(6))})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "trec").mkdir()
    parquet.write_table(table, tmp_path / "trec/test.parquet")
    examples, _ = _examples(_source(tmp_path), "trec", "test")
    assert [example.references[0] for example in examples] == [
        "abbreviation",
        "description",
        "entity",
        "human",
        "location",
        "numeric",
    ]
    _rows(tmp_path / "plain", "trec/test", *({"text": "q", "label-coarse": label} for label in range(6)))
    examples, _ = _examples(_source(tmp_path / "plain"), "trec", "test")
    assert [example.references[0] for example in examples][:3] == ["description", "entity", "abbreviation"]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Flan.data_dir = .*no such folder"):
        Flan(str(tmp_path / "none")).tasks()
    with pytest.raises(UserError, match=r"none of templates_v1.json, .*templates.py of github"):
        Flan(str(tmp_path)).tasks()
    with pytest.raises(UserError, match=r"holds none of FLAN's datasets, e.g. no rows of super_glue/rte"):
        _source(tmp_path).tasks()
    _rows(tmp_path, "super_glue/rte/train", _nli(0), {"premise": "p", "label": 0})
    (task,) = _source(tmp_path).tasks()
    with pytest.raises(
        UserError, match=r"train.jsonl:2: no column 'hypothesis'; the row has label, premise; fix"
    ):
        list(_source(tmp_path).examples(task, "train", collections.Counter()))
    with pytest.raises(UserError, match=r"templates.json: rte\[0\]: no field 'context'"):
        _source(tmp_path, {"rte": [["{context}", "{answer}"]]}).tasks()


def test_one_broken_task_does_not_hide_the_others(tmp_path: Path) -> None:
    _rows(tmp_path, "super_glue/rte/train", _nli(0))
    _rows(tmp_path, "xsum/train", {"document": "d", "summary": "s"})
    _rows(tmp_path, "glue/sst2/train", {"sentence": "s", "label": 0})
    (tmp_path / "glue/sst2/test-00000-of-00002.csv").write_text("sentence,label\n")
    source = _source(tmp_path, PATTERNS | {"rte": [["{premise", "{answer}"]]})
    rte, sst2, xsum = source.survey()
    assert isinstance(rte, BrokenTask)
    assert rte.reason.startswith(f"{tmp_path}/templates.json: rte[0]")
    assert isinstance(sst2, BrokenTask)
    assert "1 of 2 shards are there" in sst2.reason
    assert not isinstance(xsum, BrokenTask)


def test_generation_without_further_references(tmp_path: Path) -> None:
    """Training splits of GEM have a target only."""
    row = {"meaning_representation": "name[Aro]", "target": "It is Aro."}
    for task, more in (("absent", {}), ("null", {"references": None}), ("empty", {"references": []})):
        _rows(tmp_path / task, "gem/e2e_nlg/train", *[row | more] * 201)  # the last 200 validate
        source = _source(tmp_path / task, {"e2e_nlg": [["{meaning_representation}", "{target}"]]})
        examples, skipped = _examples(source, "e2e_nlg", "train")
        assert examples and not skipped, task
        assert {example.references for example in examples} == {("It is Aro.",)}, task


def test_every_task_from_its_own_schema_on_disk(tmp_path: Path) -> None:
    """All 70: rows under the TFDS name, each task's own answer field as target."""
    for task, form in forms().items():
        row, fields, answers, options = CASES[task]
        inputs = "\n".join(f"{{{field.name}}}" for field in form.inputs)
        for spec in filter(None, form.specs.values()):
            name = spec.partition("[")[0].split("|")[0]
            _rows(tmp_path / task, f"{form.datasets[0]}/{name}", *[row] * 3)
        source = _source(tmp_path / task, {form.patterns: [[inputs, f"{{{form.target.name}}}"]]})
        info = next(info for info in source.tasks() if info.task == task)
        skipped: collections.Counter[str] = collections.Counter()
        examples = [e for split in info.splits for e in source.examples(info, split, skipped)]
        assert examples, task
        assert not skipped, task
        for example in examples:
            assert example.references == tuple(dict.fromkeys(answer.strip() for answer in answers))
            assert example.options == tuple(option.strip() for option in options or ())
            assert example.source == "\n".join(fields[field.name] for field in form.inputs).strip()
        assert not source.unread()
    assert source.known() == {task: form.datasets[0] for task, form in forms().items()}
    assert "super_glue/rte" in source.remedy("rte")


def test_all_public_rows(shared: Path) -> None:
    """Every row of the public files: read by some task, or the reason why FLAN does not read it."""
    folder = shared / "data" / "flan"
    source = Flan(str(folder / "tfds_jsonl"), template_file=str(folder / "templates_v1.json"))
    skipped: collections.Counter[str] = collections.Counter()
    examples, read = 0, set()
    tasks = source.tasks()
    for task in tasks:
        read.update(task.files[:-1])
        for split in task.splits:
            rows = set()
            for example in source.examples(task, split, skipped):
                assert example.references[0] in example.options or not example.options
                assert bool(example.options) == (task.metric == "accuracy")
                rows.add(example.example_id)
                examples += 1
            assert rows, (task.task, split)
    assert (len(tasks), examples) == (30, 120_869)
    # OpenBookQA's rows here have no fact: of its seven templates one can do without, for 1,000 rows.
    # Six rows of ARC have three or five options, which FLAN leaves out.
    assert skipped == {
        "template needs a field that the row lacks": 6_000,
        "not four options": 6 * 7,
        OTHER_TASK: 22_319,
    }
    # Every row with every template is an example or counted, whichever templates are used.
    everything = dataclasses.replace(source, original_task_only=False)
    others: collections.Counter[str] = collections.Counter()
    every_example = sum(
        1 for task in tasks for split in task.splits for _ in everything.examples(task, split, others)
    )
    assert every_example + others.total() == examples + skipped.total()
    unread = source.unread()
    assert {
        path.relative_to(folder / "tfds_jsonl").as_posix(): reason for path, reason in unread.items()
    } == {
        "ai2_arc/ARC-Challenge/validation.jsonl.gz": "FLAN uses other splits",
        "ai2_arc/ARC-Easy/validation.jsonl.gz": "FLAN uses other splits",
        "glue/sst2/test.jsonl.gz": "FLAN uses other splits",
        "piqa/test.jsonl.gz": "FLAN uses other splits",
        "super_glue/rte/test.jsonl.gz": "FLAN uses other splits",
    }
    every = {path for path in (folder / "tfds_jsonl").rglob("*") if path.is_file()}
    assert read | set(unread) == every
    assert len(every) == 50
    rows_read = 0
    for name in {path.parent.relative_to(folder / "tfds_jsonl").as_posix() for path in every}:
        local = locate(folder / "tfds_jsonl", name)
        assert local is not None
        rows_read += sum(1 for split in local.splits for _ in local.rows(split))
    assert rows_read == 16_822
