"""Files and JSON of others are read in one place: who else parses JSON or CSV reads only what we wrote."""

from __future__ import annotations

import ast
from pathlib import Path

import iml_jax

PACKAGE = Path(iml_jax.__file__).parent
PARSERS = {
    ("json", "load"),
    ("json", "loads"),
    ("json", "JSONDecoder"),
    ("csv", "reader"),
    ("parquet", "read_table"),
    ("sqlite3", "connect"),
}
# Module -> why.
OWN = {
    "storage/reading.py": "the reader",
    "bench/sources/formats/separated.py": "the reader of CSV",
    "bench/sources/unifiedskg/databases.py": "the reader of SQLite",
    "storage/sealed.py": "a record taken through JSON",
    "evaluation/engine/settings.py": "settings taken through JSON",
    "evaluation/engine/answer_file.py": "settings and a prompt taken through JSON",
    "data/tokenizer.py": "what the library tokenizers gives",
    "bench/sources/promptsource/template_pool.py": "answers of our worker",
    "planning/compiling.py": "the result of our worker",
    "planning/job.py": "the job that our planner gave its worker",
    "parallel/hosts.py": "messages between the hosts of a run",
    "parallel/lost_hosts.py": "messages between the hosts of a run",
}


def test_no_second_reader() -> None:
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if named and (node.value.id, node.attr) in PARSERS:
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == set(OWN)
