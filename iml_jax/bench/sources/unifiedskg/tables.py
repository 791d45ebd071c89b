"""Tasks over tables from their own files: WikiTQ, TabFact, FeTaQA, SQA and Logic2Text.

UnifiedSKG drops rows of large tables at random until they fit its tokenizer; here a table is whole, and
``UnifiedSKG.structure_characters`` bounds it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import bounded_lines, drop, is_long
from iml_jax.bench.sources.formats.records import document, listed
from iml_jax.bench.sources.formats.separated import parse_csv
from iml_jax.bench.sources.unifiedskg import linearise
from iml_jax.bench.sources.unifiedskg.files import plain, records, required
from iml_jax.bench.sources.unifiedskg.items import Item, Outcome, Request, distinct
from iml_jax.foundation.errors import UserError
from iml_jax.storage.json_stream import TOO_LONG, open_json
from iml_jax.storage.reading import FILE_LIMIT, LINE_LIMIT, read_text

NO_TABLE = "no table of that name"
ANSWERS = ", "  # between several answers (UnifiedSKG utils/processor)
_ESCAPES = {r"\n": " ", r"\p": "|", r"\\": "\\"}
_STRING = r"u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_STRING_LIST = re.compile(rf"\s*\[\s*(?:{_STRING}\s*(?:,\s*{_STRING}\s*)*,?\s*)?\]\s*", re.DOTALL)
Table = list[list[str]]  # the header, then the rows


class Tables:
    """Tables by name: single files, or packed as JSON lines ``{"path" or "id": name, "csv": text}``."""

    def __init__(self, files: Sequence[Path], depth: int) -> None:
        """Lists the files; packed ones are read when they are asked for.

        Args:
          files: every file of the task.
          depth: the number of parts of a name: the file's own and ``depth - 1`` folders above it.

        Raises:
          UserError: a packed file is malformed, or all together hold too much.
        """
        self._files = {plain("/".join(path.parts[-depth:])): path for path in files}
        self._packed: dict[str, str] = {}
        held = 0
        for path in files:
            if not plain(path.name).endswith(".jsonl"):
                continue
            for number, row in records(path):
                place = f"{path}:{number}"
                name = required(row, "path" if "path" in row else "id", str, place)
                self._packed[name] = required(row, "csv", str, place)
                held += len(self._packed[name])
                if held > FILE_LIMIT:
                    raise UserError(f"{place}: more than {FILE_LIMIT} characters of tables; unpack them")

    def text(self, name: str) -> tuple[str, str] | None:
        """(place for messages, content) of a table; None where there is none of that name.

        Raises:
          UserError: its file cannot be read.
        """
        if name in self._packed:
            return name, self._packed[name]
        path = self._files.get(name)
        return None if path is None else (str(path), read_text(path, LINE_LIMIT))


def wikitq(request: Request) -> Iterator[Outcome]:
    """WikiTableQuestions: TSV of id, utterance, context (name of the table), targetValue."""
    tables = Tables(request.files, depth=3)
    for number, row in _tsv(request.path, ("id", "utterance", "context", "targetValue")):
        name = row["context"]
        table = _wikitq_table(tables, name)
        answers = [_unescaped(answer) for answer in row["targetValue"].split("|")]
        if table is None:
            yield f"{number}:{row['id']}", NO_TABLE
            continue
        item = _asked(_unescaped(row["utterance"]), table, ANSWERS.join(answers))
        yield f"{number}:{row['id']}", item


def _wikitq_table(tables: Tables, name: str) -> Table | None:
    """From the CSV file, else from the TSV file beside it; both hold the same."""
    if found := tables.text(name):
        return parse_csv(found[1], found[0], escapes=True)
    if found := tables.text(name.removesuffix(".csv") + ".tsv"):
        return [[_unescaped(cell) for cell in line.split("\t")] for line in _lines(found[1])]
    return None


def tab_fact(request: Request) -> Iterator[Outcome]:
    """TabFact: JSON of table -> [statements, labels, caption]; tables with ``#`` between cells."""
    tables = Tables(request.files, depth=1)
    for name, entry in _entries(request.path):
        statements, labels = _claims(entry, f"{request.path}: {name!r}")
        found = tables.text(name)
        table = [line.split("#") for line in _lines(found[1])] if found else []
        for number, (statement, label) in enumerate(zip(statements, labels, strict=True)):
            yield f"{name}:{number}", _claim(statement, label, table)


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The members of a file that is one JSON object, of any size; those that are too long are dropped."""
    with open_json(path) as text:
        if text.peek() != "{":
            document(path)  # which says what it is
        for number, name in enumerate(text.members()):
            entry = text.value()
            if entry is TOO_LONG or is_long(entry):
                drop(path, number)
            else:
                yield name, entry
        text.end()


def _claims(entry: Any, place: str) -> tuple[list[str], list[Any]]:
    if isinstance(entry, list) and len(entry) >= 2:
        statements, labels = entry[:2]
        lists = isinstance(statements, list) and isinstance(labels, list)
        if lists and len(statements) == len(labels) and all(isinstance(each, str) for each in statements):
            return statements, labels
    raise UserError(f"{place} is not [statements, as many labels, caption]; fix it")


def _claim(statement: str, label: Any, table: Table) -> Item | str:
    if not table:
        return NO_TABLE
    if label not in (0, 1):
        return "label is neither 0 nor 1"
    return _asked(statement, table, "entailed" if label else "refuted")


def fetaqa(request: Request) -> Iterator[Outcome]:
    """FeTaQA: JSON lines, or JSON with a list ``data``; page and section title stand before the table."""
    for number, row in _listed(request.path, "data"):
        place = f"{request.path}: record {number}"
        question, answer, page, section = (
            required(row, key, str, place)
            for key in ("question", "answer", "table_page_title", "table_section_title")
        )
        table = required(row, "table_array", list, place)
        if not table or not all(isinstance(cells, list) for cells in table):
            raise UserError(f"{place}: 'table_array' must be a list of rows, the header first; fix it")
        yield str(number), _asked(question, table, answer, before=f"{page} | {section} ")


def msr_sqa(request: Request) -> Iterator[Outcome]:
    """SQA: TSV of questions that follow on from one another; position 0 begins a sequence.

    Tables are read as CSV; UnifiedSKG's loader cuts lines at every comma and so breaks cells that hold one.
    """
    tables = Tables(request.files, depth=2)
    columns = ("id", "annotator", "position", "question", "table_file", "answer_coordinates", "answer_text")
    asked: list[str] = []
    for number, row in _tsv(request.path, columns):
        if row["position"].strip() == "0":
            asked = []
        asked.append(row["question"])
        identity = f"{number}:{row['id']}"
        if (found := tables.text(row["table_file"])) is None:
            yield identity, NO_TABLE
            continue
        answer = ANSWERS.join(_strings(row["answer_text"], f"{request.path}:{number}"))
        text = linearise.conversation(asked, always=True)
        yield identity, _asked(text, parse_csv(found[1], found[0], escapes=False), answer)


def logic2text(request: Request) -> Iterator[Outcome]:
    """Logic2Text: a logical form over a table, of which the caption and the header are shown."""
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        caption, logic, sentence = (required(row, key, str, place) for key in ("topic", "logic_str", "sent"))
        header = ", ".join(map(linearise.cell, required(row, "table_header", list, place)))
        yield str(number), Item(logic, f"Caption: {caption} | {header}", distinct(sentence))


def _asked(text: str, table: Sequence[Sequence[Any]], answer: str, before: str = "") -> Item | str:
    """Text, table and answer in lower case."""
    if not table:
        return "empty table"
    struct = before + linearise.table(table[0], table[1:])
    return Item(text.lower(), struct.lower(), distinct(answer.lower()))


def _listed(path: Path, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """As ``records``, also of one object that holds the list under ``key``."""
    if plain(path.name).endswith(".jsonl"):
        yield from records(path)
        return
    with open_json(path) as text:
        is_object = text.peek() == "{"
    if is_object:
        yield from ((row.number, row.values) for row in listed(path, key, wanted="FeTaQA's file"))
    else:
        yield from records(path)


def _tsv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line, column -> text) of a tab-separated file whose header names at least ``columns``; no quoting."""
    header: list[str] | None = None
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        fields = line.split("\t")
        if header is None:
            header = fields
            if missing := [column for column in columns if column not in header]:
                raise UserError(f"{path}:{number}: no column {missing[0]!r} in the header; fetch it again")
        elif len(fields) != len(header):
            raise UserError(
                f"{path}:{number}: {len(fields)} fields, the header has {len(header)}; fix the row"
            )
        else:
            yield number, dict(zip(header, fields, strict=True))


def _lines(text: str) -> list[str]:
    """Only line feeds, with or without a carriage return, end a line; empty lines are none."""
    return [line for line in (line.removesuffix("\r") for line in text.split("\n")) if line]


def _unescaped(text: str) -> str:
    return re.sub(r"\\[np\\]", lambda match: _ESCAPES[match[0]], text)


def _strings(text: str, place: str) -> list[str]:
    """A list of strings as Python writes it, e.g. ``[u'one', "two"]``.

    Raises:
      UserError: it is none.
    """
    try:
        if _STRING_LIST.fullmatch(text):
            return [ast.literal_eval(literal[0]) for literal in re.finditer(_STRING, text, re.DOTALL)]
    except (SyntaxError, ValueError):  # an escape that Python does not know
        pass
    raise UserError(f"{place}: answer_text {text[:40]!r} is no list of strings; fix the row")
