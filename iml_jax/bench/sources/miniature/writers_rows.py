"""Writes the miniature's tasks of CrossFit, FLAN, ExMix, T5 and UnifiedSKG in their formats."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.miniature.makers import Fields, Sizes, Spec, choices_of, rows_of
from iml_jax.bench.sources.miniature.writers_prompts import encoded, json_bytes

SEEDS = (100, 13, 21)  # CrossFit's first three
_SHOTS = 16
_DEVELOPMENT = 4  # rows of a dev file
_LISTED = 8  # most options that a prompt of the collection lists
_FLAN_CUT = 200  # rows that FLAN sets aside from the end of a training split; a third of a small one


def crossfit(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """Few-shot files of several seeds for each task, a table of instructions, and a partition of the tasks.

    As in CrossFit, the test files of all seeds are alike. Each training row is in the file of one seed.
    """
    files: dict[str, bytes] = {}
    table = ["task\ttype\tchoices\tinstruction"]
    for spec in specs:
        kind = "classification" if spec.closed else "text_to_text"
        table.append(f"{spec.name}\t{kind}\t\t{spec.text[0]}")
        held, trained = rows_of(spec, sizes, _DEVELOPMENT * len(SEEDS))
        for number, seed in enumerate(SEEDS):
            dev, train = trained[: _DEVELOPMENT * len(SEEDS)], trained[_DEVELOPMENT * len(SEEDS) :]
            for split, rows in (("train", train), ("dev", dev)):
                if drawn := rows[number :: len(SEEDS)]:
                    files |= _few_shot(spec.name, seed, split, drawn)
            files |= _few_shot(spec.name, seed, "test", held)
    partition = {
        "train": [spec.name for spec in specs if not spec.evaluation],
        "dev": [],
        "test": [spec.name for spec in specs if spec.evaluation],
    }
    files["instructions.tsv"] = ("\n".join(table) + "\n").encode()
    return files | {"partition.json": json_bytes(partition)}


def _few_shot(task: str, seed: int, split: str, rows: Sequence[Fields]) -> dict[str, bytes]:
    lines = "".join(f"{row['input']}\t{row['output']}\n" for row in rows)
    return {f"data/{task}/{task}_{_SHOTS}_{seed}_{split}.tsv": lines.encode()}


@dataclasses.dataclass(frozen=True)
class _FlanRows:
    """Rows of a dataset of FLAN's.

    Attributes:
      dataset: its name under TFDS.
      held: the published split that FLAN tests on.
      row: fields -> row in the dataset's columns.
      target: the pattern of the answer.
      cut: FLAN takes validation rows off the end of its training rows.
    """

    dataset: str
    held: str
    row: Callable[[Spec, Fields, int], dict[str, Any]]
    target: str = "{answer}"
    cut: bool = True


def _choices_row(spec: Spec, row: Fields, seed: int) -> dict[str, Any]:
    choices = choices_of(spec, row, seed)
    answers = {f"answer{number}": choice for number, choice in enumerate(choices)}
    return {
        "context": row["input"],
        "question": row["question"],
        **answers,
        "label": choices.index(row["output"]),
    }


_TREC = {"description": 0, "entity": 1, "human": 3, "numeric": 4, "location": 5}
_FLAN: Mapping[str, _FlanRows] = {
    "cosmos_qa": _FlanRows("cosmos_qa", "validation", _choices_row),
    "sst2": _FlanRows(
        "glue/sst2",
        "validation",
        lambda spec, row, seed: {"sentence": row["input"], "label": int(row["output"] == "positive")},
    ),
    "trec": _FlanRows(
        "trec",
        "test",
        lambda spec, row, seed: {"text": row["input"], "label-coarse": _TREC[row["output"]]},
    ),
    "common_gen": _FlanRows(
        "gem/common_gen",
        "validation",
        lambda spec, row, seed: {
            "concepts": row["input"].split(", "),
            "target": row["output"],
            "references": [row["output"]],
        },
        "{target}",
    ),
    "math_dataset": _FlanRows(
        "math_dataset/algebra__linear_1d",
        "test",
        lambda spec, row, seed: {"question": row["input"], "answer": row["output"]},
    ),
    "samsum": _FlanRows(
        "samsum",
        "test",
        lambda spec, row, seed: {"dialogue": row["input"], "summary": row["output"]},
        "{summary}",
        cut=False,
    ),
    "mini_translate_esen": _FlanRows(
        "mini_translate/es-en",
        "test",
        lambda spec, row, seed: {"en": row["input"], "es": row["output"]},
        "{sent2}",
        cut=False,
    ),
}


def flan_templated(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """Rows in the columns of FLAN's datasets, and patterns for them, ``templates.json``."""
    files, patterns = {}, {}
    for spec in specs:
        form = _FLAN[spec.name]
        more = min(sizes.instances // 2, _FLAN_CUT) if form.cut else 0
        held, trained = rows_of(spec, sizes, more)
        for split, rows in ((form.held, held), ("train", trained)):
            made = [form.row(spec, row, sizes.seed) for row in rows]
            files[f"{form.dataset}/{split}.jsonl"] = encoded(made, "jsonl")
        key = spec.name if not spec.name.startswith("mini_") else spec.name.rpartition("_")[0]
        patterns[key] = [[text, form.target] for text in spec.text]
    return files | {"templates.json": json_bytes(patterns)}


def flan_rendered(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """The prompts of all tasks in the two files of a collection, with and without their options listed."""
    made: dict[str, list[dict[str, str]]] = {"test": [], "train": []}
    for spec in specs:
        options = "\nOPTIONS:\n- " + "\n- ".join(spec.labels)
        for split, rows in zip(made, rows_of(spec, sizes), strict=True):
            for number, row in enumerate(rows):
                listed = bool(number % 2) and len(spec.labels) <= _LISTED
                place = number // 2 % len(spec.text)
                text = " ".join((spec.text[place], row["input"])[:: 1 if place else -1])
                made[split].append(
                    {
                        "inputs": text + options * listed,
                        "targets": row["output"],
                        "task_source": "Flan2021",
                        "task_name": spec.name,
                        "template_type": "zs_opt" if listed else "zs_noopt",
                    }
                )
    for split, prompts in made.items():  # tasks in mixed order
        random.Random(stable_hash(sizes.seed, "flan", split)).shuffle(prompts)
    return {
        "data/train-00000-of-00001.parquet": encoded(made["train"], "parquet"),
        "data/test.jsonl.gz": encoded(made["test"], "jsonl.gz"),
    }


def exmix(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """One folder per task, in the format of the dataset that the start of its name says."""
    files: dict[str, bytes] = {}
    for spec in specs:
        held, trained = rows_of(spec, sizes)
        made = _EXMIX[spec.name.partition("/")[0]](spec, held, trained)
        files |= {f"{spec.name}/{name}": content for name, content in made.items()}
    return files


Splits = dict[str, bytes]


def _lines(rows: Sequence[Fields], *columns: str) -> bytes:
    return "".join("\t".join(row.get(name, name) for name in columns) + "\n" for row in rows).encode()


def _labelled(spec: Spec, held: list[Fields], trained: list[Fields]) -> Splits:
    def content(rows: list[Fields]) -> bytes:
        return json_bytes([{"sentence": row["input"], "label": row["output"]} for row in rows])

    return {
        "train.json": content(trained),
        "test.json": content(held),
        "labels.json": json_bytes(list(spec.labels)),
    }


def _clinc(spec: Spec, held: list[Fields], trained: list[Fields]) -> Splits:
    splits = {"train": trained, "test": held}
    content = {name: [[row["input"], row["output"]] for row in rows] for name, rows in splits.items()}
    return {"data_full.json": json_bytes(content), "domains.json": json_bytes({"party": list(spec.labels)})}


def _spans(spec: Spec, held: list[Fields], trained: list[Fields]) -> Splits:
    def content(rows: list[Fields]) -> bytes:
        return json_bytes([_spanned(number, row) for number, row in enumerate(rows)])

    return {"train.json": content(trained), "test.json": content(held)}


def _spanned(number: int, row: Fields) -> dict[str, Any]:
    labels = []
    for span in row["spans"].split():
        slot, _, word = span.partition("=")
        start = row["input"].index(word)
        labels.append({"slot": slot, "valueSpan": {"startIndex": start, "endIndex": start + len(word)}})
    return {"userInput": {"text": row["input"]}, "id": str(number), "labels": labels}


def _masked(spec: Spec, held: list[Fields], trained: list[Fields]) -> Splits:
    rows = [
        {
            "obj_label": row["output"],
            "evidences": [{"masked_sentence": row["input"], "obj_surface": row["output"]}],
        }
        for row in held
    ]
    return {"P1.jsonl": encoded(rows, "jsonl")}  # as in LAMA's archive: a test file for a relation


_EXMIX: Mapping[str, Callable[[Spec, list[Fields], list[Fields]], Splits]] = {
    "cl_benchmark": _labelled,
    "clinc150": _clinc,
    "cogs": lambda spec, held, trained: {
        "train.tsv": _lines(trained, "input", "output", "in_distribution"),
        "test.tsv": _lines(held, "input", "output", "in_distribution"),
    },
    "dstc8_spans": _spans,
    "styleptb": lambda spec, held, trained: {  # adjectives by antonyms
        "AAR/train.tsv": _lines(trained, "input", "output"),
        "AAR/test.tsv": _lines(held, "input", "output"),
    },
    "lama_trex": _masked,
}


def t5(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """Rows of a dataset, labelled sentences, blocks and parallel text."""
    files: dict[str, bytes] = {}
    for spec in specs:
        for split, rows in zip(("test", "train"), rows_of(spec, sizes), strict=True):
            files |= dict(_T5[spec.name](split, rows))
    return files


def _sentences(split: str, rows: list[Fields]) -> Iterator[tuple[str, bytes]]:
    lines = (f"{int(row['output'] == 'positive')} {row['input']}\n" for row in rows)
    yield f"sst/stsa.binary.{split}", "".join(lines).encode()


def _articles(split: str, rows: list[Fields]) -> Iterator[tuple[str, bytes]]:
    made = [
        {"article": row["input"], "highlights": row["output"], "id": str(n)} for n, row in enumerate(rows)
    ]
    yield f"cnn_dailymail/3.0.0/{split}-00000-of-00001.parquet", encoded(made, "parquet")


def _blocks(split: str, rows: list[Fields]) -> Iterator[tuple[str, bytes]]:
    blocks = (f"{row['input']}\nhe\n{row['candidates']}\n{row['output']}\n\n" for row in rows)
    yield f"dpr/{split}.c.txt", "".join(blocks).encode()


def _parallel(split: str, rows: list[Fields]) -> Iterator[tuple[str, bytes]]:
    yield f"mini_books/{split}.en", _lines(rows, "input")
    yield f"mini_books/{split}.es", _lines(rows, "output")


_T5: Mapping[str, Callable[[str, list[Fields]], Iterator[tuple[str, bytes]]]] = {
    "glue_sst2_v002": _sentences,
    "cnn_dailymail_v002": _articles,
    "dpr_v001_simple": _blocks,
    "mini_books_enes": _parallel,
}


def unifiedskg(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """The authors' preprocessed items, ``TASK_SPLIT.json``."""
    files = {}
    for spec in specs:
        for split, rows in zip(("test", "train"), rows_of(spec, sizes), strict=True):
            items = [
                {"text_in": row["input"], "struct_in": row["struct"], "seq_out": row["output"]}
                for row in rows
            ]
            if items:
                files[f"{spec.name}_{split}.json"] = json_bytes(items)
    return files
