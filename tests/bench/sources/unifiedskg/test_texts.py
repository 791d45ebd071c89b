"""Data-to-text tasks from files in their public formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.unifiedskg import texts
from iml_jax.bench.sources.unifiedskg.items import Item, Request
from iml_jax.foundation.errors import UserError


def _request(folder: Path, content: Any, *, training: bool = False, name: str = "dev.json") -> Request:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Request(path, (path,), training=training)


def test_dart(tmp_path: Path) -> None:
    row = {
        "tripleset": [["Mars", "TYPE", "Planet"], ["Mars", "MOON OF", "x"]],
        "annotations": [{"source": "a", "text": "One."}, {"source": "a", "text": "Two."}],
    }
    struct = "Mars : type : Planet | Mars : moon of : x"
    assert list(texts.dart(_request(tmp_path, [row]))) == [("1", Item("", struct, ("One.", "Two.")))]
    assert list(texts.dart(_request(tmp_path, [row], training=True))) == [
        ("1:1", Item("", struct, ("One.",))),
        ("1:2", Item("", struct, ("Two.",))),
    ]


def test_web_nlg(tmp_path: Path) -> None:
    said = [("good", "", "One."), ("toFix", "", "Bad."), ("good", "ru", "Odin."), ("good", "en", "Two.")]
    entry = {
        "modifiedtripleset": [{"subject": "A_B", "property": "isOf", "object": "C"}],
        "lexicalisations": [{"comment": c, "lang": lang, "lex": text} for c, lang, text in said],
    }
    release = {"entries": [{"1": entry}, {"2": {**entry, "lexicalisations": []}}]}
    struct = "A_B : isOf : C"
    assert list(texts.web_nlg(_request(tmp_path, release))) == [
        ("1", Item("", struct, ("One.", "Two."))),
        ("2", Item("", struct, ())),
    ]
    assert list(texts.web_nlg(_request(tmp_path, release, training=True))) == [
        ("1:1", Item("", struct, ("One.",))),
        ("1:2", Item("", struct, ("Two.",))),
        ("1:not good 0", texts.NOT_GOOD),
        ("1:not good 1", texts.NOT_GOOD),
    ]


def test_e2e_groups_the_references_outside_training(tmp_path: Path) -> None:
    rows = (
        'mr,ref\n"name[Alimentum], food[Fast food, good]","One, ""so""."\n'
        '"name[Loch Fyne]",Two.\n"name[Alimentum], food[Fast food, good]",Three.\n'
    )
    first = "name : Alimentum | food : Fast food, good | "
    assert list(texts.e2e(_request(tmp_path, rows, name="devset.csv"))) == [
        ("1", Item("", first, ('One, "so".', "Three."))),
        ("2", Item("", "name : Loch Fyne | ", ("Two.",))),
    ]
    trained = list(texts.e2e(_request(tmp_path, rows, name="devset.csv", training=True)))
    assert [(name, item.references) for name, item in trained if isinstance(item, Item)] == [
        ("2", ('One, "so".',)),
        ("3", ("Two.",)),
        ("4", ("Three.",)),
    ]


def test_totto(tmp_path: Path) -> None:
    row = {
        "table_page_title": "Ann",
        "table_section_title": "",
        "table": [
            [{"value": "Year", "is_header": True, "column_span": 1, "row_span": 1}],
            [{"value": "1999"}],
        ],
        "highlighted_cells": [[1, 0]],
        "sentence_annotations": [{"final_sentence": "One."}, {"final_sentence": "Two."}],
    }
    struct = (
        "<page_title> Ann </page_title> <table> <cell> 1999 <col_header> Year </col_header> </cell> </table>"
    )
    rows = "\n".join(json.dumps(each) for each in (row, {**row, "sentence_annotations": None}))
    assert list(texts.totto(_request(tmp_path, rows))) == [
        ("1", Item("", struct, ("One.", "Two."))),
        ("2", Item("", struct, ())),
    ]
    trained = list(texts.totto(_request(tmp_path, rows, training=True)))
    assert trained[0] == ("1", Item("", struct, ("One.",)))


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (
            texts.dart,
            [{"tripleset": [["a", "b"]], "annotations": []}],
            r"is no \[subject, relation, object\]",
        ),
        (texts.dart, [{"tripleset": [], "annotations": ["x"]}], "'x' must be an object"),
        (texts.dart, [{"tripleset": []}], "no 'annotations', which must be a list"),
        (texts.web_nlg, [], "a list; the file must be one JSON object"),
        (texts.web_nlg, {"entries": [{"1": {}}]}, "entry 1: no 'modifiedtripleset'"),
        (texts.e2e, "a,b\n1,2\n", r"dev\.csv:1: no columns 'mr' and 'ref'"),
        (texts.e2e, "mr,ref\nname[x,y\n", r"dev\.csv:2"),
        (texts.e2e, 'mr,ref\n"name[x], food",y\n', r"dev\.csv:2: no attribute\[value\] at 'food'"),
        (
            texts.totto,
            [{"table": [], "highlighted_cells": [[0, 0]]}],
            "a highlighted cell is not in the table",
        ),
        (texts.totto, [{"table": [], "highlighted_cells": [0]}], r"0 is no \[row, cell\]"),
        (texts.totto, [{"table": [5], "highlighted_cells": []}], "'5' must be a list"),
        (texts.totto, [{"table": [[{}]], "highlighted_cells": []}], "no 'value', which must be a str"),
    ],
)
def test_malformed(tmp_path: Path, reader: Any, content: Any, message: str) -> None:
    name = "dev.csv" if reader is texts.e2e else "dev.json"
    with pytest.raises(UserError, match=message):
        list(reader(_request(tmp_path, content, name=name)))
