"""Formats whose answer is written: facts and entities, logical forms, rewritten sentences, questions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from iml_jax.bench.sources.base import Item, Outcome
from iml_jax.bench.sources.exmix.formats import (
    NO_LABEL,
    NO_TEXT,
    Reader,
    TaskFiles,
    list_of,
    objects,
    text_of,
)
from iml_jax.bench.sources.formats.bounds import bounded_lines, drop
from iml_jax.bench.sources.formats.rows import read_rows
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_bounded_lines

# StylePTB's codes of single transfers; folders of composed ones spell theirs out.
_TRANSFERS = {
    "TFU": "to future tense",
    "TPA": "to past tense",
    "TPR": "to present tense",
    "ATP": "active to passive voice",
    "PTA": "passive to active voice",
    "PFB": "prepositional phrase from front to back",
    "PBF": "prepositional phrase from back to front",
    "IAD": "addition of information",
    "ARR": "removal of adjectives and adverbs",
    "SBR": "removal of substatements",
    "PPR": "removal of prepositional phrases",
    "AEM": "emphasis on an adjective",
    "VEM": "emphasis on a verb",
    "NSR": "nouns by synonyms",
    "ASR": "adjectives by synonyms",
    "VSR": "verbs by synonyms",
    "NAR": "nouns by antonyms",
    "AAR": "adjectives by antonyms",
    "VAR": "verbs by antonyms",
    "LFS": "words by their least frequent synonyms",
    "MFS": "words by their most frequent synonyms",
}


def _item(source: str, *references: str) -> Item | str:
    kept = tuple(dict.fromkeys(reference for reference in references if reference))
    if not source.strip():
        return NO_TEXT
    return Item(source, kept) if kept else NO_LABEL


def _lama(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """LAMA's T-REx: the first sentence that states a fact, its object masked."""
    del files, split
    for number, row in read_rows(path):
        place = f"{path}:{number}"
        evidences = list_of(row, "evidences", place)
        name = text_of(row, "obj_label", place)
        if not evidences:
            yield str(number), "no evidence sentence"
            continue
        sentence = text_of(evidences[0], "masked_sentence", place)
        surface = text_of(evidences[0], "obj_surface", place)
        yield str(number), _item(sentence, surface, name) if "[MASK]" in sentence else "nothing is masked"


def _kilt(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """KILT: an input, and answers among its outputs (others hold provenance only)."""
    del files, split
    for number, row in read_rows(path):
        place = f"{path}:{number}"
        outputs = [output for _, output in objects(list_of(row, "output", place), path) if "answer" in output]
        answers = [text_of(output, "answer", place) for output in outputs]
        yield str(number), _item(text_of(row, "input", place), *answers)


def _columns(path: Path, wanted: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != wanted:
            raise UserError(f"{path}:{number}: {len(cells)} cells between tabs, not {wanted}; fix the line")
        yield number, cells


def _cogs(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """COGS: sentence, logical form, kind of generalization."""
    del files, split
    for number, (sentence, form, _) in _columns(path, 3):
        yield str(number), _item(sentence, form)


def _pairs(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Question and logical form, as Unimer has GeoQuery, ATIS and Jobs in FunQL."""
    del files, split
    for number, (question, form) in _columns(path, 2):
        yield str(number), _item(question, form)


def _style(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """StylePTB: sentence and rewritten sentence; the folder names the transfer.

    A composed set writes, before the sentence, a number for each of its transfers that says how far it goes.
    """
    del split
    folder = path.parent.name
    if path.parent == files.folder:
        raise UserError(f"{path}: belongs into a folder named after its transfer; move it there")
    transfer = _TRANSFERS.get(folder, folder)
    for number, (sentence, rewritten) in _columns(path, 2):
        yield str(number), _item(f"Transfer: {transfer}\nSentence: {sentence}" if sentence else "", rewritten)


def _shakespeare(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Lines of the plays in modern English, and aligned with them the original ones."""
    del split
    name = path.relative_to(files.folder).as_posix().removesuffix(".gz")
    other = files.needed(name.replace(".modern.", ".original."), path)
    for modern, original in itertools.zip_longest(read_bounded_lines(path), read_bounded_lines(other)):
        if modern is None or original is None:
            short, long = (path, other) if modern is None else (other, path)
            raise UserError(f"{short}: fewer lines than {long}; fetch the matching files")
        if modern[1] is None or original[1] is None:
            drop(path, modern[0])
        else:
            yield str(modern[0]), _item(modern[1].strip(), original[1].strip())


def _quiz(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """NewsQuizQA: the address of a news story, a question, its answer; the stories are not published."""
    del files, split
    for number, row in read_rows(path):
        place = f"{path}:{number}"
        values = {key: "" if value is None else str(value) for key, value in row.items()}
        address, answer = text_of(values, "url", place), text_of(values, "answer", place)
        question = text_of(values, "question", place)
        yield str(number), _item(f"News story: {address}\nAnswer: {answer}", question) if answer else NO_TEXT


def _e2e(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """E2E's CSV of meaning representation and reference; outside training one item a representation."""
    del files
    grouped: dict[str, list[str]] = {}
    for number, row in read_rows(path):
        if not {"mr", "ref"} <= row.keys():
            raise UserError(f"{path}:1: no columns 'mr' and 'ref'; fetch the file again")
        meaning, text = (str(row[name] or "").strip() for name in ("mr", "ref"))
        if split == "train":
            yield str(number), _item(meaning, text)
        else:
            grouped.setdefault(meaning, []).append(text)
    for number, (meaning, texts) in enumerate(grouped.items(), start=1):
        yield str(number), _item(meaning, *texts)


READERS: Mapping[str, Reader] = {
    "lama": _lama,
    "kilt": _kilt,
    "cogs": _cogs,
    "pairs": _pairs,
    "style": _style,
    "shakespeare": _shakespeare,
    "e2e": _e2e,
    "quiz": _quiz,
}
