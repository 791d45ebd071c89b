"""UnifiedSKG's files for ``source_bases``: preprocessed items, and the original files of every task read."""

# ruff: noqa: E501  # files stand here as they are
from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.base import Source
from iml_jax.bench.sources.unifiedskg.source import UnifiedSKG

Files = Mapping[str, Any]


def skg_items(root: Path) -> tuple[Source, Files]:
    """The authors' preprocessed items."""
    item = {"table": {"header": []}, "text_in": "ask || before", "struct_in": "a | b", "seq_out": "out"}
    files = {
        "multiwoz_train.json": [item] * 3,
        "grailqa_test.jsonl": [item],
        "feverous_dev.json.gz": [item | {"seq_out": "supports"}],
        "kvret/dev.json": [item],
    }
    return UnifiedSKG(str(root), evaluation_tasks=()), files


def skg_originals(root: Path) -> tuple[Source, Files]:
    """The datasets' own files."""
    claims = {"1.csv": [["Ann WON", "she lost"], [1, 0], "caption"]}
    coordinates = "id\tannotator\tposition\tquestion\ttable_file\tanswer_coordinates\tanswer_text\n"
    entry = {
        "modifiedtripleset": [{"subject": "A", "property": "isOf", "object": "C"}],
        "lexicalisations": [{"comment": "good", "lang": "en", "lex": "One."}],
    }
    schemas = [
        {
            "db_id": "pets",
            "table_names_original": ["Owner"],
            "column_names_original": [[-1, "*"], [0, "ID"], [0, "City"]],
        }
    ]
    query = {"db_id": "pets", "question": "Who lives in Oslo?", "query": "SELECT ID FROM Owner"}
    turns = [
        {"turn": "driver", "data": {"utterance": "Where?"}},
        {"turn": "assistant", "data": {"utterance": "Home."}},
    ]
    kb = {"kb": {"column_names": ["poi"], "items": [{"poi": "Home"}]}, "task": {"intent": "navigate"}}
    talk = {
        "database_id": "pets",
        "interaction": [{"utterance": "Who?", "query": "SELECT 1"}],
        "final": {"utterance": "Who?", "query": "SELECT 1"},
    }
    parse = '1\tIN:A\t\traw\td\ten_XX\t[IN:A]\t{"tokens": ["Read", "it"]}\n'
    cells = [[{"value": "Year", "is_header": True, "column_span": 1}], [{"value": "1999"}]]
    files = {
        "spider/dev.json": [query] * 2,
        "spider/tables.json": schemas,
        "spider/database/pets/pets.sqlite": _database,
        "sql2text/dev.json": [query],
        "sparc/dev.json": [talk],
        "sparc/tables.json": schemas,
        "cosql/sql_state_tracking/cosql_dev.json": [talk],
        "cosql/tables.json": schemas,
        "wikitq/random-split-1-dev.tsv": "id\tutterance\tcontext\ttargetValue\nnt-0\tWhich?\tcsv/200-csv/1.csv\tOslo\n",
        "wikitq/csv/200-csv/1.csv": '"Year","City"\n"2001","Oslo, \\"N\\""\n',
        "tab_fact/tokenized_data/val_examples.json": claims,
        "tab_fact/all_csv/1.csv": "Who#Rank\nAnn#1\n",
        "fetaqa/fetaQA-v1_dev.jsonl": [
            {
                "question": "Who?",
                "answer": "Ann.",
                "table_page_title": "P",
                "table_section_title": "S",
                "table_array": [["A", "B"], ["1", "2"]],
            }
        ],
        "logic2text/dataset/dev.json": [
            {
                "topic": "t",
                "logic_str": "eq { 1 }",
                "sent": "s",
                "table_header": ["a"],
                "table_cont": [["1"]],
            }
        ],
        "msr_sqa/test.tsv": f"{coordinates}nt-1\t0\t0\tFirst?\ttable_csv/1.csv\t['(0, 0)']\t[u'Oslo', \"x\"]\n",
        "msr_sqa/table_csv/1.csv": "A,B\n1,Oslo\n",
        "kvret/kvret_dev_public.json": [{"dialogue": turns, "scenario": kb}],
        "kvret/kvret_entities.json": {"poi": [{"poi": "Home", "address": "1 A", "type": "t"}], "d": ["2 m"]},
        "mtop/en/train.txt": parse * 2,
        "webqsp/train.json": [
            {
                "question": "q",
                "s_expression": "(AND x)",
                "entities": [["m.1", "n"]],
                "kg_tuples": [["a", "b", "c"]],
            }
        ],
        "wikisql/data/dev.jsonl": [
            {"question": "Who?", "table_id": "1-1", "sql": {"sel": 0, "agg": 3, "conds": [[1, 1, "5"]]}}
        ],
        "wikisql/data/dev.tables.jsonl": [
            {
                "id": "1-1",
                "header": ["P", "N"],
                "types": ["text", "real"],
                "rows": [["Ann", "1,000"], ["Bo", 7]],
            }
        ],
        "dart/dart-v1.1.1-full-dev.json": [
            {"tripleset": [["Mars", "TYPE", "Planet"]], "annotations": [{"source": "a", "text": "One."}]}
        ],
        "web_nlg/webnlg_release_v3.0_train.json": {"entries": [{"1": entry}]},
        "e2e_nlg/devset.csv": 'mr,ref\n"name[A], food[b, c]","One, ""so""."\n',
        "totto/totto_dev_data.jsonl": [
            {
                "table_page_title": "Ann",
                "table": cells,
                "highlighted_cells": [[1, 0]],
                "sentence_annotations": [{"final_sentence": "One."}],
            }
        ],
    }
    return UnifiedSKG(str(root)), files


def _database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE Owner (ID INTEGER PRIMARY KEY, City TEXT);"
        "INSERT INTO Owner (City) VALUES ('Oslo'), ('New York'), (NULL), (5);"
    )
    connection.commit()
    connection.close()
