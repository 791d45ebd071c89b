"""SuperGLUE's official JSONL (version 2.0) in the schema of TensorFlow Datasets (``super_glue/*:1.0.2``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import not_counted
from iml_jax.bench.sources.formats.rows import Row, read_rows
from iml_jax.foundation.errors import UserError

# Folder of the official archive, in lower case -> TFDS's configuration.
CONFIGS = {
    "boolq": "boolq",
    "cb": "cb",
    "copa": "copa",
    "multirc": "multirc",
    "record": "record",
    "rte": "rte",
    "wic": "wic",
    "wsc": "wsc.fixed",
    "ax-b": "axb",
    "ax-g": "axg",
}
# Spans of these two have other words between their parts, so TFDS leaves them as they are.
_SCATTERED = ("Kamenev and Zinoviev", "Kamenev, Zinoviev, and Stalin")


def superglue_rows(path: Path, config: str) -> Iterator[tuple[str, Row]]:
    """(number, row): MultiRC gives one row per answer, ReCoRD one per query, the others one per line.

    Raises:
      UserError: the file is malformed; names the line.
    """
    for line, raw in read_rows(path):
        place = f"{path}:{line}"
        match config:
            case "multirc":
                yield from _multirc(line, raw, place)
            case "record":
                yield from _record(line, raw, place)
            case "wsc.fixed":
                yield str(line), _wsc(raw, place)
            case _:
                yield str(line), raw


def is_labelled(path: Path, config: str) -> bool:
    """Whether the first row of a file has a label: hidden test sets and unlabelled data have none.

    A file that cannot be read counts as labelled: reading it will say what is wrong.
    """
    try:
        with not_counted():
            first = next(superglue_rows(path, config), None)
    except UserError:
        return True
    if first is None:
        return True
    return bool(first[1]["answers"]) if config == "record" else first[1].get("label") is not None


def _get(value: Any, key: str, kind: type, place: str) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise UserError(f"{place}: {key!r} is missing or no {kind.__name__}; is it SuperGLUE's file?")
    return found


def _multirc(line: int, raw: Row, place: str) -> Iterator[tuple[str, Row]]:
    passage = _get(raw, "passage", dict, place)
    paragraph = _get(passage, "text", str, place)
    for index, question in enumerate(_get(passage, "questions", list, place)):
        asked = _get(question, "question", str, place)
        for number, answer in enumerate(_get(question, "answers", list, place)):
            row = {"paragraph": paragraph, "question": asked, "answer": _get(answer, "text", str, place)}
            label = answer.get("label")
            yield f"{line}.{index}.{number}", row | {"label": None if label is None else bool(label)}


def _record(line: int, raw: Row, place: str) -> Iterator[tuple[str, Row]]:
    passage = _get(raw, "passage", dict, place)
    text = _get(passage, "text", str, place)
    entities = {
        text[_get(entity, "start", int, place) : _get(entity, "end", int, place) + 1]  # end is inclusive
        for entity in _get(passage, "entities", list, place)
    }
    for index, query in enumerate(_get(raw, "qas", list, place)):
        answers = query.get("answers") if isinstance(query, dict) else None
        row = {"passage": text, "query": _get(query, "query", str, place), "entities": sorted(entities)}
        texts = {_get(answer, "text", str, place) for answer in answers or ()}
        yield f"{line}.{index}", row | {"answers": sorted(texts)}


def _wsc(raw: Row, place: str) -> Row:
    """A row of ``wsc.fixed``: spans are spelled as they stand in the text, where that is possible."""
    target = _get(raw, "target", dict, place)
    text = _get(raw, "text", str, place)
    row = {"text": text, "label": raw.get("label")}
    for span in ("span1", "span2"):
        words, index = _get(target, f"{span}_text", str, place), _get(target, f"{span}_index", int, place)
        row |= {f"{span}_text": words, f"{span}_index": index}
    for span in ("span1", "span2"):
        words = row[f"{span}_text"]
        if words in text or words in _SCATTERED:
            continue
        if "theyscold" in words:
            row["span2_index"] = 10
        first = text.split()[row[f"{span}_index"] : row[f"{span}_index"] + 1]
        if first and words:
            initial = words[0].lower() if first[0][0].islower() else words[0].upper()
            row[f"{span}_text"] = (initial + words[1:]).rstrip(".").replace("\n", " ")
    return row
