"""A row above the bound in a file of every format is counted, and those around it stay as they are."""

# files stand here as they are

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import Source
from iml_jax.bench.sources.corpora.source import Dialogue, PretrainingText
from iml_jax.bench.sources.crossfit.source import CrossFit
from iml_jax.bench.sources.exmix.source import ExMix
from iml_jax.bench.sources.formats import separated
from iml_jax.bench.sources.formats.bounds import LONG_ROW, ROW_CHARACTERS
from iml_jax.bench.sources.promptsource.p3 import P3
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.sources.suites.bbh import BigBenchHard
from iml_jax.bench.sources.suites.bigbench import BigBench
from iml_jax.bench.sources.suites.mmlu import Mmlu
from iml_jax.bench.sources.suites.raft import Raft
from iml_jax.bench.sources.t5.source import T5
from iml_jax.bench.sources.unifiedskg.source import UnifiedSKG

MARK = "middle"
LONG = f"{MARK} " * (ROW_CHARACTERS // len(MARK) + 1)
LIMIT = 1 << 16
Files = Mapping[str, Callable[[str], str]]


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def tagged(text: str, tag: str = "/NN", between: str = " ") -> str:
    return between.join(f"{word}{tag}" for word in text.split())


def turns(text: str) -> dict[str, object]:
    """A dialogue of SGD."""
    acts = [{"act": "REQUEST", "slot": "city", "values": ["Oslo"]}]
    answer = {"speaker": "SYSTEM", "utterance": "Where?", "frames": [{"service": "Eat_1", "actions": acts}]}
    return {"dialogue_id": text[:9], "turns": [{"speaker": "USER", "utterance": text, "frames": []}, answer]}


def fetaqa(text: str) -> dict[str, object]:
    titles = {"table_page_title": "P", "table_section_title": "S", "table_array": [["A"], ["1"]]}
    return {"question": text, "answer": "Ann.", **titles}


def webnlg(text: str) -> dict[str, object]:
    triple = {"subject": "A", "property": "isOf", "object": "C"}
    return {text[:9]: {"modifiedtripleset": [triple], "lexicalisations": [{"comment": "good", "lex": text}]}}


def coqa(text: str) -> dict[str, object]:
    answers = [{"input_text": "white", "span_text": "was white", "span_start": 4, "turn_id": 1}]
    return {
        "id": text[:9],
        "story": text,
        "questions": [{"input_text": "What?", "turn_id": 1}],
        "answers": answers,
    }


def restaurant(text: str) -> dict[str, object]:
    return {"userInput": {"text": text}, "labels": []}


# Name -> the source, and its files with a row (line, sentence, document) for the text in the middle.
FORMATS: dict[str, tuple[Callable[[str], Source], Files]] = {
    "P3": (
        P3,
        {
            f"dream_{name}.jsonl": lambda text, name=name: lines(
                *(
                    json.dumps({"inputs": row, "targets": "t"})
                    for row in ("a", text if name == "a" else "x", "b")
                )
            )
            for name in ("a", "b")
        },
    ),
    "CrossFit, JSONL": (
        CrossFit,
        {
            "glue-sst2_16_21_train.jsonl": lambda text: lines(
                *(
                    json.dumps({"input": row, "output": "good", "options": ["good", "bad"]})
                    for row in ("a", text, "b")
                )
            )
        },
    ),
    "CrossFit, TSV": (
        CrossFit,
        {"boolq_16_13_train.tsv": lambda text: lines("a\tyes", f"{text}\tyes", "b\tno")},
    ),
    "sentences": (T5, {"sst/stsa.binary.train": lambda text: lines("1 a", f"0 {text}", "1 b")}),
    "parallel": (
        T5,
        {
            "multi/val.en": lambda text: lines("a", "x", "b"),
            "multi/val.de": lambda text: lines("eins", text, "drei"),
        },
    ),
    "blocks": (
        T5,
        {
            "dpr/train.c.txt": lambda text: "\n".join(
                lines(f"Ann hit Bo as he {row}.", "he", "Ann,Bo", "Bo") for row in ("a", text, "b")
            )
        },
    ),
    "CSV": (T5, {"more/xsum_train.csv": lambda text: lines("document,summary", "a,s", f'"{text}",s', "b,s")}),
    "CSV over lines": (
        T5,
        {
            "more/xsum_train.csv": lambda text: lines(
                "document,summary", "a,s", f'"{tagged(text, "", chr(10))}, ""x""",s', "b,s"
            )
        },
    ),
    "columns": (ExMix, {"cogs/train.tsv": lambda text: lines("a\tf\tk", f"{text}\tf\tk", "b\tf\tk")}),
    "TSV": (
        ExMix,
        {
            "ukp/cloning.tsv": lambda text: lines(
                "topic\tsentence\tannotation\tset",
                *(f"cloning\t{row}\tNoArgument\ttrain" for row in ("a", text, "b")),
            )
        },
    ),
    "aligned lines": (
        ExMix,
        {
            "shakespeare/train.modern.nltktok": lambda text: lines("a", text, "b"),
            "shakespeare/train.original.nltktok": lambda text: lines("one", "two", "three"),
        },
    ),
    "tagged words": (
        ExMix,
        {"mit_movies/train.txt": lambda text: lines(*(tagged(row, ":O") for row in ("a", text, "b")))},
    ),
    "tagged lines": (
        ExMix,
        {
            "mit_movies/engtrain.bio": lambda text: "\n".join(
                lines(*(f"O\t{word}" for word in row.split())) for row in ("a", text, "b")
            )
        },
    ),
    "trees": (
        ExMix,
        {"top/train.tsv": lambda text: lines(*(f"u\t{row}\t[IN:GET {row} ]" for row in ("a", text, "b")))},
    ),
    "labels beside the rows": (
        ExMix,
        {
            "piqa/train.jsonl": lambda text: lines(
                *(json.dumps({"goal": row, "sol1": "no", "sol2": "yes"}) for row in ("a", text, "b"))
            ),
            "piqa/train-labels.lst": lambda text: lines("0", "0", "1"),
        },
    ),
    "objects in .json": (
        ExMix,
        {
            "csqa2/CSQA2_train.json": lambda text: lines(
                *(json.dumps({"question": row, "answer": "yes"}) for row in ("a", text, "b"))
            )
        },
    ),
    "a JSON list": (
        ExMix,
        {"restaurant8k/test.json": lambda text: json.dumps(list(map(restaurant, ("a", text, "b"))))},
    ),
    "dialogues in a JSON list": (
        ExMix,
        {"sgd/train/dialogues_001.json": lambda text: json.dumps(list(map(turns, ("a", text, "b"))))},
    ),
    "question, answer, rationale": (
        Reasoning,
        {"own_train.tsv": lambda text: lines("a\t1\tx", f"{text}\t2\ty", "b\t3\tz")},
    ),
    "a list under a key": (
        Reasoning,
        {"coqa-dev-v1.0.json": lambda text: json.dumps({"data": list(map(coqa, ("a", text, "b")))})},
    ),
    "examples": (
        Reasoning,
        {
            "zero_shot_cot/coin_flip.json": lambda text: json.dumps(
                {"examples": [{"question": row, "answer": "no"} for row in ("a", text, "b")]}
            )
        },
    ),
    "CSV with columns": (
        Reasoning,
        {
            "comve/train.csv": lambda text: lines(
                "Correct Statement,Incorrect Statement,Right Reason1", "a,x,y", f"{text},x,y", "b,x,y"
            )
        },
    ),
    "XML": (
        Reasoning,
        {
            "ASDiv.xml": lambda text: (
                "<ML>"
                + "".join(
                    f'<Problem ID="{number}"><Body>{row}</Body><Question>q</Question><Answer>9 (cm)</Answer>'
                    "<Formula>7+2=9</Formula></Problem>"
                    for number, row in enumerate(("a", text, "b"))
                )
                + "</ML>"
            )
        },
    ),
    "FeTaQA": (
        UnifiedSKG,
        {
            "fetaqa/fetaQA-v1_train.json": lambda text: json.dumps(
                {"data": list(map(fetaqa, ("a", text, "b")))}
            )
        },
    ),
    "WebNLG": (
        UnifiedSKG,
        {
            "webnlg/train.json": lambda text: json.dumps(
                {"entries": list(map(webnlg, ("one", text, "three")))}
            )
        },
    ),
    "TabFact": (
        UnifiedSKG,
        {
            "tab_fact/tokenized_data/train_examples.json": lambda text: json.dumps(
                {f"{n}.csv": [[row], [1], "c"] for n, row in enumerate(("a", text, "b"))}
            ),
            **{f"tab_fact/all_csv/{n}.csv": lambda text: "Who#Rank\nAnn#1\n" for n in range(3)},
        },
    ),
    "RAFT, read twice": (
        Raft,
        {
            "own/task.json": lambda text: json.dumps(
                {"name": "own", "data_columns": ["Tweet"], "label_columns": {"Label": ["n", "y"]}}
            ),
            "own/train.csv": lambda text: lines("ID,Tweet,Label", "0,a,y"),
            "own/test.csv": lambda text: lines("ID,Tweet,Label", "0,a,y", f"1,{text},n", "2,b,n"),
        },
    ),
    "MMLU": (
        Mmlu,
        {
            "test/virology_test.csv": lambda text: lines(
                "Who?,a,b,c,d,B", f"{text},a,b,c,d,B", "So?,a,b,c,d,A"
            )
        },
    ),
    "BBH": (
        BigBenchHard,
        {
            "bbh/own.json": lambda text: json.dumps(
                {"examples": [{"input": row, "target": "(B)"} for row in ("a", text, "b")]}
            )
        },
    ),
    "BIG-bench": (
        BigBench,
        {
            "own/task.json": lambda text: json.dumps(
                {
                    "name": "own",
                    "description": "d",
                    "keywords": ["logic"],
                    "metrics": ["multiple_choice_grade"],
                    "examples": [
                        {"input": row, "target_scores": {"a": 1, "b": 0}} for row in ("a", text, "b")
                    ],
                    "preferred_score": "multiple_choice_grade",
                }
            )
        },
    ),
}
OVER_LINES = ("CSV over lines", "tagged lines")
# Of documents and dialogues, which are cut into examples: what a reader may hold at most.
CUT: dict[str, tuple[Callable[[str], Source], Files]] = {
    "a text": (PretrainingText, {"book.txt": lambda text: lines("a", "", text, "", "b")}),
    "numbered turns": (
        Dialogue,
        {
            "babi/dialog-babi-task1trn.txt": lambda text: "\n".join(
                lines(*(f"{number} {word}\tb" for number, word in enumerate(row.split(), 1)))
                for row in ("a", text, "c")
            )
        },
    ),
    "ParlAI's turns": (
        Dialogue,
        {
            "light/speech_train.txt": lambda text: lines(
                *(
                    f"text:{word}\tlabels:b" + ("\tepisode_done:True" if last else "")
                    for row in ("a", text, "c")
                    for words in [row.split()]
                    for word, last in [*((word, False) for word in words), ("x", True)]
                )
            )
        },
    ),
    "calls": (
        Dialogue,
        {
            "calls/switchboard/tagged": lambda text: "\n".join(
                lines(f"A.1: {tagged(row)}", "B.2: so/RB") for row in ("a", text, "c")
            )
        },
    ),
    "a scene": (
        Dialogue,
        {
            "meld/train_sent_emo.csv": lambda text: lines(
                "Utterance,Dialogue_ID",
                *(f"{word},{number}" for number, row in enumerate(("a", text, "c")) for word in row.split()),
            )
        },
    ),
}


def read(
    made: tuple[Callable[[str], Source], Files], folder: Path, text: str
) -> tuple[list[Example], dict[str, int]]:
    source, files = made
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content(text))
    skipped: collections.Counter[str] = collections.Counter()
    reader = source(str(folder))
    found = [
        example
        for task in reader.tasks()
        for split in task.splits
        for example in reader.examples(task, split, skipped)
    ]
    return found, dict(skipped)


def is_middle(example: Example) -> bool:
    return MARK in example.source or any(MARK in text for text in example.references)


def lower_limits(patch: pytest.MonkeyPatch) -> None:
    """What a reader holds of a row at most."""
    patch.setattr("iml_jax.storage.json_stream.LINE_LIMIT", LIMIT)
    patch.setattr("iml_jax.storage.reading.read_bounded_lines.__defaults__", (LIMIT,))
    for module in ("bounds", "xml_records"):
        patch.setattr(f"iml_jax.bench.sources.formats.{module}.LINE_LIMIT", LIMIT)
    patch.setitem(separated.csv_lines.__kwdefaults__, "limit", LIMIT)


@pytest.mark.parametrize("lowered", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_long_row(name: str, lowered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``lowered``: the reader may not even hold the row."""
    whole, before = read(FORMATS[name], tmp_path, f"{MARK} short")
    kept = [example for example in whole if not is_middle(example)]
    assert len(kept) >= 2 and len(kept) < len(whole)
    if lowered:
        lower_limits(monkeypatch)
    found, skipped = read(FORMATS[name], tmp_path, LONG)
    if name in OVER_LINES:  # the line of the last row has moved
        found, kept = ([dataclasses.replace(each, example_id="") for each in some] for some in (found, kept))
    assert found == kept
    assert skipped == {**before, LONG_ROW: 1}


def test_rows_of_other_splits_that_are_looked_at_are_not_counted(tmp_path: Path) -> None:
    """Whether SuperGLUE's files have labels is looked up whenever one of them is read."""
    row = {"question": "q", "premise": "p", "choice1": "a", "choice2": "b", "label": 0, "idx": 0}
    for name, premises in (("train", ("p",)), ("val", (LONG, "p"))):
        path = tmp_path / f"SuperGLUE/COPA/{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            lines(*(json.dumps(row | {"question": "cause", "premise": text}) for text in premises))
        )
    source = T5(str(tmp_path))
    (task,) = source.tasks()
    told = {}
    for split in task.splits:
        skipped: collections.Counter[str] = collections.Counter()
        assert len(list(source.examples(task, split, skipped))) == 1
        told[split] = dict(skipped)
    assert told == {"train": {}, "validation": {LONG_ROW: 1}}


@pytest.mark.parametrize("name", CUT)
def test_a_long_document(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, before = read(CUT[name], tmp_path, f"{MARK} short")
    kept = [example for example in whole if not is_middle(example)]
    assert (len(kept) == 2 and len(whole) == 3) or name == "a text"
    lower_limits(monkeypatch)
    found, skipped = read(CUT[name], tmp_path, f"{MARK} " * (LIMIT // 2))
    assert skipped == {**before, LONG_ROW: 1}
    texts = [example.references[0] for example in found]
    assert texts == (["a\n\n\n\nb"] if name == "a text" else [example.references[0] for example in kept])
