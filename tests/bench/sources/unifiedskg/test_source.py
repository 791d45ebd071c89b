"""UnifiedSKG as a source: items, prompts of both forms, roles, labels, and every public file that is here."""

from __future__ import annotations

import collections
import csv
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.prompting import prompt
from iml_jax.bench.sources.base import BrokenTask
from iml_jax.bench.sources.unifiedskg.source import READERS, UnifiedSKG
from iml_jax.commands.registry import REGISTRY
from iml_jax.foundation.errors import UserError

PAPER = """
compwebq cosql dart fetaqa feverous grailqa hybridqa kvret logic2text mmqa msr_sqa mtop multiwoz sparc spider
sql2text tab_fact totto webqsp wikisql wikitq
"""
OTHERS = "e2e_nlg_cleaned kvret_glmp multi_woz_22 ottqa russ web_nlg wikisql_tapas"
CONVERSATIONS = "cosql sparc msr_sqa multiwoz multi_woz_22 kvret kvret_glmp"
NAMES = (*PAPER.split(), *OTHERS.split())


def _items(folder: Path, name: str, *items: Any) -> None:
    data = json.dumps(items).encode()
    path = folder / name
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _item(text: str, struct: str, out: str, **more: Any) -> dict[str, Any]:
    return {"table": {"header": []}, "text_in": text, "struct_in": struct, "seq_out": out, **more}


def _all(source: UnifiedSKG) -> tuple[dict[tuple[str, str], list[Example]], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    found = {
        (task.task, split): list(source.examples(task, split, skipped))
        for task in source.tasks()
        for split in task.splits
    }
    return found, dict(skipped)


def test_every_task_is_known_by_name() -> None:
    assert UnifiedSKG.known() == NAMES
    assert set(READERS) <= set(UnifiedSKG.known())
    assert REGISTRY.type_of("UnifiedSKG") is UnifiedSKG


@pytest.mark.parametrize("task", NAMES)
def test_items_of_every_task(tmp_path: Path, task: str) -> None:
    answer = {"tab_fact": "refuted", "feverous": "supports"}.get(task, "out")
    _items(tmp_path, f"{task}_train.json", _item("ask || before", "a | b", answer))
    source = UnifiedSKG(str(tmp_path))
    (info,) = source.tasks()
    assert info.task == task
    assert not info.category.startswith("Uncategorised")
    assert (info.metric == "accuracy") == (task in ("tab_fact", "feverous"))
    found, skipped = _all(source)
    ((example,),) = found.values()
    assert not skipped
    assert example.references == (answer,)
    assert bool(example.options) == (info.metric == "accuracy")
    assert not example.instruction
    lines = example.source.split("\n")
    turns = [" before", " ask"] if task in CONVERSATIONS.split() else [" ask || before"]
    assert [line.partition(":")[2] for line in lines] == [" a | b", *turns, ""]
    assert prompt(example).prompt_text == example.source, "a prompt that ends in a keyword gets no delimiter"


@pytest.mark.parametrize(
    ("task", "item", "expected"),
    [
        (
            "spider",
            _item("How many?", "| pets | owner : id", "select 1"),
            "database: | pets | owner : id\nquestion: How many?\nSQL query:",
        ),
        ("dart", _item("", "Mars : type : Planet", "x"), "table: Mars : type : Planet\ntextual description:"),
        ("wikitq", _item("who?", "col : a", "x"), "table: col : a\nquestion: who?\nanswer:"),
        ("sql2text", _item("SELECT 1", "", "x"), "SQL query: SELECT 1\ntextual description:"),
        (
            "multiwoz",
            _item("u2 || s1 | u1", "hotel-area: north; ", "x"),
            "ontology: hotel-area: north;\ndialogue history: s1 | u1\nuser: u2\ndialogue state:",
        ),
        ("msr_sqa", _item("first? || ", "col : a", "x"), "table: col : a\nquestion: first?\nanswer:"),
        (
            "tab_fact",
            _item("it is", "col : a", "refuted"),
            "table: col : a\nstatement: it is\nentailed or refuted:",
        ),
    ],
)
def test_keyword_prompts(tmp_path: Path, task: str, item: dict[str, Any], expected: str) -> None:
    _items(tmp_path, f"{task}_test.json", item)
    ((example,),) = _all(UnifiedSKG(str(tmp_path)))[0].values()
    assert example.source == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (_item("How many?", "| pets", "x"), "How many? ; structured knowledge: | pets"),
        (
            _item("two || one | zero", "| pets", "x"),
            "two ; structured knowledge: | pets ; context: one | zero",
        ),
        (_item("one || ", "| pets", "x"), "one ; structured knowledge: | pets ; context: "),
        (_item("", "| pets", "x"), "structured knowledge: | pets"),
        (_item("SELECT 1", "", "x"), "SELECT 1 ; structured knowledge: "),
    ],
)
def test_the_joining_of_unifiedskg(tmp_path: Path, item: dict[str, Any], expected: str) -> None:
    _items(tmp_path, "spider_dev.json", item)
    for description in (False, True):
        source = UnifiedSKG(str(tmp_path), form="unifiedskg", description=description)
        ((example,),) = _all(source)[0].values()
        assert example.source == ("task: spider ; " if description else "") + expected


def test_references_splits_and_ids(tmp_path: Path) -> None:
    dart = _item("", "a : b : c", "One.", references=["One.", "Two.", " "])
    _items(tmp_path, "dart_train.json", dart)
    _items(tmp_path, "dart_test.json.gz", dart, _item("", "d : e : f", "Three."))
    _items(tmp_path, "totto_eval.json", _item("", "<table>", "One.", final_sentences=["One.", "More."]))
    source = UnifiedSKG(str(tmp_path), evaluation_tasks=())
    found, skipped = _all(source)
    assert not skipped
    assert [(e.example_id, e.references) for e in found["dart", "test"]] == [
        ("1", ("One.", "Two.")),
        ("2", ("Three.",)),
    ]
    assert [e.references for e in found["dart", "train"]] == [("One.",)]
    assert [e.references for e in found["totto", "validation"]] == [("One.", "More.")]
    assert all(e.split == split for (_, split), examples in found.items() for e in examples)


def test_roles_and_what_follows_from_them(tmp_path: Path) -> None:
    for name in ("dart_train", "dart_test", "multiwoz_train", "spider_train", "spider_dev"):
        _items(tmp_path, f"{name}.json", _item(name, "s", "o"))
    source = UnifiedSKG(str(tmp_path))
    tasks = {info.task: info for info in source.tasks()}
    assert {name: (info.role, info.splits) for name, info in tasks.items()} == {
        "dart": ("evaluation", ("test",)),
        "multiwoz": ("evaluation", ("test",)),
        "spider": ("train", ("train", "validation")),
    }
    none: collections.Counter[str] = collections.Counter()
    assert [e.source for e in source.examples(tasks["multiwoz"], "test", none)] == [
        "ontology: s\nuser: multiwoz_train\ndialogue state:"
    ]
    shown = {name: [e.split for e in source.demonstrations(info, none)] for name, info in tasks.items()}
    assert shown == {"dart": ["train"], "multiwoz": [], "spider": ["train"]}
    trained = source.assigned(tasks["dart"], trained=True, evaluated=True)
    assert (trained.role, trained.splits) == ("train", ("train", "test"))
    evaluated = source.assigned(tasks["spider"], trained=False, evaluated=True)
    assert (evaluated.role, evaluated.splits) == ("evaluation", ("validation",))


def test_training_rows_that_are_evaluated_keep_their_references_together(tmp_path: Path) -> None:
    (tmp_path / "dart").mkdir()
    row = {"tripleset": [["a", "b", "c"]], "annotations": [{"text": "One."}, {"text": "Two."}]}
    _items(tmp_path, "dart/dart-v1.1.1-full-train.json", row)
    for evaluation_tasks, references in (((), [("One.",), ("Two.",)]), (("dart",), [("One.", "Two.")])):
        source = UnifiedSKG(str(tmp_path), evaluation_tasks=evaluation_tasks)
        (examples,) = _all(source)[0].values()
        assert [example.references for example in examples] == references


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    _items(
        tmp_path,
        "feverous_dev.json",
        _item("a", "s", "supports"),
        _item("a", "s", "entailed"),
        _item("a", "s", " "),
        _item("", " ", "supports"),
        _item("\ud800", "s", "supports"),
        {"text_in": None, "struct_in": "s", "seq_out": "refutes"},
    )
    _items(tmp_path, "webqsp_train.json", _item("a", "s", "null"))
    found, skipped = _all(UnifiedSKG(str(tmp_path)))
    assert [example.references for example in found["feverous", "validation"]] == [
        ("supports",),
        ("refutes",),
    ]
    assert found["feverous", "validation"][0].options == ("supports", "refutes", "not enough info")
    assert skipped == {
        "target is not among the labels": 1,
        "no reference": 1,
        "empty input": 1,
        "text that is not valid Unicode": 1,
        "no logical form of the question": 1,
    }


def test_structures_are_cut_where_a_bound_is_set(tmp_path: Path) -> None:
    table = "col : n " + " ".join(f"row {number} : {number}" for number in range(1, 2000))
    _items(tmp_path, "wikitq_dev.json", _item("who?", table, "x"))
    found, counted = _all(UnifiedSKG(str(tmp_path)))
    (whole,) = found["wikitq", "validation"]
    assert table in whole.source and not counted
    found, counted = _all(UnifiedSKG(str(tmp_path), structure_characters=4096))
    (example,) = found["wikitq", "validation"]
    assert counted == {"shortened: a structure of more than 4096 characters": 1}
    assert len(example.source) < 4200
    assert example.source.startswith("table: col : n row 1 : 1 row 2 : 2")
    assert example.source.endswith(" ...\nquestion: who?\nanswer:")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"text_in": "a", "seq_outs": "b", "x": {"seq_out": 1}}, "item 1: no 'seq_out', or neither"),
        ({"seq_out": "b"}, "item 1: no 'seq_out', or neither 'text_in' nor 'struct_in'"),
        ({"text_in": ["a"], "seq_out": "b"}, "item 1: 'text_in' is a list; it must be a string"),
        (
            {"text_in": "a", "seq_out": "b", "references": [1]},
            "item 1: 'references' must be a list of strings",
        ),
    ],
)
def test_malformed_items(tmp_path: Path, item: dict[str, Any], message: str) -> None:
    _items(tmp_path, "spider_dev.json", item)
    with pytest.raises(UserError, match=rf"spider_dev\.json: {message}"):
        _all(UnifiedSKG(str(tmp_path)))


def test_original_files_of_tasks_that_come_as_items_only(tmp_path: Path) -> None:
    (tmp_path / "hybridqa").mkdir()
    _items(tmp_path, "hybridqa/dev.json", {"question": "who?"})
    with pytest.raises(UserError, match="of hybridqa only the preprocessed items"):
        _all(UnifiedSKG(str(tmp_path)))


def test_one_broken_task_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("bird_train", "spider_dev", "wikisql_dev"):
        _items(tmp_path, f"{name}.json", _item("a", "s", "o"))
    source = UnifiedSKG(str(tmp_path))
    with pytest.raises(UserError, match="no task 'bird'"):
        source.tasks()
    surveyed = {info.task: info for info in source.survey()}
    assert [name for name, info in surveyed.items() if isinstance(info, BrokenTask)] == ["bird"]
    assert surveyed["wikisql"].splits == ("validation",)


def test_remedies() -> None:
    source = UnifiedSKG("data")
    assert source.remedy("spider").endswith("or the dataset's own files in data/spider")
    assert "own files" not in source.remedy("hybridqa")
    assert all(source.remedy(task).startswith(f"data/{task}_SPLIT.json") for task in source.known())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"form": "other"}, "UnifiedSKG.form = 'other': must be one of opt_iml, unifiedskg"),
        ({"description": True}, "only the form 'unifiedskg' has descriptions"),
        ({"structure_characters": -1}, "must be >= 0"),
        ({"evaluation_tasks": ("dort",)}, "no task 'dort'; there are compwebq, cosql"),
    ],
)
def test_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UnifiedSKG("x", **fields)


def test_settings_name_everything_besides_the_files(tmp_path: Path) -> None:
    source = UnifiedSKG(str(tmp_path))
    assert set(source.settings()) == set(UnifiedSKG.__dataclass_fields__) - {"data_dir"}
    json.dumps(source.settings())
    assert pickle.loads(pickle.dumps(source)) == source
    with pytest.raises(UserError, match=r"UnifiedSKG\.data_dir = .*nowhere: no such folder"):
        UnifiedSKG(str(tmp_path / "nowhere")).tasks()


def test_databases_that_are_not_shown_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "spider" / "database" / "a").mkdir(parents=True)
    for name in ("dev.json", "database/a/a.sqlite"):
        (tmp_path / "spider" / name).write_bytes(b"")
    names = lambda source: [path.name for path in source.tasks()[0].files]  # noqa: E731
    assert names(UnifiedSKG(str(tmp_path), database_values=False)) == ["dev.json", "a.sqlite"]
    (tmp_path / "spider" / "tables.json").write_text("[]")
    assert names(UnifiedSKG(str(tmp_path), database_values=False)) == ["dev.json", "tables.json"]
    assert names(UnifiedSKG(str(tmp_path))) == ["dev.json", "tables.json", "a.sqlite"]
    assert not UnifiedSKG(str(tmp_path)).missing()
    (tmp_path / "spider/database/a/a.sqlite").unlink()
    assert list(UnifiedSKG(str(tmp_path)).missing()) == [tmp_path / "spider/database"]
    assert not UnifiedSKG(str(tmp_path), database_values=False).missing()


def test_all_public_files(shared: Path) -> None:
    folder = shared / "data" / "unifiedskg"
    found, skipped = _all(UnifiedSKG(str(folder)))
    assert {key: len(examples) for key, examples in found.items()} == {
        ("cosql", "validation"): 250 + 845,  # goals and turns
        ("dart", "validation"): 500,
        ("sparc", "validation"): 250 + 687,
        ("spider", "validation"): 250,
        ("tab_fact", "validation"): 796,
        ("tab_fact", "test"): 803,
        ("web_nlg", "validation"): 299,
        ("wikitq", "train"): 500,
        ("wikitq", "validation"): 300,
        ("wikitq", "test"): 300,
    }
    assert skipped == {"no reference": 1}, "one WebNLG entry has no lexicalisation marked as good"
    for examples in found.values():
        assert len({example.example_id for example in examples}) == len(examples)
    questions = _questions(folder / "wikitq" / "data" / "random-split-1-train.tsv.gz")
    for example, (question, answer) in zip(found["wikitq", "train"], questions, strict=True):
        assert f"\nquestion: {question.lower()}\nanswer:" in example.source
        assert example.references == (answer.replace("|", ", ").lower(),)


def _questions(path: Path) -> list[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["utterance"], row["targetValue"]) for row in rows]


def test_every_cell_of_the_public_tables_is_in_its_prompt(shared: Path) -> None:
    folder = shared / "data" / "unifiedskg" / "tab_fact"
    with gzip.open(folder / "tables_test.jsonl.gz", "rt", encoding="utf-8") as stream:
        tables = {row["id"]: row["csv"] for row in map(json.loads, stream)}
    found, _ = _all(UnifiedSKG(str(folder.parent)))
    for example in found["tab_fact", "test"]:
        at = 0
        for line in tables[example.example_id.rpartition(":")[0]].split("\r\n"):
            for value in line.split("#"):
                at = example.source.index(" ".join(value.lower().split()), at)
