"""Data-to-text tasks from their own files: DART, WebNLG, E2E and ToTTo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from iml_jax.bench.sources.formats.records import listed
from iml_jax.bench.sources.formats.rows import read_rows
from iml_jax.bench.sources.unifiedskg import linearise
from iml_jax.bench.sources.unifiedskg.files import as_list, as_object, records, required
from iml_jax.bench.sources.unifiedskg.items import Item, Outcome, Request, distinct, targets
from iml_jax.foundation.errors import UserError

NOT_GOOD = "lexicalisation that is not marked as good"
_ATTRIBUTE = re.compile(r"\s*([^,\[\]]+)\[([^\[\]]*)\]\s*(?:,|$)")


def dart(request: Request) -> Iterator[Outcome]:
    """DART: sets of triples with sentences; relations in lower case."""
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        triples = [_triple(entry, place) for entry in required(row, "tripleset", list, place)]
        struct = linearise.triples(
            (subject, relation.lower(), entity) for subject, relation, entity in triples
        )
        texts = [
            required(as_object(each, place), "text", str, place)
            for each in required(row, "annotations", list, place)
        ]
        for suffix, references in targets(request.training, texts):
            yield f"{number}{suffix}", Item("", struct, references)


def web_nlg(request: Request) -> Iterator[Outcome]:
    """WebNLG's JSON release: ``entries`` of modified triple sets with lexicalisations; good English ones.

    UnifiedSKG names the task without building it; the triples are written as DART's, in their own case.
    """
    for wrapped in listed(request.path, "entries", wanted="a WebNLG file"):
        place = f"{request.path}: entry {wrapped.number}"
        for name, content in wrapped.values.items():
            entry = as_object(content, place)
            triples = [
                [
                    required(as_object(each, place), key, str, place)
                    for key in ("subject", "property", "object")
                ]
                for each in required(entry, "modifiedtripleset", list, place)
            ]
            struct = linearise.triples(triples)
            said = [as_object(each, place) for each in required(entry, "lexicalisations", list, place)]
            texts = [required(each, "lex", str, place) for each in said if _good(each)]
            for suffix, references in targets(request.training, texts):
                yield f"{name}{suffix}", Item("", struct, references)
            if request.training:  # every sentence is a row
                for index in range(len(said) - len(texts)):
                    yield f"{name}:not good {index}", NOT_GOOD


def _good(lexicalisation: dict[str, Any]) -> bool:
    return lexicalisation.get("comment", "good") == "good" and lexicalisation.get("lang", "") in ("", "en")


def e2e(request: Request) -> Iterator[Outcome]:
    """E2E's CSV of meaning representation and reference; outside training one item a representation."""
    grouped: dict[str, list[str]] = {}
    for number, row in read_rows(request.path):
        if not {"mr", "ref"} <= row.keys():
            raise UserError(f"{request.path}:1: no columns 'mr' and 'ref'; fetch the file again")
        meaning, text = str(row["mr"] or ""), str(row["ref"] or "")
        struct = _attributes(meaning, f"{request.path}:{number}")
        if request.training:
            yield str(number), Item("", struct, distinct(text))
        else:
            grouped.setdefault(struct, []).append(text)
    for number, (struct, texts) in enumerate(grouped.items(), 1):
        yield str(number), Item("", struct, distinct(*texts))


def _attributes(meaning: str, place: str) -> str:
    """``name : X | food : Y | ``: the bar after the last one too, as UnifiedSKG writes it."""
    attributes: dict[str, str] = {}
    at = 0
    while at < len(meaning.rstrip()):
        match = _ATTRIBUTE.match(meaning, at)
        if not match:
            raise UserError(f"{place}: no attribute[value] at {meaning[at:].strip()[:30]!r}; fix the row")
        attributes[match[1].strip()] = match[2]
        at = match.end()
    return "".join(f"{name} : {value} | " for name, value in attributes.items())


def totto(request: Request) -> Iterator[Outcome]:
    """ToTTo: the highlighted cells of a table with their headers; test rows have no sentence."""
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        page, section = (str(row.get(key) or "") for key in ("table_page_title", "table_section_title"))
        table = [
            [_cell(cell, place) for cell in as_list(cells, place)]
            for cells in required(row, "table", list, place)
        ]
        indices = [_place(entry, place) for entry in required(row, "highlighted_cells", list, place)]
        try:
            struct = linearise.highlighted(table, indices, page, section)
        except IndexError as error:
            raise UserError(f"{place}: a highlighted cell is not in the table; fix the record") from error
        texts = [
            required(as_object(each, place), "final_sentence", str, place)
            for each in as_list(row.get("sentence_annotations") or [], place)
        ]
        yield str(number), Item("", struct, distinct(*texts[: 1 if request.training else None]))


def _triple(entry: Any, place: str) -> list[str]:
    if isinstance(entry, list) and len(entry) == 3 and all(isinstance(part, str) for part in entry):
        return entry
    raise UserError(f"{place}: {entry!r} is no [subject, relation, object]; fix or remove the record")


def _cell(entry: Any, place: str) -> dict[str, Any]:
    cell = {"is_header": False, "column_span": 1, **as_object(entry, place)}
    required(cell, "value", str, place)
    required(cell, "column_span", int, place)
    return cell


def _place(entry: Any, place: str) -> list[int]:
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, int) for part in entry):
        return entry
    raise UserError(f"{place}: {entry!r} is no [row, cell]; fix or remove the record")
