"""Dialogue and semantic parsing tasks from their own files: KVRET, MTOP and WebQSP."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.formats.bounds import bounded_lines, not_counted
from iml_jax.bench.sources.unifiedskg import linearise
from iml_jax.bench.sources.unifiedskg.files import as_object, plain, records, required, side_named
from iml_jax.bench.sources.unifiedskg.items import Item, Outcome, Request, distinct
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import parse_json, read_text

_SPEAKERS = ("driver", "assistant")
_MTOP_FIELDS = 8  # id, intent, slots, utterance, domain, locale, parse, tokens


def kvret(request: Request) -> Iterator[Outcome]:
    """KVRET: every answer of the assistant after the turns before it, over the scenario's table.

    Where kvret_entities.json is there, the spaces inside the entities' names become underscores.
    """
    entities = _entities(side_named(request.files, "kvret_entities.json"))
    for number, row in records(request.path):
        place = f"{request.path}: dialogue {number}"
        header, rows = _knowledge(required(row, "scenario", dict, place), place)
        struct = linearise.table(header, rows).lower()
        said: dict[str, list[str]] = {speaker: [] for speaker in _SPEAKERS}
        for turn in required(row, "dialogue", list, place):
            speaker, utterance = _turn(turn, place)
            for name, joined in entities.items():
                utterance = utterance.replace(name, joined)
            said[speaker].append(utterance.strip())
        history: list[str] = []
        for turn, (asked, answered) in enumerate(
            zip(*(said[speaker] for speaker in _SPEAKERS), strict=False)
        ):
            history.append(asked)
            text = linearise.conversation(history, always=True).lower()
            yield f"{number}:{turn}", Item(text, struct, distinct(answered.lower()))
            history.append(answered)


def _knowledge(scenario: Mapping[str, Any], place: str) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the table; a scenario without items has an empty one."""
    knowledge = required(scenario, "kb", dict, place)
    header = required(knowledge, "column_names", list, place)
    items = [] if knowledge.get("items") is None else required(knowledge, "items", list, place)
    if not all(isinstance(name, str) for name in header):
        raise UserError(f"{place}: 'column_names' must be a list of strings; fix or remove the record")
    return header, [[as_object(entry, place).get(name) for name in header] for entry in items]


def _turn(turn: Any, place: str) -> tuple[str, str]:
    speaker = required(as_object(turn, place), "turn", str, place)
    if speaker not in _SPEAKERS:
        raise UserError(f"{place}: turn of {speaker!r}, who is neither driver nor assistant; fix it")
    return speaker, required(required(turn, "data", dict, place), "utterance", str, place)


def _entities(paths: Sequence[Path]) -> dict[str, str]:
    """Name -> the name in one word, in the order of the file."""
    joined: dict[str, str] = {}
    for path in paths:
        for names in (side_files.said(path, _kinds) or {}).values():
            for entry in names:
                points = (
                    [entry.get(key) for key in ("address", "poi", "type")]
                    if isinstance(entry, dict)
                    else [entry]
                )
                joined.update((str(name), str(name).replace(" ", "_")) for name in points if name is not None)
    return {name: word for name, word in joined.items() if name}


def _kinds(path: Path) -> dict[str, list[Any]]:
    """Kind of entity -> its entities, as kvret_entities.json has them."""
    content = parse_json(read_text(path), path, halves=True)
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise UserError(f"{path}: expected kind of entity -> list of entities; fetch it again")
    return content


def mtop(request: Request) -> Iterator[Outcome]:
    """MTOP: TSV without a header; the structure lists the intents of all its files.

    UnifiedSKG's list is a constant; here the intents come in the order in which the files name them first.
    """
    with not_counted():
        structure = _intents([path for path in request.files if plain(path.name).endswith(".txt")])
    for number, fields in _mtop_rows(request.path):
        place = f"{request.path}:{number}"
        tokens = required(
            as_object(parse_json(fields[7], request.path, number, halves=True), place), "tokens", list, place
        )
        yield str(number), Item(" ".join(map(str, tokens)), structure, distinct(fields[6]))


def _intents(paths: Sequence[Path]) -> str:
    """``IN:GET: MESSAGE, WEATHER | IN:SEND: MESSAGE``: what follows each verb."""
    verbs: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for path in paths:
        for _, fields in _mtop_rows(path):
            verb, _, rest = fields[1].partition("_")
            verbs[verb][rest] = None
    return " | ".join(f"{verb}: {', '.join(rest)}" for verb, rest in verbs.items())


def _mtop_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in bounded_lines(path):
        if line.strip():
            fields = line.split("\t")
            if len(fields) != _MTOP_FIELDS:
                raise UserError(
                    f"{path}:{number}: {len(fields)} fields, MTOP has {_MTOP_FIELDS}; fix the row"
                )
            yield number, fields


def webqsp(request: Request) -> Iterator[Outcome]:
    """WebQSP with retrieved triples (nlp.stanford.edu/projects/kgqa): entities, then triples."""
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        question, expression = (required(row, key, str, place) for key in ("question", "s_expression"))
        entities = " ".join(": ".join(pair) for pair in _pairs(row, "entities", place)).strip()
        triples = " | ".join(" ".join(triple) for triple in _pairs(row, "kg_tuples", place)).strip()
        yield str(number), Item(question.strip(), f"{entities} | {triples}", distinct(expression))


def _pairs(row: Mapping[str, Any], key: str, place: str) -> list[list[str]]:
    entries = required(row, key, list, place)
    if not all(isinstance(entry, list) and all(isinstance(part, str) for part in entry) for entry in entries):
        raise UserError(f"{place}: {key!r} must be a list of lists of strings; fix or remove the record")
    return entries
