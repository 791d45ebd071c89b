"""ExMix's files when they are malformed, cut, or do not fit together."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest
from support.exmix_files import examples_of, write

from iml_jax.bench.sources.exmix.source import ExMix
from iml_jax.bench.sources.formats import side_files
from iml_jax.foundation.errors import UserError


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("banking77/train.csv", "text,label\nx,y\n", r"train\.csv:2: 'category' is missing"),
        ("banking77/train.csv", 'text,category\n"x,y\n', r"train\.csv:2: malformed CSV"),
        ("clinc150/data_full.json", {"train": [["a"]]}, r"'train' must be one of"),
        ("clinc150/data_full.json", [1], "holds a list, not a dict"),
        ("restaurant8k/test.json", [3], "a int; expected a JSON object"),
        ("restaurant8k/test.json", [{"userInput": "x"}], "element 1: 'userInput' has no 'text'"),
        ("restaurant8k/test.json", [{"userInput": {"text": "x"}, "labels": 3}], "'labels' is no list"),
        ("mit_movies/test.txt", "a:O\nb:X\n", r"test\.txt:2: not word:TAG"),
        ("mit_movies/engtest.bio", "who\tO\n", r"engtest\.bio:1: not TAG, tab, word"),
        ("top/test.tsv", "a\tb\n", r"test\.tsv:1: not utterance"),
        ("sgd/test/dialogues_001.json", [{"turns": [{"speaker": "USER"}]}], "'utterance' is missing"),
        ("piqa/valid.jsonl", [{"goal": "g"}], r"valid\.jsonl:1: has no choices"),
        (
            "piqa/valid.jsonl",
            [{"goal": "g", "sol1": "a", "sol2": "b", "label": "x"}],
            "label 'x' is no whole",
        ),
        ("csqa2/CSQA2_dev.json", '{"question": "q", "answer": "maybe"}', "answer 'maybe' is not yes or no"),
        ("csqa2/CSQA2_dev.json", '{"question": \n', r"CSQA2_dev\.json:1: malformed JSON"),
        (
            "commonsenseqa/dev_rand_split.jsonl",
            [{"question": {"choices": [], "stem": "s"}, "answerKey": "A"}],
            "'answerKey' 'A'",
        ),
        (
            "gap/gap-test.tsv",
            "Text\tA\tB\tPronoun\nx\ta\tb\tc\n",
            "A-coref and B-coref must be TRUE or FALSE",
        ),
        ("cl_benchmark/x/train.json", [{"sentence": 1, "label": "x"}], "'sentence' is missing or no text"),
        (
            "ukp/a.tsv",
            "topic\tannotation\tset\nx\tNoArgument\ttrain\n",
            "run the corpus's completion-pipeline",
        ),
        (
            "ukp/a.tsv",
            "topic\tsentence\tannotation\tset\nx\ts\tmaybe\ttrain\n",
            "annotation 'maybe' is none of",
        ),
        (
            "wikipedia_toxicity_subtypes/train.csv",
            "comment_text,toxic\nx,2\n",
            "label 'toxicity' is missing or not 0",
        ),
        ("lama_trex/P1/test.jsonl", [{"obj_label": "x", "evidences": ["y"]}], "'masked_sentence' is missing"),
        ("kilt/wned-dev-kilt.jsonl", [{"input": "x", "output": {"answer": "y"}}], "'output' is no list"),
        ("cogs/train.tsv", "a\tb\n", r"train\.tsv:1: 2 cells between tabs, not 3"),
        ("styleptb/train.tsv", "a\tb\n", "belongs into a folder named after its transfer"),
        ("shakespeare/train.modern.nltktok", "a\n", "needs .*train.original.nltktok, which is missing"),
        ("atis/atis.train.query.csv", "0\n", r"needs .*atis\.dict\.\w+\.csv, which is missing"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: Any, message: str) -> None:
    write(tmp_path / name, content)
    source = ExMix(str(tmp_path))
    tasks = source.tasks()  # one malformed dataset does not hide the others
    assert tasks
    with pytest.raises(UserError, match=message) as caught:
        for task in tasks:
            for split in task.splits:
                list(source.examples(task, split, collections.Counter()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("short", ["valid.jsonl", "valid-labels.lst"])
def test_labels_that_are_not_aligned(tmp_path: Path, short: str) -> None:
    rows = [{"goal": "g", "sol1": "a", "sol2": "b"}] * 2
    write(tmp_path / "piqa/valid.jsonl", rows[: 1 + (short != "valid.jsonl")])
    write(tmp_path / "piqa/valid-labels.lst", "0\n1\n"[: 2 * (1 + (short == "valid.jsonl"))])
    with pytest.raises(UserError, match="fetch the matching files"):
        examples_of(tmp_path, "piqa", "validation")


def test_vocabularies_and_lines_that_do_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "atis"
    write(folder / "atis.dict.vocab.csv", "a\n")
    write(folder / "atis.dict.intent.csv", "b\n")
    write(folder / "atis.train.query.csv", "0\n1\n")
    write(folder / "atis.train.intent.csv", "0\n0\n")
    with pytest.raises(UserError, match=r"query\.csv:2: an index that the vocabulary of 1 has not"):
        examples_of(tmp_path, "atis_intent", "train")
    write(folder / "atis.train.query.csv", "0\n")
    with pytest.raises(UserError, match=r"query\.csv: fewer lines than"):
        examples_of(tmp_path, "atis_intent", "train")


def test_names_and_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset of ExMix"):
        ExMix(str(tmp_path)).tasks()
    with pytest.raises(UserError, match="must be all or opt_iml"):
        ExMix(str(tmp_path), tasks_kept="some")


@pytest.mark.parametrize(
    ("task", "rows", "side", "content"),
    [
        ("banking77", {"banking77/train.csv": "text,category\nx,y\n"}, "banking77/categories.json", "[5]"),
        (
            "clinc150",
            {"clinc150/data_full.json": {"train": [["x", "y"]]}},
            "clinc150/domains.json",
            '{"a": 1}',
        ),
        (
            "cl_benchmark/NLI/cb",
            {"cl_benchmark/NLI/cb/train.json": [{"sentence": "s", "label": "y"}]},
            "cl_benchmark/NLI/cb/labels.json",
            "{",
        ),
    ],
)
def test_malformed_lists_of_labels_are_done_without(
    tmp_path: Path, task: str, rows: dict[str, object], side: str, content: str
) -> None:
    """They are counted, and refused where the task was asked for by name."""
    for name, value in rows.items():
        write(tmp_path / name, value)
    write(tmp_path / side, content)
    source = ExMix(str(tmp_path))
    (info,) = (info for info in source.tasks() if info.task == task)
    skipped: collections.Counter[str] = collections.Counter()
    (example,) = source.examples(info, "train", skipped)
    assert example.references == ("y",)
    ((reason, count),) = skipped.items()
    assert count == 1 and reason.startswith(f"{side_files.UNUSED}: {tmp_path / side}")
    with pytest.raises(UserError, match=Path(side).name):
        list(source.asked_for(task).examples(info, "train", skipped))
