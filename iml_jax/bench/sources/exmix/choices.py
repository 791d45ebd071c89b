"""Formats with answers to choose from: commonsense questions, pronouns, labelled texts."""

from __future__ import annotations

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
    chosen,
    json_objects,
    list_of,
    load_json,
    plain,
    text_of,
)
from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.formats.blocks import read_blocks
from iml_jax.bench.sources.formats.bounds import bounded_lines, drop, is_long, not_counted
from iml_jax.bench.sources.formats.rows import Row, located_rows, read_records, read_rows
from iml_jax.bench.sources.shared_datasets.choice_questions import choice_question
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import parse_json, read_bounded_lines

# The leaderboard sets of Rainbow, by the columns of their choices: the columns shown before these, the index
# of the first label, and the column of the label where it is not in a .lst file.
_SETS: dict[tuple[str, ...], tuple[tuple[str, ...], int, str]] = {
    ("sol1", "sol2"): (("goal",), 0, "label"),  # PIQA
    ("answer0", "answer1", "answer2", "answer3"): (("context", "question"), 0, "label"),  # CosmosQA
    ("answerA", "answerB", "answerC"): (("context", "question"), 1, "label"),  # SocialIQA
    ("hyp1", "hyp2"): (("obs1", "obs2"), 1, "label"),  # abductive NLI
    ("option1", "option2"): (("sentence",), 1, "answer"),  # WinoGrande
    ("endings",): (("activity_label", "ctx"), 0, "label"),  # HellaSwag
}


def _leaderboard(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Rainbow's sets from AI2's leaderboards: JSONL, with one label per line in a .lst file beside it."""
    del split
    stem = path.relative_to(files.folder).as_posix().removesuffix(".gz").removesuffix(".jsonl")
    listed = files.beside(f"{stem}-labels.lst")
    labels = read_bounded_lines(listed) if listed else iter(())
    number = 0
    for number, row in located_rows(path):
        label = next(labels, None)
        if listed and label is None:
            raise UserError(f"{listed}: fewer lines than {path}; fetch the matching files")
        if is_long(row) or (label and label[1] is None):  # after its label was taken
            drop(path, number)
            continue
        yield str(number), _question(row, label[1] if label else None, f"{path}:{number}")
    if listed and any(line is None or line.strip() for _, line in labels):
        raise UserError(f"{path}:{number}: ends before {listed}; fetch the matching files")


def _question(row: Row, label: str | None, place: str) -> Item | str:
    columns = next((columns for columns in _SETS if columns[0] in row), None)
    if columns is None:
        raise UserError(f"{place}: has no choices such as sol1, answer0, answerA, hyp1, option1; fix the row")
    shown, base, column = _SETS[columns]
    if columns == ("endings",):
        choices = [text if isinstance(text, str) else "" for text in list_of(row, "endings", place)]
    else:
        choices = [text_of(row, name, place) for name in columns]
    value: Any = row.get(column) if label is None else label
    if value is None or str(value).strip() == "":
        return chosen(choices, None, ())
    if not re.fullmatch(r"\d{1,3}", str(value).strip()):
        raise UserError(f"{place}: label {str(value)[:40]!r} is no whole number; fix it")
    lines = [f"{name}: {text_of(row, name, place)}" for name in shown if name in row]
    return chosen(choices, int(value) - base, lines)


def _commonsense_qa(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """AI2's JSONL: {question: {stem, choices: [{label, text}]}, answerKey} (CommonsenseQA, QASC, ARC)."""
    del files, split
    for row in read_records(path):
        question = choice_question(row)
        yield str(row.number), chosen(question.options, question.right, [f"Question: {question.stem}"])


def _commonsense_qa_2(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """CommonsenseQA 2.0: one JSON object a line, whatever the ending .json says."""
    del files, split
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        row = parse_json(line, path, number, halves=True)
        question = text_of(row, "question", f"{path}:{number}")
        answer = row.get("answer")
        if not question or answer is None:
            yield str(number), NO_TEXT if not question else NO_LABEL
        elif answer in ("yes", "no"):
            yield str(number), Item(question, (answer,), ("yes", "no"))
        else:
            raise UserError(f"{path}:{number}: answer {str(answer)[:40]!r} is not yes or no; fix the row")


def _pronouns(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Blocks of sentence, pronoun, candidates and answer."""
    del files, split
    for number, block in read_blocks(path):
        pronoun = "" if block.pronoun == "[MASK]" else f"Pronoun: {block.pronoun}"
        if block.label is None:
            yield number, "answer is no candidate"
        else:
            yield number, chosen(block.candidates, block.label, [f"Sentence: {block.sentence}", pronoun])


def _gap(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """GAP's TSV: a text, a pronoun in it, two names, and whether it refers to either."""
    del files, split
    for number, row in read_rows(path):
        place = f"{path}:{number}"
        names = [text_of(row, name, place) for name in "AB"]
        refers = [str(row.get(f"{name}-coref", "")).strip().upper() for name in "AB"]
        if any(value not in ("TRUE", "FALSE") for value in refers):
            raise UserError(f"{place}: A-coref and B-coref must be TRUE or FALSE; fix the row")
        pronoun = f"Pronoun: {text_of(row, 'Pronoun', place)} (character {row.get('Pronoun-offset')})"
        answer = refers.index("TRUE") if "TRUE" in refers else 2
        yield str(number), chosen([*names, "neither"], answer, [text_of(row, "Text", place), pronoun])


def _sentences(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, row in json_objects(path):
        place = f"{path}: element {number}"
        yield number, text_of(row, "sentence", place), text_of(row, "label", place)


def _labels(path: Path) -> tuple[str, ...]:
    return tuple(label for label in load_json(path, list) if isinstance(label, str))


def _labelled(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """O-LoRA's benchmark: a list of {sentence, label}; the labels are in labels.json or those seen.

    MNLI's label "-" marks a pair on which its annotators did not agree.
    """
    del split
    options = side_files.said(files.beside("labels.json"), _labels) or ()
    if not options:
        with not_counted():
            labels = {label for file in files.rows for _, _, label in _sentences(file)}
        options = tuple(sorted(labels - {"", "-"}))
    for number, sentence, label in _sentences(path):
        if label in ("", "-") or not sentence:
            yield str(number), NO_TEXT if not sentence else NO_LABEL
        elif label not in options:
            yield str(number), "label is no choice"
        else:
            yield str(number), chosen(options, options.index(label), [sentence])


_STANCES = {
    "NoArgument": "no argument",
    "Argument_for": "argument for",
    "Argument_against": "argument against",
}


def _arguments(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """UKP's sentential argument mining: one TSV file per topic, whose column "set" has the split."""
    del files
    sets = {"train": "train", "val": "validation", "test": "test"}
    for number, row in located_rows(path):
        place = f"{path}:{number}"
        if is_long(row):
            if sets.get(str(row.get("set")), "train") == split:  # one that is not parsed, once
                drop(path, number)
            continue
        if "sentence" not in row:
            raise UserError(f"{place}: no column 'sentence'; run the corpus's completion-pipeline")
        if sets.get(text_of(row, "set", place)) != split:
            continue
        values = {key: "" if value is None else str(value) for key, value in row.items()}
        sentence, label = text_of(values, "sentence", place), text_of(values, "annotation", place)
        if label not in _STANCES:
            raise UserError(f"{place}: annotation {label[:40]!r} is none of {', '.join(_STANCES)}; fix it")
        body = f"Topic: {text_of(values, 'topic', place)}\nSentence: {sentence}"
        yield str(number), Item(body, (_STANCES[label],), tuple(_STANCES.values())) if sentence else NO_TEXT


def _written_by(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """gpt-2-output-dataset: texts of WebText, written by people, and texts of GPT-2's sizes."""
    del files, split
    author = "human" if plain(path).startswith("webtext.") else "machine"
    for number, row in read_rows(path):
        text = text_of(row, "text", f"{path}:{number}")
        yield str(number), Item(text, (author,), ("human", "machine")) if text else NO_TEXT


# TFDS's names of the labels, and those of the CSV that it is made from.
_TOXICITY = (
    ("toxicity", "toxic", "toxic"),
    ("severe_toxicity", "severe_toxic", "severely toxic"),
    ("obscene", "obscene", "obscene"),
    ("threat", "threat", "threat"),
    ("insult", "insult", "insult"),
    ("identity_attack", "identity_hate", "identity attack"),
)


def _toxicity(files: TaskFiles, path: Path, split: str) -> Iterator[Outcome]:
    """Wikipedia toxicity subtypes: a comment with six labels, as TFDS or as the CSV it is made from."""
    del files, split
    for number, row in read_rows(path):
        yield str(number), toxicity_item(row, f"{path}:{number}")


def toxicity_item(row: Row, place: str) -> Item | str:
    """A row of wikipedia_toxicity_subtypes, in TFDS's schema or that of its CSV files.

    Raises:
      UserError: it has another schema; ``place`` says where.
    """
    text = text_of(row, "text" if "text" in row else "comment_text", place)
    found = []
    for column, in_csv, word in _TOXICITY:
        value = row.get(column, row.get(in_csv))
        if value in (-1, "-1"):
            return NO_LABEL  # Kaggle's rows that were not used for scoring
        if value not in (0, 1, "0", "1"):
            raise UserError(f"{place}: label {column!r} is missing or not 0 or 1; fix the row")
        found += [word] * int(value)
    return Item(text, (", ".join(found) or "none",)) if text else NO_TEXT


READERS: Mapping[str, Reader] = {
    "leaderboard": _leaderboard,
    "commonsense_qa": _commonsense_qa,
    "commonsense_qa_2": _commonsense_qa_2,
    "pronouns": _pronouns,
    "gap": _gap,
    "labelled": _labelled,
    "arguments": _arguments,
    "written_by": _written_by,
    "toxicity": _toxicity,
}
