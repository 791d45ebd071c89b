"""Formats of dialogue understanding: intents, slots, dialogue acts (DialoGLUE, ATIS, MIT Movies, SGD)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.base import Item, Outcome
from iml_jax.bench.sources.exmix.formats import (
    NO_LABEL,
    NO_TEXT,
    Reader,
    TaskFiles,
    json_objects,
    list_of,
    load_json,
    objects,
    plain,
    slots_text,
    spans_of,
    text_of,
)
from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.formats.bounds import Block, bounded_lines, drop
from iml_jax.bench.sources.formats.rows import read_rows
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_bounded_lines, read_lines

_INTENT = re.compile(r"\[IN:\w+")
_CODE = re.compile(r"[0-9]{1,9}")


def _intent_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, row in read_rows(path):
        place = f"{path}:{number}"
        values = {key: "" if value is None else str(value) for key, value in row.items()}
        yield number, text_of(values, "text", place), text_of(values, "category", place)


def _intents(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Banking77, HWU64: CSV with text and category; the intents are in categories.json or those seen."""
    del split
    options = side_files.said(files.beside("categories.json"), _categories) or ()
    if not options:
        seen = {intent for file in files.rows for _, _, intent in _intent_rows(file)}
        options = tuple(sorted(seen - {""}))
    for number, text, intent in _intent_rows(path):
        yield str(number), _classified(text, intent, options)


def _categories(path: Path) -> tuple[str, ...]:
    names = load_json(path, list)
    options = tuple(name for name in names if isinstance(name, str))
    if not options or len(options) != len(names):
        raise UserError(f"{path}: must be a list of intent names; fix it")
    return options


def _classified(text: str, label: str, options: tuple[str, ...]) -> Item | str:
    if not text:
        return NO_TEXT
    if not label:
        return NO_LABEL
    return Item(text, (label,), options) if label in options else "label is no choice"


def _domains(path: Path) -> dict[str, None]:
    """The intents of CLINC150's domains, in the order of the file."""
    domains = load_json(path, dict)
    if not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in domains.values()
    ):
        raise UserError(f"{path}: must map a domain to a list of intents; fix it")
    return dict.fromkeys(itertools.chain(*domains.values()))


_CLINC_SPLITS = {
    name: split for split, word in (("train", "train"), ("validation", "val"), ("test", "test"))
    for name in (word, f"oos_{word}")
}  # fmt: skip


def _clinc(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """CLINC150: {split: [[text, intent], ...]}; the intents are in domains.json or those seen."""
    content = load_json(path, dict)
    for name, rows in content.items():
        pairs = isinstance(rows, list) and all(
            isinstance(row, list) and len(row) == 2 and all(isinstance(cell, str) for cell in row)
            for row in rows
        )
        if name not in _CLINC_SPLITS or not pairs:
            known = ", ".join(_CLINC_SPLITS)
            raise UserError(f"{path}: {name!r} must be one of {known}, a list of [text, intent]; fix it")
    seen = {intent for rows in content.values() for _, intent in rows}
    named = side_files.said(files.beside("domains.json"), _domains) or {}
    options = (*named, *sorted(seen - named.keys()))  # "oos" is of no domain
    for name, rows in content.items():
        if _CLINC_SPLITS[name] == split:
            for number, (text, intent) in enumerate(rows, 1):
                yield f"{name}:{number}", _classified(text.strip(), intent, options)


def _spans(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """DSTC8 and Restaurant-8k: an utterance, the slots asked for, and spans; a missing start index is 0."""
    del files, split
    for number, row in json_objects(path):
        place = f"{path}: element {number}"
        # Spans count characters of the text as it is: it must not be stripped.
        said = row.get("userInput")
        text = said.get("text") if isinstance(said, dict) else None
        if not isinstance(text, str):
            raise UserError(f"{place}: 'userInput' has no 'text'; fix it")
        asked = list_of(row.get("context") or {}, "requestedSlots", place)
        if not all(isinstance(slot, str) for slot in asked):
            raise UserError(f"{place}: 'requestedSlots' must be texts; fix it")
        values = _values(text, list_of(row, "labels", place), place)
        if isinstance(values, str) or not text.strip():
            yield str(number), values if isinstance(values, str) else NO_TEXT
            continue
        lines = [f"Requested slots: {', '.join(asked)}"] if asked else []
        yield str(number), Item("\n".join([*lines, f"Message: {text.strip()}"]), (slots_text(values),))


def _values(text: str, labels: list[Any], place: str) -> list[tuple[str, str]] | str:
    """(slot, value) in the order of the text, or why a label cannot be used."""
    found = []
    for label in labels:
        slot = text_of(label, "slot", place)
        span = label.get("valueSpan")
        start, end = (
            (span.get("startIndex", 0), span.get("endIndex")) if isinstance(span, dict) else (0, None)
        )
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
            return "span outside the text"
        found.append((start, slot, text[start:end].strip()))
    return [(slot, value) for _, slot, value in sorted(found)]


def _tagged(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """``word:TAG word:TAG <=> INTENT`` a line (MIT Movies, TOP), or MIT's ``TAG<tab>word`` blocks (.bio)."""
    del files, split
    if plain(path).endswith(".bio"):
        yield from _bio(path)
        return
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        words, _, intent = line.partition(" <=> ")
        pairs = [word.rpartition(":") for word in words.split()]
        tokens, tags = [token for token, _, _ in pairs], [tag for _, _, tag in pairs]
        if not pairs or not all(re.fullmatch(r"O|[BI]-\S+", tag) for tag in tags):
            raise UserError(f"{path}:{number}: not word:TAG with tags O, B-TYPE or I-TYPE; fix the line")
        target = slots_text(spans_of(tokens, tags))
        if intent.strip() not in ("", "<NULL>"):
            target = f"intent: {intent.strip()}" + ("" if target == "none" else f"; {target}")
        yield str(number), Item(" ".join(tokens), (target,))


def _bio(path: Path) -> Iterator[Outcome]:
    block: list[tuple[str, str]] = []
    start = 1
    sentence = Block(path)
    for number, line in itertools.chain(read_bounded_lines(path), [(0, "")]):
        if line is None:
            sentence.takes(number, line)
        elif line.strip():
            tag, tab, token = line.partition("\t")
            if not tab or not re.fullmatch(r"O|[BI]-\S+", tag):
                raise UserError(f"{path}:{number}: not TAG, tab, word; fix the line")
            start = start if block else number
            if sentence.takes(number, line):
                block.append((token.strip(), tag))
            else:
                block.clear()
        elif sentence.ends() and block:
            tokens, tags = zip(*block, strict=True)
            yield str(start), Item(" ".join(tokens), (slots_text(spans_of(tokens, tags)),))
            block = []
        else:
            block = []


def _top(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """TOP: utterance, tokens, tree between tabs (.tsv), or DialoGLUE's flat form of it (.txt)."""
    if plain(path).endswith(".txt"):
        yield from _tagged(files, path, split)
        return
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != 3 or not _INTENT.match(cells[2].strip()):
            raise UserError(
                f"{path}:{number}: not utterance, tokens and [IN: tree between tabs; fix the line"
            )
        yield str(number), Item(cells[1].strip(), (cells[2].strip(),)) if cells[1].strip() else NO_TEXT


def _services(files: TaskFiles, path: Path) -> dict[str, str]:
    """Service -> description, from the schema beside the dialogues, where there is one."""
    folder = path.parent.relative_to(files.folder).as_posix()
    return side_files.said(files.beside(f"{folder}/schema.json"), _descriptions) or {}


def _descriptions(schema: Path) -> dict[str, str]:
    place = str(schema)
    return {
        text_of(service, "service_name", place): text_of(service, "description", place)
        for _, service in objects(load_json(schema, list), schema)
    }


def _sgd(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Schema-guided dialogue as in GEM: from the system's dialogue acts, and the user's words, to its own."""
    del split
    services = _services(files, path)
    for number, dialogue in json_objects(path):
        place = f"{path}: dialogue {number}"
        said = ""
        for index, turn in objects(list_of(dialogue, "turns", place), path):
            utterance = text_of(turn, "utterance", place)
            if turn.get("speaker") == "SYSTEM":
                yield f"{number}.{index}", _answer(turn, said, utterance, services, place)
            said = utterance


def _answer(
    turn: dict[str, Any], said: str, utterance: str, services: dict[str, str], place: str
) -> Item | str:
    lines = []
    for frame in list_of(turn, "frames", place):
        service = text_of(frame, "service", place)
        acts = [_act(action, place) for action in list_of(frame, "actions", place)]
        described = f" ({services[service]})" if services.get(service) else ""
        lines += [f"Service: {service}{described}"]
        lines += [f"Acts: {'; '.join(acts)}"] if acts else []
    if not any(line.startswith("Acts: ") for line in lines):
        return "turn without dialogue acts"
    if not utterance:
        return NO_TEXT
    return Item("\n".join([*lines, *([f"User: {said}"] if said else [])]), (utterance,))


def _act(action: Any, place: str) -> str:
    act, slot = text_of(action, "act", place), text_of(action, "slot", place)
    values = " or ".join(str(value) for value in list_of(action, "values", place))
    return f"{act} {slot} = {values}" if slot and values else " ".join(filter(None, (act, slot)))


def _vocabulary(files: TaskFiles, path: Path, kind: str) -> list[str]:
    listed = files.needed(f"atis.dict.{kind}.csv", path)
    return [line.strip() for _, line in read_lines(listed)]


def _coded(path: Path, names: list[str]) -> Iterator[tuple[int, list[str] | None]]:
    for number, line in read_bounded_lines(path):
        if line is None:
            yield number, None
            continue
        codes = line.split()
        if not all(_CODE.fullmatch(code) and int(code) < len(names) for code in codes):
            raise UserError(f"{path}:{number}: an index that the vocabulary of {len(names)} has not; fix it")
        yield number, [names[int(code)] for code in codes]


def _atis_rows(files: TaskFiles, path: Path, kind: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line, words without BOS and EOS, labels of the same line)."""
    answers = files.needed(plain(path).replace(".query.", f".{kind}."), path)
    rows = _coded(path, _vocabulary(files, path, "vocab"))
    labels = _coded(answers, _vocabulary(files, path, kind))
    for row, label in itertools.zip_longest(rows, labels):
        if row is None or label is None:
            short, long = (path, answers) if row is None else (answers, path)
            raise UserError(f"{short}: fewer lines than {long}; fetch the matching files")
        if row[1] is None or label[1] is None:
            drop(path, row[0])
        else:
            yield row[0], row[1], label[1]


def _atis_intents(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """ATIS as word and intent indices; several intents are joined by "+"."""
    del split
    options = tuple(dict.fromkeys(filter(None, _vocabulary(files, path, "intent"))))
    for number, words, labels in _atis_rows(files, path, "intent"):
        text = " ".join(word for word in words if word not in ("BOS", "EOS"))
        yield str(number), _classified(text, labels[0] if labels else "", options)


def _atis_slots(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """ATIS as word and slot tag indices."""
    del split
    for number, words, tags in _atis_rows(files, path, "slots"):
        if len(words) != len(tags):
            raise UserError(f"{path}:{number}: {len(words)} words and {len(tags)} slot tags; fix the row")
        kept = [(word, tag) for word, tag in zip(words, tags, strict=True) if word not in ("BOS", "EOS")]
        if not kept:
            yield str(number), NO_TEXT
            continue
        tokens, kinds = zip(*kept, strict=True)
        yield str(number), Item(" ".join(tokens), (slots_text(spans_of(tokens, kinds)),))


READERS: Mapping[str, Reader] = {
    "intents": _intents,
    "clinc": _clinc,
    "spans": _spans,
    "tagged": _tagged,
    "top": _top,
    "sgd": _sgd,
    "atis_intents": _atis_intents,
    "atis_slots": _atis_slots,
}
