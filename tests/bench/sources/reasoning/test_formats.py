"""Questions with options and about texts: every raw form, from a few rows to the examples made of them."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest
from support.reasoning_rows import QUESTION, examples, lines, only, table, theory

from iml_jax.bench.sources.reasoning.questions import sentence
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.foundation.errors import UserError


def test_aqua(tmp_path: Path) -> None:
    row = {
        "question": "2+2?",
        "options": ["A)3", "B) 4", "(C) 5"],
        "rationale": "It is 2+2\n= 4. Answer B\nANSWER: B",
        "correct": "B",
    }
    example = only(tmp_path, {"AQuA/test.json": lines(row)})
    assert example.task == "aqua"
    assert example.source == "2+2?\nOptions:\n(A) 3\n(B) 4\n(C) 5"
    assert example.references == ("It is 2+2\n= 4. The answer is (B).",)


@pytest.mark.parametrize(
    ("rationale", "kept"),
    [
        ("x = 4\nThe answer is B.", "x = 4"),
        ("x = 4\nSo, the correct option is (B)", "x = 4"),
        ("x = 4\nB\n\n", "x = 4"),
        ("x = 4, Answer : B", "x = 4"),
        ("Line A\nis B", "Line A"),
        ("x = 4. Answer B\n\nB", "x = 4."),
        ("x\u2028y\x0cz\x85\r\nB", "x\u2028y\x0cz"),
        ("a\u2028b\x0cc\ndd", "a\u2028b\x0cc\ndd"),
        ("The best answer is Bob", "The best answer is Bob"),
        ("add all answers\nB + C", "add all answers\nB + C"),
    ],
)
def test_the_letter_at_the_end_of_a_rationale_goes(tmp_path: Path, rationale: str, kept: str) -> None:
    row = {"question": "?", "options": ["A)1", "B)2"], "rationale": rationale, "correct": "B"}
    assert only(tmp_path, {"aqua/dev.json": lines(row)}).references == (
        f"{sentence(kept)} The answer is (B).",
    )


@pytest.mark.parametrize("hugging_face", [False, True])
def test_cos_e(tmp_path: Path, hugging_face: bool) -> None:
    question: dict[str, Any] = QUESTION
    where = "train_rand_split.jsonl"
    if hugging_face:
        choices = {"label": ["A", "B"], "text": ["car", "fridge"]}
        question = {"id": "q1", "question": "Where is milk?", "choices": choices, "answerKey": "B"}
        where = "commonsense_qa/train.jsonl"
    rows = [
        {"id": name, "explanation": {"open-ended": " it is cold ", "selected": "milk"}}
        for name in ("q1", "q9")
    ]
    made, skipped = examples(
        tmp_path, {f"cos-e/{where}": lines(question), "cos-e/train/cose_train_v1.11.jsonl": lines(*rows)}
    )
    assert made[0].source == "Where is milk?\nOptions:\n- car\n- fridge"
    assert made[0].references == ("it is cold. The answer is fridge.",)
    assert skipped == {"question not in the CommonsenseQA files": 1}


def test_cos_e_without_its_questions(tmp_path: Path) -> None:
    row = {"id": "q1", "explanation": {"open-ended": "cold"}}
    with pytest.raises(
        UserError, match=r"cose_dev_v1\.11\.jsonl: explains questions of CommonsenseQA, which"
    ):
        examples(tmp_path, {"cose_dev_v1.11.jsonl": lines(row)})


def test_commonsenseqa_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "cqa").mkdir()
    (tmp_path / "cqa" / "train_rand_split.jsonl").write_text(lines(QUESTION))
    (tmp_path / "sets").mkdir()
    row = {"id": "q1", "explanation": {"open-ended": "cold"}}
    (tmp_path / "sets" / "cose_train_v1.11.jsonl").write_text(lines(row))
    source = Reasoning(str(tmp_path / "sets"), commonsenseqa_dir=str(tmp_path / "cqa"))
    (task,) = source.tasks()
    assert [path.name for path in task.files] == ["cose_train_v1.11.jsonl", "train_rand_split.jsonl"]
    assert len(list(source.examples(task, "train", collections.Counter()))) == 1
    assert source.unread() == {}


def test_ecqa(tmp_path: Path) -> None:
    row = {
        "": "0",
        "q_no": "id1",
        "q_text": "Where?",
        "q_ans": "b",
        "taskB": "Since b.\nYes.",
        "taskA_pos": "x",
    }
    row |= {f"q_op{i}": option for i, option in enumerate("abcde", start=1)}
    example = only(tmp_path, {"ecqa/cqa_data_val.csv": table(row)})
    assert (example.split, example.example_id) == ("validation", "id1")
    assert example.source == "Where?\nOptions:\n- a\n- b\n- c\n- d\n- e"
    assert example.references == ("Since b.\nYes. The answer is b.",)


def test_ecqa_as_its_repository_has_it(tmp_path: Path) -> None:
    explained = {"id": "q1", "positives": ["p"], "negatives": ["n"], "explanation": "Milk is cold."}
    files = {
        "ECQA-Dataset/ecqa.jsonl": lines(explained),
        "ECQA-Dataset/author_split/test_ids.txt": "q1\n",
        "ECQA-Dataset/cqa/dev_rand_split.jsonl": lines(QUESTION),
    }
    example = only(tmp_path, files)
    assert example.source == "Where is milk?\nOptions:\n- car\n- fridge"
    assert example.references == ("Milk is cold. The answer is fridge.",)


def test_qasc(tmp_path: Path) -> None:
    row = {**QUESTION, "fact1": "Milk spoils", "fact2": "Cold keeps.", "combinedfact": "Cold keeps milk"}
    hidden = {key: value for key, value in QUESTION.items() if key != "answerKey"}
    made, skipped = examples(tmp_path, {"QASC_Dataset/train.jsonl": lines(row, hidden)})
    assert made[0].references == ("Milk spoils. Cold keeps. Cold keeps milk. The answer is fridge.",)
    assert skipped == {"no public answer": 1}


def test_strategyqa(tmp_path: Path) -> None:
    rows = [
        {"qid": "a", "question": "Is it?", "answer": True, "facts": ["One.", "Two"], "decomposition": ["?"]},
        {"qid": "b", "question": "Was it?", "answer": False, "facts": []},
        {"qid": "c", "question": "Will it?"},
    ]
    made, skipped = examples(tmp_path, {"strategyqa_train.json": json.dumps(rows)})
    assert [example.references for example in made] == [("One. Two. The answer is yes.",)]
    assert skipped == {"empty rationale": 1, "no public answer": 1}


def test_creak(tmp_path: Path) -> None:
    row = {"ex_id": "t1", "sentence": "Cats bark.", "explanation": "They meow", "label": "false"}
    example = only(tmp_path, {"creak/data/creak/train.json": lines(row)})
    assert example.source == "Cats bark.\nIs this true or false?\nOptions:\n- true\n- false"
    assert example.references == ("They meow. The answer is false.",)


def test_esnli(tmp_path: Path) -> None:
    row = {"pairID": "p1", "gold_label": "neutral", "Sentence1": "A man.", "Sentence2": "A tall man."}
    train = {**row, "Explanation_1": "Not all are tall"}
    dev = {**row, "Explanation_1": "e1.", "Explanation_2": "e2.", "Explanation_3": "e1."}
    files = {
        "esnli_train_1.csv": table(train),
        "esnli_train_2.csv": table({**train, "pairID": "p2"}),
        "esnli_dev.csv": table(dev),
    }
    made, _ = examples(tmp_path, files, "train")
    assert [example.example_id for example in made] == ["p1", "p2"]
    assert made[0].source.startswith("Premise: A man.\nHypothesis: A tall man.\nDoes the premise entail")
    assert made[0].source.endswith("\nOptions:\n- entailment\n- neutral\n- contradiction")
    assert made[0].references == ("Not all are tall. The answer is neutral.",)
    (validation,), _ = examples(tmp_path, files, "validation")
    assert validation.references == ("e1. The answer is neutral.", "e2. The answer is neutral.")


def test_coqa(tmp_path: Path) -> None:
    answers = [
        {"input_text": "white", "span_text": " was  white ", "span_start": 4, "turn_id": 1},
        {"input_text": "unknown", "span_text": "unknown", "span_start": -1, "turn_id": 2},
    ]
    other = [{"input_text": "White.", "span_text": "white", "span_start": 4}, answers[1]]
    story = {
        "id": "s",
        "story": "Cotton was white.",
        "questions": [{"input_text": "What colour?", "turn_id": 1}, {"input_text": "Why?", "turn_id": 2}],
        "answers": answers,
        "additional_answers": {"0": other},
    }
    made, skipped = examples(
        tmp_path, {"coqa-dev-v1.0.json": json.dumps({"version": "1.0", "data": [story]})}
    )
    assert made[0].source == "Cotton was white.\n\nQ: What colour?"
    assert made[0].references == ("was white. The answer is white.", "white. The answer is White.")
    assert skipped == {"no evidence in the text": 1}
    answers[1] |= {"span_text": "it was", "span_start": 3}
    made, _ = examples(tmp_path, {"coqa-dev-v1.0.json": json.dumps({"data": [story]})})
    assert made[1].source == "Cotton was white.\n\nQ: What colour?\nA: white\nQ: Why?"


def test_qed(tmp_path: Path) -> None:
    def span(text: str, **more: object) -> dict[str, object]:
        return {"start": 0, "end": 1, "string": text, **more}

    row = {
        "example_id": -5,
        "title_text": "Films",
        "question_text": "who made the film",
        "paragraph_text": "It is old . He made it .",
        "annotation": {
            "explanation_type": "single_sentence",
            "selected_sentence": span("He made it . "),
            "referential_equalities": [
                {"question_reference": span("the film"), "sentence_reference": span("it", bridge=False)},
                {"question_reference": span("the 1950s"), "sentence_reference": span("made", bridge="in")},
            ],
            "answer": [{"sentence_reference": span("He", bridge=""), "paragraph_reference": span("Bo")}],
        },
    }
    other = {
        **row,
        "annotation": {"explanation_type": "multi_sentence", "answer": [], "selected_sentence": {}},
    }
    made, skipped = examples(tmp_path, {"qed-train.jsonlines": lines(row, other)})
    assert made[0].source == "Films\nIt is old . He made it .\nwho made the film?"
    assert made[0].references == (
        'The text says: "He made it ." There "it" is "the film" of the question. '
        'There "made" is "made in the 1950s". There "He" is "Bo". The answer is Bo.',
    )
    assert skipped == {"no explanation": 1}


def test_winowhy(tmp_path: Path) -> None:
    row = {
        "text": {"txt1": "The cup fell because", "pron": "it", "txt2": "was heavy."},
        "answers": ["the cup", "the table"],
        "correctAnswer": "A.",
        "source": "x",
        "reasons": [
            ["heavy cups fall", "human", 1.0, "Valid"],
            ["the table fell", "reverse", 0.8, "Valid"],
            ["unclear", "human", 0.5, "Undecided"],
            ["A cup is light.", "human", 0.8, "Valid"],
        ],
    }
    made, skipped = examples(
        tmp_path, {"winowhy.json": json.dumps([row, {**row, "reasons": row["reasons"][1:3]}])}
    )
    assert made[0].source == (
        'The cup fell because it was heavy.\nWhat does "it" refer to?\nOptions:\n- the cup\n- the table'
    )
    assert [(example.example_id, example.references) for example in made] == [
        ("1", ("heavy cups fall. The answer is the cup.",)),
        ("1/2", ("A cup is light. The answer is the cup.",)),
    ]
    assert skipped == {"no valid reason": 1}


def test_comve(tmp_path: Path) -> None:
    row = {
        "Correct Statement": "He drinks milk.",
        "Incorrect Statement": "He drinks stone.",
        "Right Reason1": "Stone is hard",
        "Confusing Reason1": "Stone is grey",
        "Confusing Reason2": "Milk is white",
        "Right Reason2": "Milk is white",  # as in every row of the published dev and test files
        "Right Reason3": "No one can drink stone.",
    }
    rows = [row | {"Incorrect Statement": f"He drinks {i} stones."} for i in range(20)]
    made, _ = examples(tmp_path, {"ComVE/dev.csv": table(*rows)})
    for example, wrong in zip(made, rows, strict=True):
        head, options, first, second = example.source.split("\n")
        assert (head, options) == (
            "Which of the following two sentences is against common sense?",
            "Options:",
        )
        letter = "A" if wrong["Incorrect Statement"] in first else "B"
        assert wrong["Incorrect Statement"] in (first if letter == "A" else second)
        assert example.references == (
            f"Stone is hard. The answer is Sentence {letter}.",
            f"No one can drink stone. The answer is Sentence {letter}.",
        )
    assert len({example.references[0] for example in made}) == 2, "either sentence may come first"


def test_comve_as_the_shared_task_gave_it_out(tmp_path: Path) -> None:
    files = {
        "Training  Data/subtaskA_data_all.csv": "id,sent0,sent1\n0,Cats bark.,Dogs bark.\n1,a,b\n",
        "Training  Data/subtaskA_answers_all.csv": "0,0\n1,1\n",
        "Training  Data/subtaskC_data_all.csv": "id,FalseSent\n0,Cats bark.\n",
        "Training  Data/subtaskC_answers_all.csv": '0,Cats meow,"No, they meow."\n',
    }
    made, skipped = examples(tmp_path, files)
    assert made[0].source.endswith('- Sentence A: "Cats bark."\n- Sentence B: "Dogs bark."')
    assert [example.references for example in made] == [
        ("Cats meow. The answer is Sentence A.",),
        ("No, they meow. The answer is Sentence A.",),
    ]
    assert skipped == {"sentence without reasons": 1}


def test_sen_making(tmp_path: Path) -> None:
    row = {
        "id": "7",
        "sentence0": "x",
        "sentence1": "y",
        "false": 1,
        "A": "p",
        "B": "q",
        "C": "r",
        "reason": "B",
    }
    example = only(tmp_path, {"Sen-Making-and-Explanation/dataset.jsonl": lines(row)})
    assert (example.task, example.references) == ("sensemaking", ("q. The answer is Sentence B.",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "gsm8k/train.jsonl",
            lines({"question": "q", "answer": "no mark"}),
            "train.jsonl:1: 'answer' has no ####",
        ),
        ("gsm8k/train.jsonl", lines({"question": 5, "answer": "a #### 1"}), "'question' must be a string"),
        (
            "aqua/dev.json",
            lines({"question": "q", "options": ["1"], "rationale": "", "correct": "A"}),
            "option '1'",
        ),
        (
            "aqua/dev.json",
            lines({"question": "q", "options": ["A)1"], "rationale": "", "correct": "F"}),
            "'correct' 'F' is the letter of no option",
        ),
        (
            "qasc/dev.jsonl",
            lines({**QUESTION, "answerKey": "Z"}),
            "'answerKey' 'Z' is the label of no choice",
        ),
        ("strategyqa_dev.json", '[{"question": "q", "answer": "yes"}]', "'answer' must be true or false"),
        ("creak/dev.json", lines({"sentence": "s", "label": "maybe"}), "'label' 'maybe' is neither"),
        ("esnli_test.csv", "gold_label,Sentence1,Sentence2\n-,a,b\n", "'gold_label' '-' is none of"),
        (
            "coqa-train-v1.0.json",
            '{"data": [{"story": "s", "questions": [{}], "answers": []}]}',
            "one answer to each",
        ),
        (
            "winowhy.json",
            '[{"text": {"pron": "it"}, "answers": ["a"], "correctAnswer": "A"}]',
            "two 'answers'",
        ),
        (
            "qed-dev.jsonlines",
            lines({"question_text": "q", "paragraph_text": "p"}),
            "'annotation' must be an object",
        ),
        (
            "meta-dev.jsonl",
            lines(theory(Q1={"question": "q", "answer": "Maybe"})),
            "'answer' must be one of True",
        ),
        ("SVAMP.json", '[{"Body": "b", "Question": "q", "Answer": null}]', "exactly one solution"),
        ("AddSub.json", '[{"sQuestion": "q", "lSolutions": [1, 2]}]', "exactly one solution"),
        (
            "comve/train.csv",
            "Correct Statement,Other\na,b\n",
            "'Incorrect Statement' must be a string, not missing",
        ),
        ("sen-making/dataset.jsonl", lines({"false": True, "reason": "A"}), "'false' must be 0 or 1"),
        (
            "x/dev data/subtaskA_dev_data.csv",
            "id,sent0,sent1\n1,a,b\n",
            "subtaskC's data and answers must lie",
        ),
        ("x/author_split/val_ids.txt", "q1\n", "no ecqa.jsonl beside author_split"),
        ("ASDiv.xml", "<a><Problem></a>", "malformed XML"),
    ],
)
def test_malformed_rows(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        examples(tmp_path, {name: content})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("a", "a."),
        ("a.", "a."),
        ("a?)", "a?)"),
        ('He said "a."', 'He said "a."'),
        ("$x=1$", "$x=1$."),
        (" ", ""),
    ],
)
def test_sentences_are_closed(text: str, closed: str) -> None:
    assert sentence(text) == closed
