"""Which files belong to which task and split; arrays and lines of JSON, streamed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.unifiedskg.files import TaskFiles, find, holds_items, records, split_of
from iml_jax.foundation.errors import UserError
from iml_jax.storage import json_stream


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def _found(folder: Path) -> dict[str, tuple[dict[str, str], list[str]]]:
    return {
        task: (
            {split: path.relative_to(folder).as_posix() for split, path in files.splits.items()},
            [path.relative_to(folder).as_posix() for path in files.side],
        )
        for task, files in find(folder)[0].items()
        if isinstance(files, TaskFiles)
    }


def test_item_files_of_every_spelling(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        "spider_train.json",
        "spider_dev.json.gz",
        "mmqa_eval.jsonl",
        "sqa_test.json",
        "multi_woz_22_validation.json",
        "dart/test.json",
        "dart/dart_val.json",
        "notes.txt",
        "meta/task_list.json",
        ".cache/spider_test.json",
    )
    assert _found(tmp_path) == {
        "dart": ({"validation": "dart/dart_val.json", "test": "dart/test.json"}, []),
        "mmqa": ({"validation": "mmqa_eval.jsonl"}, []),
        "msr_sqa": ({"test": "sqa_test.json"}, []),
        "multi_woz_22": ({"validation": "multi_woz_22_validation.json"}, []),
        "spider": ({"train": "spider_train.json", "validation": "spider_dev.json.gz"}, []),
    }


def test_original_distributions(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        *(
            f"spider/{name}"
            for name in ("train_spider.json", "train_others.json", "dev.json", "dev_gold.sql")
        ),
        "spider/tables.json",
        "spider/database/pets_1/pets_1.sqlite",
        "spider/database/pets_1/schema.sql",
        *(f"sparc/{name}" for name in ("train.json", "train_no_value.json", "dev.json", "tables.json")),
        *(f"cosql/{part}/cosql_dev.json" for part in ("sql_state_tracking", "system_response_generation")),
        *(f"WikiTableQuestions/data/{name}.tsv" for name in ("random-split-1-train", "random-split-2-train")),
        *(
            f"WikiTableQuestions/data/{name}.tsv"
            for name in ("pristine-unseen-tables", "pristine-seen-tables")
        ),
        *(f"WikiTableQuestions/csv/203-csv/1.{kind}" for kind in ("csv", "html", "tsv")),
        "tab_fact/tokenized_data/val_examples.json.gz",
        "tab_fact/tables_val.jsonl.gz",
        "tab_fact/data/all_csv/1-1.html.csv",
        "kvret/kvret_dev_public.json",
        "kvret/kvret_entities.json",
        *(f"e2e/{name}.csv" for name in ("train-fixed.no-ol", "devel-fixed.no-ol", "test-fixed")),
        *(f"e2e_nlg_cleaned/{name}" for name in ("other.csv",)),
        "wikisql/data/dev.jsonl",
        "wikisql/data/dev.tables.jsonl",
    )
    found = _found(tmp_path)
    assert found["spider"] == (
        {"train": "spider/train_spider.json", "validation": "spider/dev.json"},
        ["spider/tables.json", "spider/database/pets_1/pets_1.sqlite"],
    )
    assert found["sparc"][0] == {"train": "sparc/train.json", "validation": "sparc/dev.json"}
    assert found["cosql"][0] == {"validation": "cosql/sql_state_tracking/cosql_dev.json"}
    assert found["wikitq"] == (
        {
            "train": "WikiTableQuestions/data/random-split-1-train.tsv",
            "test": "WikiTableQuestions/data/pristine-unseen-tables.tsv",
        },
        ["WikiTableQuestions/csv/203-csv/1.csv", "WikiTableQuestions/csv/203-csv/1.tsv"],
    )
    assert found["tab_fact"][0] == {"validation": "tab_fact/tokenized_data/val_examples.json.gz"}
    assert sorted(found["tab_fact"][1]) == [
        "tab_fact/data/all_csv/1-1.html.csv",
        "tab_fact/tables_val.jsonl.gz",
    ]
    assert found["kvret"] == ({"validation": "kvret/kvret_dev_public.json"}, ["kvret/kvret_entities.json"])
    assert list(found["e2e_nlg_cleaned"][0]) == ["train", "validation", "test"]
    assert found["wikisql"] == ({"validation": "wikisql/data/dev.jsonl"}, ["wikisql/data/dev.tables.jsonl"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no file of a UnifiedSKG task.*or folder such as spider/; bind the folder that has them"),
        (("more/spider_train.json",), r"no file of a UnifiedSKG task.*; bind .*/more$"),
    ],
)
def test_folders_without_tasks(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    _touch(tmp_path, *names)
    with pytest.raises(UserError, match=message):
        find(tmp_path)


@pytest.mark.parametrize(
    ("names", "task", "message"),
    [
        (("spyder_train.json",), "spyder", r"UnifiedSKG has no task 'spyder'; did you mean 'spider'\?"),
        (("bird/train.json",), "bird", r"bird: UnifiedSKG has no task 'bird'"),
        (("bird/bird_train.json.gz",), "bird", r"bird: UnifiedSKG has no task 'bird'"),
    ],
)
def test_what_is_wrong_stands_with_its_task(
    tmp_path: Path, names: tuple[str, ...], task: str, message: str
) -> None:
    _touch(tmp_path, *names, "wikisql_dev.json")
    found, _ = find(tmp_path)
    assert list(found) == sorted({task, "wikisql"})
    assert isinstance(found["wikisql"], TaskFiles)
    assert isinstance(found[task], UserError)
    with pytest.raises(UserError, match=message):
        raise found[task]


@pytest.mark.parametrize(
    ("task", "read", "other"),
    [
        ("spider", "spider/spider_train.json", "spider/train_spider.json"),  # items before original files
        ("spider", "spider_train.json", "spider/train_spider.json"),
        ("spider", "spider_dev.json", "spider_eval.json"),  # the shorter name
        ("msr_sqa", "msr_sqa/dev.json", "sqa/dev.json"),  # the task's name before an alias
        ("dart", "dart/dart-v1.1.1-full-dev.json", "dart/dart-v1.0.0-full-dev.json"),  # the higher version
        ("dart", "dart/dart-v1.1.1-full-dev.json.gz", "dart/dart-v1.0.0-full-dev.json"),
    ],
)
def test_of_two_files_of_a_split_one_is_read(tmp_path: Path, task: str, read: str, other: str) -> None:
    _touch(tmp_path, read, other)
    assert list(_found(tmp_path)[task][0].values()) == [read]
    assert find(tmp_path)[1] == {tmp_path / other: f"the same split as {tmp_path / read}, which is read"}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("pristine-unseen-tables.tsv.gz", "test"),
        ("testset_w_refs.csv", "test"),
        ("devset.csv", "validation"),
        ("devel-fixed.no-ol.csv", "validation"),
        ("totto_dev_data.jsonl", "validation"),
        ("random-split-1-train.tsv", "train"),
        ("fetaQA-v1_test.jsonl", "test"),
        ("latest.json", ""),
    ],
)
def test_split_of_a_name(name: str, split: str) -> None:
    assert split_of(Path(name)) == split


ROWS: list[dict[str, Any]] = [{"a": 1, "b": [{"c": ']}\n{\\"[é'}]}, {}, {"n": 10**30, "t": "x" * 300}]


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_arrays_whatever_the_size_of_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    for ensure_ascii in (True, False):
        path = tmp_path / "x.json"
        path.write_text("\ufeff \n" + json.dumps(ROWS, indent=indent, ensure_ascii=ensure_ascii) + "\n\n")
        assert list(records(path)) == list(enumerate(ROWS, 1))


def test_long_elements_are_not_parsed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 4)
    tries = []
    parse = json.JSONDecoder.raw_decode
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", lambda *args: tries.append(1) or parse(*args))
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"a": "x" * 50_000}]))
    assert len(list(records(path))) == 1
    assert len(tries) < 20


def test_lines_and_compressed_and_empty(tmp_path: Path) -> None:
    lines = tmp_path / "x.jsonl.gz"
    lines.write_bytes(gzip.compress("".join(json.dumps(row) + "\r\n\n" for row in ROWS).encode()))
    assert list(records(lines)) == list(enumerate(ROWS, 1))
    for content in ("", " \n", "[]", "[ ]\n"):
        path = tmp_path / "y.json"
        path.write_text(content)
        assert not list(records(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1},\n {"a": }]', r"x\.json:2: malformed JSON"),
        (b'[{"a": 1}\n {"a": 2}]', r"x\.json:2: malformed JSON: '\]' expected, not '{'"),
        (b'[{"a": 1},\n', r"x\.json:2: malformed JSON"),
        (b'[{"a": 1}]\n[', r"x\.json:2: text after the end"),
        (b'[{"a": 1},\n 5]', r"x\.json:2: a int; expected a JSON object"),
        (b'[\n\n{"a": "\xff"}]', r"x\.json:3: byte 0xff is not UTF-8"),
        (b'[{"a": ' + b"1" * 5000 + b"}]", r"x\.json:1: malformed JSON: an integer of 5000 digits"),
        (b"[" * 100_000, r"x\.json:1: malformed JSON"),
        (b"x,y\n", r"x\.json:1: malformed JSON"),
        (b'{"a": 1}\n[1]\n', r"x\.json:2: a list; expected a JSON object"),
        (b'{"a": 1}\n{"a"\n', r"x\.json:2: malformed JSON"),
    ],
)
def test_malformed(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(records(path))


def test_an_element_that_is_too_long_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LINE_LIMIT", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    path = tmp_path / "x.json"
    path.write_text('[{"n": 1}, {"a": "' + 'x\\"[{' * 5000 + '"}, {"n": 3}]')
    assert list(records(path)) == [(1, {"n": 1}), (3, {"n": 3})]


def test_items_are_told_from_original_files(tmp_path: Path) -> None:
    contents = {
        "a.json": ('[{"table": {}, "text_in": "", "seq_out" : "x"}]', True),
        "b.jsonl": ('{"seq_out": "x"}\n', True),
        "c.json": ('[{"question": "what is \\"seq_out\\": ?"}]', False),
        "d.tsv": ('"seq_out": 1', False),
    }
    for name, (content, expected) in contents.items():
        (tmp_path / name).write_text(content)
        assert holds_items(tmp_path / name) is expected
