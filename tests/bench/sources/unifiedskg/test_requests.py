"""Dialogues and parses from files in their public formats."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.unifiedskg import requests
from iml_jax.bench.sources.unifiedskg.items import Item, Request
from iml_jax.bench.sources.unifiedskg.source import UnifiedSKG
from iml_jax.foundation.errors import UserError


def _dialogue(*utterances: str, items: Any = None) -> dict[str, Any]:
    return {
        "dialogue": [
            {"turn": ("driver", "assistant")[index % 2], "data": {"utterance": text}}
            for index, text in enumerate(utterances)
        ],
        "scenario": {
            "kb": {"column_names": ["poi", "Miles"], "items": items},
            "task": {"intent": "navigate"},
        },
    }


def _kvret(folder: Path, rows: Any, entities: Any = None) -> list[tuple[str, Item | str]]:
    files = [folder / "kvret_dev_public.json"]
    files[0].write_text(json.dumps(rows))
    if entities is not None:
        files.append(folder / "kvret_entities.json")
        files[1].write_text(json.dumps(entities))
    return list(requests.kvret(Request(files[0], tuple(files), training=False)))


def test_kvret(tmp_path: Path) -> None:
    rows = [
        _dialogue(
            "Where? ", " Home Depot. ", "Far?", "2 miles", "Bye", items=[{"poi": "Home Depot", "Miles": 2}]
        ),
        _dialogue("No answer"),
    ]
    struct = "col : poi | miles row 1 : home depot | 2"
    expected = [
        ("1:0", Item("where? || ", struct, ("home depot.",))),
        ("1:1", Item("far? || home depot. | where?", struct, ("2 miles",))),
    ]
    assert _kvret(tmp_path, rows) == expected
    entities = {
        "poi": [{"poi": "Home Depot", "address": "1 A St", "type": "shop"}],
        "distance": ["2 miles", ""],
    }
    joined = _kvret(tmp_path, rows, entities)
    assert joined == [
        ("1:0", Item("where? || ", struct, ("home_depot.",))),
        ("1:1", Item("far? || home_depot. | where?", struct, ("2_miles",))),
    ]


def _mtop(folder: Path, **splits: str) -> tuple[Path, ...]:
    paths = []
    for split, content in splits.items():
        (folder / f"{split}.txt").write_text(content)
        paths.append(folder / f"{split}.txt")
    return tuple(paths)


def _row(intent: str, parse: str, *tokens: str) -> str:
    return "\t".join(["1", intent, "", "raw", "d", "en_XX", parse, json.dumps({"tokens": tokens})]) + "\n"


def test_mtop(tmp_path: Path) -> None:
    files = _mtop(
        tmp_path,
        train=_row("IN:GET_MESSAGE", "[IN:GET_MESSAGE]", "Read", "it")
        + _row("IN:SEND_MESSAGE", "[B]", "Send"),
        test=_row("IN:GET_LIFE_EVENT", "[C]", "Who", "?") + _row("IN:GET_MESSAGE", "[D]", "x"),
    )
    structure = "IN:GET: MESSAGE, LIFE_EVENT | IN:SEND: MESSAGE"
    for path, first in ((files[0], Item("Read it", structure, ("[IN:GET_MESSAGE]",))), (files[1], None)):
        made = list(requests.mtop(Request(path, files, training=False)))
        assert made[0] == ("1", first or Item("Who ?", structure, ("[C]",)))
        assert len(made) == 2


def test_webqsp(tmp_path: Path) -> None:
    row = {
        "question": " who? ",
        "s_expression": "(JOIN a b)",
        "entities": [["ann", "m.1"]],
        "kg_tuples": [["m.1", "r", "m.2"], ["m.2", "s", "m.3"]],
    }
    path = tmp_path / "dev.jsonl"
    path.write_text(json.dumps(row))
    item = Item("who?", "ann: m.1 | m.1 r m.2 | m.2 s m.3", ("(JOIN a b)",))
    assert list(requests.webqsp(Request(path, (path,), training=True))) == [("1", item)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"dialogue": []}, "dialogue 1: no 'scenario', which must be a dict"),
        ({**_dialogue(), "dialogue": [{"turn": "cat", "data": {"utterance": "x"}}]}, "turn of 'cat'"),
        ({**_dialogue(), "dialogue": [{"turn": "driver", "data": {}}]}, "no 'utterance'"),
        (_dialogue(items=[5]), "'5' must be an object"),
        (_dialogue(items=5), "a int as 'items', which must be a list"),
        (
            {"dialogue": [], "scenario": {"kb": {"column_names": [[]]}}},
            "'column_names' must be a list of strings",
        ),
    ],
)
def test_malformed_dialogues(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _kvret(tmp_path, [row])


def test_malformed_entities_are_done_without(tmp_path: Path) -> None:
    """They are counted, and refused where the task was asked for by name."""
    turns = [{"turn": who, "data": {"utterance": "in New York"}} for who in ("driver", "assistant")]
    (tmp_path / "kvret").mkdir()
    _kvret(tmp_path / "kvret", [{"dialogue": turns, "scenario": {"kb": {"column_names": ["a"]}}}], ["x"])
    source = UnifiedSKG(str(tmp_path))
    (task,) = source.tasks()
    skipped: collections.Counter[str] = collections.Counter()
    (example,) = source.examples(task, "validation", skipped)
    assert example.references == ("in new york",)
    ((reason, count),) = skipped.items()
    message = "expected kind of entity -> list"
    assert count == 1 and reason.startswith(side_files.UNUSED) and message in reason
    with pytest.raises(UserError, match=message):
        list(source.asked_for("kvret").examples(task, "validation", skipped))


def test_malformed_others(tmp_path: Path) -> None:
    files = _mtop(tmp_path, train="a\tb\n")
    with pytest.raises(UserError, match=r"train\.txt:1: 2 fields, MTOP has 8"):
        list(requests.mtop(Request(files[0], files, training=True)))
    files = _mtop(tmp_path, train=_row("a", "b").replace("{", ""))
    with pytest.raises(UserError, match=r"train\.txt:1: malformed JSON"):
        list(requests.mtop(Request(files[0], files, training=True)))
    path = tmp_path / "dev.jsonl"
    path.write_text('{"question": "", "s_expression": "", "entities": [1], "kg_tuples": []}')
    with pytest.raises(UserError, match="'entities' must be a list of lists of strings"):
        list(requests.webqsp(Request(path, (path,), training=True)))
