"""ExMix rebuilt from its datasets' public files: what is found, and the prompt of each format."""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from support.exmix_files import examples_of, write

from iml_jax.bench import known_tasks
from iml_jax.bench.example import Example
from iml_jax.bench.sources.exmix.source import OPT_IML_TASKS, ExMix
from iml_jax.foundation.errors import UserError


def _body(example: Example) -> str:
    instruction, _, body = example.source.partition("\n")
    assert instruction.endswith(".")
    return body


def _pairs(data_dir: Path, task: str, split: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(_body(example), example.references) for example in examples_of(data_dir, task, split)[0]]


def test_intents_from_csv(tmp_path: Path) -> None:
    write(tmp_path / "banking77/train.csv", 'text,category\n"Where, please?",card_arrival\nHi,\n,lost\n')
    write(tmp_path / "banking77/train_10.csv", 'text,category\n"Where, please?",card_arrival\n')
    write(tmp_path / "banking77/test.csv.gz", "text,category\nLost it,lost_card\n")
    source = ExMix(str(tmp_path))
    (task,) = source.tasks()
    assert (task.task, task.category, task.role) == ("banking77", "Intent Identification", "train")
    assert (task.splits, task.metric) == (("train", "test"), "accuracy")
    examples, skipped = examples_of(tmp_path, "banking77", "train")
    (example,) = examples
    assert example.source == "Name the intent of the bank customer's message.\nWhere, please?"
    assert (example.instruction, example.references) == ("", ("card_arrival",))
    assert example.options == ("card_arrival", "lost", "lost_card")
    assert example.example_id == "train.csv:2"
    assert skipped == {"no label": 1, "empty text": 1, "repeated from another file": 1}
    write(tmp_path / "banking77/categories.json", ["lost_card", "card_arrival", "other"])
    (example,), _ = examples_of(tmp_path, "banking77", "test")
    assert example.options == ("lost_card", "card_arrival", "other")
    assert tmp_path / "banking77/categories.json" in source.tasks()[0].files
    assert pickle.loads(pickle.dumps(source)) == source


def test_clinc(tmp_path: Path) -> None:
    content = {"train": [["pay", "pay_bill"]], "oos_train": [["zzz", "oos"]], "val": [["why", "nothing"]]}
    write(tmp_path / "clinc150/data_small.json", content)
    examples, _ = examples_of(tmp_path, "clinc150", "train")
    assert [e.references for e in examples] == [("pay_bill",), ("oos",)]
    assert examples[0].options == ("nothing", "oos", "pay_bill")
    assert [e.example_id for e in examples] == ["data_small.json:train:1", "data_small.json:oos_train:1"]
    write(tmp_path / "clinc150/domains.json", {"banking": ["pay_bill", "transfer"]})
    assert examples_of(tmp_path, "clinc150", "train")[0][0].options == (
        "pay_bill",
        "transfer",
        "nothing",
        "oos",
    )
    assert ExMix(str(tmp_path)).tasks()[0].splits == ("train", "validation", "test")


def test_spans(tmp_path: Path) -> None:
    text = "Two of us on Monday "
    labels = [
        {"slot": "date", "valueSpan": {"startIndex": 13, "endIndex": 19}},
        {"slot": "people", "valueSpan": {"endIndex": 3}},
    ]
    rows = [
        {"userInput": {"text": text}, "context": {"requestedSlots": ["date", "time"]}, "labels": labels},
        {"userInput": {"text": "Thanks"}, "context": {}, "id": "1"},
        {"userInput": {"text": "Hm"}, "labels": [{"slot": "x", "valueSpan": {"endIndex": 9}}]},
        {"userInput": {"text": ""}},
    ]
    write(tmp_path / "dstc8_spans/Buses_1/train_0.json", rows)
    write(tmp_path / "restaurant8k/test.json", rows[1:2])
    tasks = {task.task: (task.category, task.metric) for task in ExMix(str(tmp_path)).tasks()}
    assert tasks == {
        "dstc8_spans/Buses_1": ("Slot Filling", "exact_match"),
        "restaurant8k": ("Slot Filling", "exact_match"),
    }
    assert _pairs(tmp_path, "dstc8_spans/Buses_1", "train") == [
        ("Requested slots: date, time\nMessage: Two of us on Monday", ("people: Two; date: Monday",)),
        ("Message: Thanks", ("none",)),
    ]
    skipped = examples_of(tmp_path, "dstc8_spans/Buses_1", "train")[1]
    assert skipped == {"span outside the text": 1, "empty text": 1}


def test_tagged_words_and_trees(tmp_path: Path) -> None:
    write(
        tmp_path / "mit_movies/train.txt",
        "a:O big:B-Plot fish:I-Plot 1968:I-Year <=> <NULL>\nno:O <=> <NULL>\n",
    )
    write(tmp_path / "mit_movies/engtest.bio", "O\twho\nB-ACTOR\tbrad\nI-ACTOR\tpitt\n\nO\tx\n")
    assert _pairs(tmp_path, "mit_movies", "train") == [
        ("a big fish 1968", ("Plot: big fish; Year: 1968",)),
        ("no", ("none",)),
    ]
    assert _pairs(tmp_path, "mit_movies", "test") == [
        ("who brad pitt", ("ACTOR: brad pitt",)),
        ("x", ("none",)),
    ]
    write(tmp_path / "top/eval.txt", "to:O work:B-SL_TO <=> IN_GET\nhi:O <=> IN_HI\n")
    write(tmp_path / "top/train.tsv", "To work\tto work\t[IN:GET to [SL:TO work ] ]\n")
    assert _pairs(tmp_path, "top", "validation") == [
        ("to work", ("intent: IN_GET; SL_TO: work",)),
        ("hi", ("intent: IN_HI",)),
    ]
    assert _pairs(tmp_path, "top", "train") == [("to work", ("[IN:GET to [SL:TO work ] ]",))]


def test_atis_by_its_vocabularies(tmp_path: Path) -> None:
    folder = tmp_path / "atis"
    write(folder / "atis.dict.vocab.csv", "BOS\nEOS\nboston\nto\n")
    write(folder / "atis.dict.intent.csv", "airfare\nflight\n")
    write(folder / "atis.dict.slots.csv", "B-toloc.city_name\nO\n")
    write(folder / "atis.train.query.csv", "0 3 2 1\n0 2 1\n")
    write(folder / "atis.train.intent.csv", "1\n0\n")
    write(folder / "atis.train.slots.csv", "1 1 0 1\n1 1 1\n")
    examples, _ = examples_of(tmp_path, "atis_intent", "train")
    assert [(_body(e), e.references[0]) for e in examples] == [("to boston", "flight"), ("boston", "airfare")]
    assert examples[0].options == ("airfare", "flight")
    assert _pairs(tmp_path, "atis_slots", "train") == [
        ("to boston", ("toloc.city_name: boston",)),
        ("boston", ("none",)),
    ]
    assert not ExMix(str(tmp_path)).unread()


def test_schema_guided_dialogue(tmp_path: Path) -> None:
    actions = [
        {"act": "OFFER", "slot": "name", "values": ["Roy", "Ray"]},
        {"act": "REQ_MORE", "slot": "", "values": []},
    ]
    turns = [
        {"speaker": "USER", "utterance": "Food?", "frames": [{"service": "Eat_1", "actions": []}]},
        {"speaker": "SYSTEM", "utterance": "Roy?", "frames": [{"service": "Eat_1", "actions": actions}]},
        {"speaker": "SYSTEM", "utterance": "Hm.", "frames": []},
    ]
    write(tmp_path / "sgd/train/dialogues_001.json", [{"dialogue_id": "1", "turns": turns}])
    write(tmp_path / "sgd/train/schema.json", [{"service_name": "Eat_1", "description": "Places"}])
    assert _pairs(tmp_path, "sgd", "train") == [
        ("Service: Eat_1 (Places)\nActs: OFFER name = Roy or Ray; REQ_MORE\nUser: Food?", ("Roy?",))
    ]
    assert examples_of(tmp_path, "sgd", "train")[1] == {"turn without dialogue acts": 1}


@pytest.mark.parametrize(
    ("task", "row", "label", "body", "target"),
    [
        ("piqa", {"goal": "g", "sol1": "x", "sol2": "y"}, "1", "goal: g", "y"),
        (
            "cosmosqa",
            {"context": "c", "question": "q", "answer0": "x", "answer1": "y", "answer2": "z", "answer3": "w"},
            "3",
            "context: c\nquestion: q",
            "w",
        ),
        (
            "socialiqa",
            {"context": "c", "question": "q", "answerA": "x", "answerB": "y", "answerC": "z"},
            "1",
            "context: c\nquestion: q",
            "x",
        ),
        ("alphanli", {"obs1": "a", "obs2": "b", "hyp1": "x", "hyp2": "y"}, "2", "obs1: a\nobs2: b", "y"),
        (
            "winogrande",
            {"sentence": "s _", "option1": "x", "option2": "y", "answer": "2"},
            "",
            "sentence: s _",
            "y",
        ),
        ("hellaswag", {"ctx": "c", "endings": ["x", "y", "z", "w"], "label": 2}, "", "ctx: c", "z"),
    ],
)
def test_leaderboard_sets(  # noqa: PLR0917
    tmp_path: Path, task: str, row: dict[str, Any], label: str, body: str, target: str
) -> None:
    write(tmp_path / task / "valid.jsonl", [row, row])
    if label:
        write(tmp_path / task / "valid-labels.lst", f"{label}\n{label}\n")
    hidden = {key: value for key, value in row.items() if key not in ("label", "answer")}
    write(tmp_path / task / "test.jsonl", [hidden])
    (info,) = ExMix(str(tmp_path)).tasks()
    assert (info.splits, info.metric) == (("validation",), "accuracy")
    examples, skipped = examples_of(tmp_path, task, "validation")
    assert len(examples) == 2
    assert skipped == {"no label": 1}  # the hidden test set
    assert _body(examples[0]).startswith(body + "\nChoices:\n- ")
    assert examples[0].references == (target,)
    assert all(f"\n- {option}" in examples[0].source for option in examples[0].options)


def test_commonsense_questions(tmp_path: Path) -> None:
    choices = [{"label": "A", "text": "bank"}, {"label": "B", "text": "mall"}]
    row = {"question": {"stem": "Where?", "choices": choices}, "answerKey": "B", "id": "1"}
    write(tmp_path / "commonsenseqa/dev_rand_split.jsonl", [row])
    write(tmp_path / "commonsenseqa/test_rand_split_no_answers.jsonl", [{"question": row["question"]}])
    assert _pairs(tmp_path, "commonsenseqa", "validation") == [
        ("Question: Where?\nChoices:\n- bank\n- mall", ("mall",))
    ]
    assert examples_of(tmp_path, "commonsenseqa", "validation")[1] == {"no label": 1}
    rows = [{"question": "Wet?", "answer": "yes"}, {"question": "Dry?"}]
    write(tmp_path / "csqa2/CSQA2_dev.json.gz", "".join(json.dumps(row) + "\n" for row in rows))
    (example,), skipped = examples_of(tmp_path, "csqa2", "validation")
    assert (_body(example), example.references, example.options) == ("Wet?", ("yes",), ("yes", "no"))
    assert skipped == {"no label": 1}


def test_pronouns(tmp_path: Path) -> None:
    write(tmp_path / "coref/train.c.txt", "Ann hit Bo as he ran.\nhe\nAnn,Bo\nBo\n")
    write(tmp_path / "coref/PDP.txt", "A man [MASK] ran \n[MASK]\n A , B , C \n C \n\nx\n[MASK]\nA,B\nD\n")
    write(tmp_path / "coref/winobias_dev.txt", "a\nhe\nB,C\nC\n")
    write(tmp_path / "coref/else.txt", "a\nhe\nB,C\nC\n")
    header = "ID\tText\tPronoun\tPronoun-offset\tA\tA-offset\tA-coref\tB\tB-offset\tB-coref\tURL\n"
    write(
        tmp_path / "gap/gap-development.tsv",
        header + 't-1\tAnn "saw" Bo, her.\this\t9\tAnn\t0\tFALSE\tBo\t4\tFALSE\turl\n',
    )
    assert {task.task: task.splits for task in ExMix(str(tmp_path)).tasks()} == {
        "definite_pronoun_resolution": ("train",),
        "gap": ("train",),
        "pdp60": ("test",),
        "winobias": ("validation",),
    }
    assert _pairs(tmp_path, "definite_pronoun_resolution", "train") == [
        ("Sentence: Ann hit Bo as he ran.\nPronoun: he\nChoices:\n- Ann\n- Bo", ("Bo",))
    ]
    assert _pairs(tmp_path, "pdp60", "test") == [
        ("Sentence: A man [MASK] ran\nChoices:\n- A\n- B\n- C", ("C",))
    ]
    assert examples_of(tmp_path, "pdp60", "test")[1] == {"answer is no candidate": 1}
    assert _pairs(tmp_path, "gap", "train") == [
        ('Ann "saw" Bo, her.\nPronoun: his (character 9)\nChoices:\n- Ann\n- Bo\n- neither', ("neither",))
    ]
    assert ExMix(str(tmp_path)).unread() == {tmp_path / "coref/else.txt": "no known form"}


def test_labelled_texts(tmp_path: Path) -> None:
    rows = [
        {"sentence": "t1", "label": "yes"},
        {"sentence": "t2", "label": "-"},
        {"sentence": "t3", "label": "no"},
    ]
    write(tmp_path / "cl_benchmark/NLI/cb/dev.json", rows)
    (task,) = ExMix(str(tmp_path)).tasks()
    assert (task.task, task.category) == ("cl_benchmark/NLI/cb", "Textual Entailment")
    examples, skipped = examples_of(tmp_path, task.task, "validation")
    assert [(_body(e), e.references[0]) for e in examples] == [
        ("t1\nChoices:\n- no\n- yes", "yes"),
        ("t3\nChoices:\n- no\n- yes", "no"),
    ]
    assert skipped == {"no label": 1}
    write(tmp_path / "cl_benchmark/NLI/cb/labels.json", ["yes", "no", "open"])
    assert examples_of(tmp_path, task.task, "validation")[0][0].options == ("yes", "no", "open")


def test_arguments_and_authors(tmp_path: Path) -> None:
    header = "topic\tretrievedUrl\tarchivedUrl\tsentenceHash\tsentence\tannotation\tset\n"
    row = 'cloning\tu\ta\th\tIt "helps" .\tArgument_for\t{}\n'
    write(tmp_path / "ukp/data/complete/cloning.tsv", header + row.format("train") + row.format("val"))
    (example,), _ = examples_of(tmp_path, "ukp", "validation")
    assert (_body(example), example.references) == (
        'Topic: cloning\nSentence: It "helps" .',
        ("argument for",),
    )
    assert example.example_id == "data/complete/cloning.tsv:3"
    for name in ("webtext", "small-117M", "xl-1542M-k40"):
        write(tmp_path / f"gpt2_output/{name}.valid.jsonl", [{"id": 1, "text": f"by {name}"}, {"text": " "}])
    assert _pairs(tmp_path, "gpt2_output", "validation") == [
        ("by small-117M", ("machine",)),
        ("by webtext", ("human",)),
        ("by xl-1542M-k40", ("machine",)),
    ]
    ids = [example.example_id for example in examples_of(tmp_path, "gpt2_output", "validation")[0]]
    assert ids == ["small-117M.valid.jsonl:1", "webtext.valid.jsonl:1", "xl-1542M-k40.valid.jsonl:1"]


@pytest.mark.parametrize("layout", ["csv", "dataset"])
def test_toxicity(tmp_path: Path, layout: str) -> None:
    if layout == "csv":
        columns = "id,comment_text,toxic,severe_toxic,obscene,threat,insult,identity_hate\n"
        rows = 'a,"You\nfool",1,0,0,0,1,0\nb,Hi,0,0,0,0,0,0\nc,?,-1,-1,-1,-1,-1,-1\n'
        write(tmp_path / "wikipedia_toxicity_subtypes/wikidata_train.csv", columns + rows)
    else:
        names = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
        made = [("You\nfool", {"toxicity", "insult"}), ("Hi", set())]
        table = [{"text": text} | {name: float(name in found) for name in names} for text, found in made]
        write(
            tmp_path / "wikipedia_toxicity_subtypes/EnglishSubtypes/train.jsonl",
            [*table, table[0] | dict.fromkeys(names, -1)],
        )
    assert _pairs(tmp_path, "wikipedia_toxicity_subtypes", "train") == [
        ("You\nfool", ("toxic, insult",)),
        ("Hi", ("none",)),
    ]
    assert examples_of(tmp_path, "wikipedia_toxicity_subtypes", "train")[1] == {"no label": 1}
    assert not ExMix(str(tmp_path)).unread()


def test_facts_and_entities(tmp_path: Path) -> None:
    fact = {"masked_sentence": "Paris is in [MASK].", "obj_surface": "French", "sub_surface": "Paris"}
    rows = [
        {"obj_label": "France", "evidences": [fact, fact]},
        {"obj_label": "France", "evidences": []},
        {"obj_label": "x", "evidences": [fact | {"masked_sentence": "Paris"}]},
    ]
    write(tmp_path / "lama_trex/P17/test.jsonl.gz", rows)
    assert _pairs(tmp_path, "lama_trex/P17", "test") == [("Paris is in [MASK].", ("French", "France"))]
    write(tmp_path / "lama_trex/TREx/P19.jsonl", rows[:1])
    assert _pairs(tmp_path, "lama_trex/TREx", "test") == [("Paris is in [MASK].", ("French", "France"))]
    skipped = examples_of(tmp_path, "lama_trex/P17", "test")[1]
    assert skipped == {"no evidence sentence": 1, "nothing is masked": 1}
    linked = {
        "id": "1",
        "input": "a [START_ENT] b [END_ENT]",
        "output": [{"answer": "B"}, {"provenance": []}],
    }
    write(tmp_path / "kilt/wned-dev-kilt.jsonl", [linked])
    write(tmp_path / "kilt/aidayago2-train-kilt.jsonl", [linked])
    write(tmp_path / "kilt/aidayago2-test_without_answers-kilt.jsonl", [{"id": "2", "input": "x"}])
    assert _pairs(tmp_path, "wned", "validation") == [("a [START_ENT] b [END_ENT]", ("B",))]
    assert examples_of(tmp_path, "aidayago2", "train")[1] == {"no label": 1}


def test_logical_forms(tmp_path: Path) -> None:
    write(tmp_path / "cogs/data/train.tsv", "A cat ran .\tcat ( x ) AND run\tin_distribution\n")
    write(tmp_path / "cogs/data/gen.tsv", "A dog ran .\tdog ( x )\tsubj\n")
    assert _pairs(tmp_path, "cogs", "train") == [("A cat ran .", ("cat ( x ) AND run",))]
    assert _pairs(tmp_path, "cogs", "test") == [("A dog ran .", ("dog ( x )",))]
    write(tmp_path / "funql/data/geo/geo_funql_test.tsv", "what ?\tanswer(all)\n")
    write(tmp_path / "funql/data/job/job_funql_test.tsv", "jobs ?\tanswer(job(\n")
    write(tmp_path / "funql/data/job/job_funql_test_fixed.tsv", "jobs ?\tanswer(job(all))\n")
    write(tmp_path / "funql/data/geo/geo_prolog_test.tsv", "what ?\tanswer(A,all)\n")
    assert _pairs(tmp_path, "funql", "test") == [
        ("what ?", ("answer(all)",)),
        ("jobs ?", ("answer(job(all))",)),
    ]
    assert {path.name: why for path, why in ExMix(str(tmp_path)).unread().items()} == {
        "geo_prolog_test.tsv": "no known form",
        "job_funql_test.tsv": "replaced by its corrected version",
    }


def test_rewritten_sentences_and_quiz_questions(tmp_path: Path) -> None:
    write(tmp_path / "styleptb/TFU/train.tsv", "He ran\tHe will run\n")
    write(tmp_path / "styleptb/Compositional Datasets/Tense + Voice/train.tsv", "0 4 He ran\tHe ran\n")
    assert _pairs(tmp_path, "styleptb", "train") == [
        ("Transfer: Tense + Voice\nSentence: 0 4 He ran", ("He ran",)),
        ("Transfer: to future tense\nSentence: He ran", ("He will run",)),
    ]
    write(tmp_path / "shakespeare/data/train.modern.nltktok", "You are .\n\n")
    write(tmp_path / "shakespeare/data/train.original.nltktok", "Thou art .\nx\n")
    assert _pairs(tmp_path, "shakespeare", "train") == [("You are .", ("Thou art .",))]
    assert examples_of(tmp_path, "shakespeare", "train")[1] == {"empty text": 1}
    write(
        tmp_path / "newsquizqa/data/news_quiz_qa-dev.csv", 'url,question,answer\nhttp://x,"Who, then?",27\n'
    )
    assert _pairs(tmp_path, "newsquizqa", "validation") == [
        ("News story: http://x\nAnswer: 27", ("Who, then?",))
    ]


def test_restaurants_from_e2e(tmp_path: Path) -> None:
    table = 'mr,ref\n"name[Aro], food[Thai]",Aro is Thai.\n"name[Aro], food[Thai]","Thai, Aro."\nname[Bo],\n'
    write(tmp_path / "e2e_nlg/trainset.csv", table)
    write(tmp_path / "e2e_nlg/devset.csv", table)
    source = "name[Aro], food[Thai]"
    assert _pairs(tmp_path, "e2e_nlg", "train") == [(source, ("Aro is Thai.",)), (source, ("Thai, Aro.",))]
    assert examples_of(tmp_path, "e2e_nlg", "train")[1] == {"no label": 1}
    assert _pairs(tmp_path, "e2e_nlg", "validation") == [(source, ("Aro is Thai.", "Thai, Aro."))]
    write(tmp_path / "e2e_nlg/devset.csv", "meaning,ref\na,b\n")
    with pytest.raises(UserError, match="no columns 'mr' and 'ref'"):
        examples_of(tmp_path, "e2e_nlg", "validation")


def test_what_opt_iml_has(tmp_path: Path) -> None:
    assert set(OPT_IML_TASKS) <= set(ExMix.known())
    assert set(OPT_IML_TASKS) == {row.task for row in known_tasks.every("exmix")}
    write(tmp_path / "banking77/train.csv", "text,category\nx,y\n")
    write(tmp_path / "hwu64/train.csv", "text,category\nx,y\n")
    roles = {task.task: task.role for task in ExMix(str(tmp_path), tasks_kept="opt_iml").tasks()}
    assert roles == {"banking77": "excluded", "hwu64": "train"}


def test_all_public_files(shared: Path) -> None:
    data_dir = shared / "data" / "exmix"
    source = ExMix(str(data_dir))
    tasks = source.tasks()
    examples, skipped = 0, collections.Counter[str]()
    for task in tasks:
        assert not task.category.startswith("Uncategorised")
        for split in task.splits:
            made = list(source.examples(task, split, skipped))
            assert len({example.example_id for example in made}) == len(made)
            assert all(bool(example.options) == (task.metric == "accuracy") for example in made)
            assert all(not e.options or e.references[0] in e.options for e in made)
            examples += len(made)
    assert (len(tasks), examples) == (37, 19_532)
    # DSTC8's training sets are nested; "-" is MNLI's mark of no agreement.
    assert skipped == {"repeated from another file": 217, "no label": 2}
    assert not source.unread()
    read = {path for task in tasks for path in task.files}
    assert read == {path for path in data_dir.rglob("*") if path.is_file()}
    assert len(read) == 74
