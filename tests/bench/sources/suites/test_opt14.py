"""OPT's 14 tasks: every public form of their rows gives the same question."""

from __future__ import annotations

import collections
import csv
import gzip
import json
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import MixtureConfig, plan
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.sources.suites.opt14 import Opt14
from iml_jax.bench.variants import FewShot
from iml_jax.foundation.errors import UserError


def lines(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def examples(folder: Path, task: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    source = Opt14(str(folder))
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, info.splits[0], skipped)), dict(skipped)


CHOICES = {"text": ["wood", "wind"], "label": ["1", "2"]}
SPANS = {"span1_text": "Ann", "span1_index": 0, "span2_text": "she", "span2_index": 4}
PASSAGE = {
    "passage": {
        "text": "P.",
        "questions": [
            {"question": "Q?", "answers": [{"text": "x", "label": 1}, {"text": "y", "label": 0}]},
        ],
    }
}
CASES = {
    "story_cloze": (
        {
            "InputSentence1": "One.",
            "InputSentence2": "Two.",
            "InputSentence3": "Three.",
            "InputSentence4": "Four.",
            "RandomFifthSentenceQuiz1": "Bad.",
            "RandomFifthSentenceQuiz2": "Good.",
            "AnswerRightEnding": "2",
        },
        {
            "input_sentence_1": "One.",
            "input_sentence_2": "Two.",
            "input_sentence_3": "Three.",
            "input_sentence_4": "Four.",
            "sentence_quiz1": "Bad.",
            "sentence_quiz2": "Good.",
            "answer_right_ending": 2,
        },
        "One. Two. Three. Four.",
        ("Bad.", "Good."),
        1,
    ),
    "piqa": (
        {"goal": "Cook.", "sol1": "Heat.", "sol2": "Cool.", "label": 0},
        {"goal": "Cook.", "sol1": "Heat.", "sol2": "Cool.", "label": "0"},
        "Cook.",
        ("Heat.", "Cool."),
        0,
    ),
    "arc_easy": (
        {"id": "a", "question": "Air?", "choices": CHOICES, "answerKey": "2"},
        {
            "id": "a",
            "question": {
                "stem": "Air?",
                "choices": [
                    {"text": text, "label": label} for text, label in zip(["wood", "wind"], "AB", strict=True)
                ],
            },
            "answerKey": "B",
        },
        "Question: Air?\nAnswer:",
        ("wood", "wind"),
        1,
    ),
    "openbookqa": (
        {"question_stem": "Air is", "choices": CHOICES, "answerKey": "1"},
        {
            "question": {
                "stem": "Air is",
                "choices": [{"text": "wood", "label": "A"}, {"text": "wind", "label": "B"}],
            },
            "answerKey": "A",
        },
        "Air is",
        ("wood", "wind"),
        0,
    ),
    "winograd": (
        {"sentence": "Bill told Al that [MASK] won.", "candidates": ["Al", "Bill"], "answer": "Bill"},
        {
            "text": "Bill told Al that he won.",
            "pronoun": "he",
            "pronoun_loc": 18,
            "options": ["Al", "Bill"],
            "label": 1,
        },
        "Bill told Al that",
        ("Al won.", "Bill won."),
        1,
    ),
    "winogrande": (
        {"sentence": "The cup fell so _ broke.", "option1": "The cup", "option2": "Bob", "answer": "1"},
        {"sentence": "The cup fell so _ broke.", "option1": "the cup", "option2": "Bob", "answer": 1},
        "The cup fell so",
        ("the cup broke.", "Bob broke."),
        0,
    ),
    "boolq": (
        {"question": "is it", "passage": "It is.", "answer": True},
        {"question": "is it?", "passage": "It is.", "label": 1},
        "It is.\nQuestion: is it?\nAnswer:",
        ("no", "yes"),
        1,
    ),
    "cb": (
        {"premise": "It is.", "hypothesis": "It is", "label": "neutral"},
        {"premise": "It is.", "hypothesis": "It is.", "label": 2},
        "It is.\nQuestion: It is. True, False, or Neither?\nAnswer:",
        ("True", "False", "Neither"),
        2,
    ),
    "copa": (
        {
            "premise": "It fell.",
            "choice1": "I hit it.",
            "choice2": "The wind blew.",
            "question": "cause",
            "label": 1,
        },
        {
            "premise": "It fell.",
            "choice1": "I hit it.",
            "choice2": "The wind blew.",
            "question": "cause",
            "label": "1",
        },
        "It fell because",
        ("I hit it.", "the wind blew."),
        1,
    ),
    "rte": (
        {"premise": "It is.", "hypothesis": "It is.", "label": "not_entailment"},
        {"sentence1": "It is.", "sentence2": "It is.", "label": 1},
        "It is.\nQuestion: It is. True or False?\nAnswer:",
        ("True", "False"),
        1,
    ),
    "wic": (
        {"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": False},
        {"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": 0},
        "A bank.\nThe bank.\n"
        "Question: Is the word 'bank' used in the same way in the two sentences above?\nAnswer:",
        ("no", "yes"),
        0,
    ),
    "wsc": (
        {"text": "Ann said to Bo she won.", "target": SPANS, "label": True},
        {"text": "Ann said to Bo she won.", **SPANS, "label": 1},
        "Passage: Ann said to Bo *she* won.\n"
        'Question: In the passage above, does the pronoun "*she*" refer to Ann?\nAnswer:',
        ("no", "yes"),
        1,
    ),
    "hellaswag": (
        {"ctx": "He [header] runs", "activity_label": "Sport", "endings": ["a.", "b."], "label": "1"},
        {"ctx": "He  runs", "activity_label": "Sport", "endings": ["a.", "b."], "label": 1},
        "Sport: He runs",
        ("a.", "b."),
        1,
    ),
}


@pytest.mark.parametrize("task", CASES)
def test_public_forms_agree(tmp_path: Path, task: str) -> None:
    first, second, source, options, right = CASES[task]
    lines(tmp_path / task / "test.jsonl", first, second)
    found, skipped = examples(tmp_path, task)
    assert not skipped
    if task == "wsc":
        assert "*she*" in found[0].source
    for one in found:
        assert (one.source, one.options, one.references) == (source, options, (options[right],))
        assert one.completion is not one.source.endswith(":")


def test_story_cloze_as_its_authors_table(tmp_path: Path) -> None:
    row = CASES["story_cloze"][0]
    assert isinstance(row, dict)
    (tmp_path / "StoryCloze").mkdir()
    with (tmp_path / "StoryCloze/cloze_test_val__spring2016.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    # The one file's name says test and val; a reader that guessed would evaluate what it should not.
    with pytest.raises(UserError, match=r"no file SPLIT\.jsonl"):
        examples(tmp_path, "story_cloze")
    (tmp_path / "StoryCloze/cloze_test_val__spring2016.csv").rename(tmp_path / "StoryCloze/validation.csv")
    (one,), _ = examples(tmp_path, "story_cloze")
    assert one.references == ("Good.",)


def test_multirc_keeps_questions_together(tmp_path: Path) -> None:
    lines(tmp_path / "multirc/val.jsonl", PASSAGE, PASSAGE)
    nested, _ = examples(tmp_path, "multirc")
    assert [one.example_id for one in nested] == ["1.0/0", "1.0/1", "2.0/0", "2.0/1"]
    assert [one.references[0] for one in nested[:2]] == ["[True] x", "[False] y"]
    assert nested[0].source == "READING COMPREHENSION ANSWER KEY\n\nP.\n\nQ?\n-"
    flat = [
        {"paragraph": "P.", "question": "Q?", "answer": answer, "label": label}
        for answer, label in zip("xy", (1, 0), strict=True)
    ]
    lines(tmp_path / "flat/multirc/validation.jsonl", *flat, {**flat[0], "question": "R?"})
    found, _ = examples(tmp_path / "flat", "multirc")
    assert [one.example_id for one in found] == ["1/0", "1/1", "2/0"]
    assert [one.options for one in found[:2]] == [one.options for one in nested[:2]]


def test_which_rows_are_asked_and_which_shown(tmp_path: Path) -> None:
    def row(text: str, label: object) -> dict[str, object]:
        return {"goal": text, "sol1": "a", "sol2": "b", "label": label}

    lines(tmp_path / "piqa/train.jsonl", row("train", 0))
    lines(tmp_path / "piqa/valid.jsonl", row("valid", 0), row("blank", -1))
    lines(tmp_path / "piqa/tests.jsonl", row("tests", None))  # "tests" names no split
    lines(tmp_path / "piqa/test.jsonl", row("test", None))
    source = Opt14(str(tmp_path))
    (info,) = source.tasks()
    assert info.splits == ("validation",)
    found, skipped = examples(tmp_path, "piqa")
    assert [one.source for one in found] == ["valid"]
    assert skipped == {"no label (it is not public)": 1}
    assert [one.source for one in source.demonstrations(info, collections.Counter())] == ["train"]
    (tmp_path / "piqa/train.jsonl").unlink()
    (info,) = Opt14(str(tmp_path)).tasks()
    assert [one.source for one in source.demonstrations(info, collections.Counter())] == ["valid"]
    (tmp_path / "piqa/valid.jsonl").unlink()
    with pytest.raises(UserError, match=r"piqa: no file SPLIT\.jsonl .* whose rows have labels"):
        Opt14(str(tmp_path)).tasks()


def test_32_shots_are_cut_to_the_context_from_the_front(tmp_path: Path) -> None:
    from iml_jax.bench.prompted_examples import TokenBudget

    rows = [{"goal": f"Goal {n} " + "word " * 90, "sol1": "yes", "sol2": "no", "label": 0} for n in range(40)]
    lines(tmp_path / "piqa/validation.jsonl", *rows)
    config = MixtureConfig(
        "m", (Opt14(str(tmp_path)),), evaluation_prompts=(FewShot(shots=32, separators=("\n\n",)),)
    )
    (planned,) = plan(config)
    shown: collections.Counter[str] = collections.Counter()
    budget = TokenBudget(lambda text: len(text.split()), 1000)
    cut = list(
        prompted_examples(
            planned, "validation", 0, collections.Counter(), budget=budget, demonstrations=shown
        )
    )
    whole = list(prompted_examples(planned, "validation", 0, collections.Counter()))
    assert shown["shown"] + shown["left out to fit the row"] == 32 * 40
    assert shown["shown"] == 40 * 9  # ten blocks of 93 words fit 1,000, one of them the question
    for short, long in zip(cut, whole, strict=True):
        text = short.prompt_text
        assert text.startswith("Goal ")  # whole blocks only
        assert long.prompt_text.endswith(text)  # the last ones stay
        assert long.prompt_text.count("Goal ") == 33


def test_sentences_without_one_blank_are_refused(tmp_path: Path) -> None:
    row = {"sentence": "No blank.", "option1": "a", "option2": "b", "answer": "1"}
    lines(tmp_path / "winogrande/dev.jsonl", {**row, "sentence": "A _ b."}, row)
    with pytest.raises(UserError, match=r"dev\.jsonl:2: the sentence has 0 blanks \(_\), not one"):
        examples(tmp_path, "winogrande")
    lines(tmp_path / "winogrande/dev.jsonl", {**row, "sentence": "A _ b."}, {**row, "sentence": "_ b."})
    found, skipped = examples(tmp_path, "winogrande")
    assert (len(found), skipped) == (1, {"nothing stands before the blank": 1})


@pytest.mark.parametrize("label", ["maybe", 2, 1.5, [1], True])
def test_labels_that_are_no_answer(tmp_path: Path, label: object) -> None:
    row = {"premise": "a", "hypothesis": "b", "label": "neutral"}
    lines(tmp_path / "cb/val.jsonl", row, {**row, "label": label if label != 2 else 3})
    with pytest.raises(UserError, match=r"val\.jsonl:2: label = .* is no answer of this task"):
        examples(tmp_path, "cb")


def test_two_files_of_a_split(tmp_path: Path) -> None:
    row = CASES["winogrande"][0]
    folder = tmp_path / "winogrande"
    for name in ("train_xs.jsonl", "train_xl.jsonl", "train_debug.jsonl"):
        lines(folder / name, row)
    lines(tmp_path / "winogrande_xl/train.jsonl", row)
    source = Opt14(str(tmp_path))
    (task,) = source.tasks()
    assert task.files == (folder / "train_xl.jsonl",)
    same = f"the same split as {folder / 'train_xl.jsonl'}, which is read"
    assert source.set_aside() == {
        folder / "train_xs.jsonl": same,
        folder / "train_debug.jsonl": same,
        tmp_path / "winogrande_xl/train.jsonl": f"the same task as {folder}, which is read",
    }
    lines(tmp_path / "shards/winogrande/train-00000-of-00002.jsonl", row)
    with pytest.raises(UserError, match="1 of 2 shards are there"):
        Opt14(str(tmp_path / "shards")).tasks()
    for number in (0, 1):
        lines(tmp_path / f"shards/winogrande/train-0000{number}-of-00002.jsonl", row)
    found, _ = examples(tmp_path / "shards", "winogrande")
    assert [one.example_id for one in found] == ["0-1", "1-1"]


def test_hellaswag_is_evaluated_when_asked(tmp_path: Path) -> None:
    lines(tmp_path / "HellaSwag/val.jsonl", CASES["hellaswag"][0])
    assert [info.role for info in Opt14(str(tmp_path)).tasks()] == ["excluded"]
    assert [info.role for info in Opt14(str(tmp_path), hellaswag=True).tasks()] == ["evaluation"]


def test_real_files(shared: Path) -> None:
    source = Opt14(str(shared / "data/opt_eval"))
    tasks = {info.task: info for info in source.tasks()}
    assert len(tasks) >= 11 and all(info.kind for info in tasks.values())
    for task, info in tasks.items():
        found, skipped = examples(shared / "data/opt_eval", task)
        with gzip.open(info.files[0], "rt", encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
        if task == "multirc":
            rows = [a for row in rows for q in row["passage"]["questions"] for a in q["answers"]]
        assert len(found) + sum(skipped.values()) == len(rows)
        assert not skipped
