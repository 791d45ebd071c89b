"""Which files make which reasoning set; forms, twins, roles, splits; all real files."""

from __future__ import annotations

import collections
import gzip
import json
import pickle
import re
from pathlib import Path

import pytest

from iml_jax.bench import known_tasks
from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import TaskInfo
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.foundation.errors import UserError

GSM8K = '{"question": "How many?", "answer": "1+1=<<1+1=2>>2\\n#### 2"}\n'


def put(folder: Path, *names: str, content: str = GSM8K) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(folder)


def listed(source: Reasoning) -> dict[str, TaskInfo]:
    return {task.task: task for task in source.tasks()}


def read(source: Reasoning, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    return list(source.examples(listed(source)[task], split, skipped)), dict(skipped)


def test_the_sets_of_opt_iml_bench() -> None:
    assert Reasoning.known() == tuple(row.task for row in known_tasks.every("reasoning"))
    assert len(Reasoning.known()) == 14


# Files as the public repositories and archives have them.
LAYOUT = {
    "grade-school-math/grade_school_math/data/train.jsonl": ("gsm8k", "train"),
    "grade-school-math/grade_school_math/data/test_socratic.jsonl": ("gsm8k_socratic", "test"),
    "strategyqa/data/strategyqa_train.json": ("strategyqa", "train"),
    "AQuA/train.json": ("aqua", "train"),
    "aqua_rat/dev.json.gz": ("aqua", "validation"),
    "coqa/coqa-dev-v1.0.json": ("coqa", "validation"),
    "cos-e/data/v1.11/train/cose_train_v1.11_processed.jsonl": ("cos_e", "train"),
    "creak/data/creak/dev.json": ("creak", "validation"),
    "ECQA-Dataset/cqa_data_test.csv": ("ecqa", "test"),
    "e-SNLI/dataset/esnli_train_1.csv": ("esnli", "train"),
    "e-SNLI/dataset/esnli_train_2.csv": ("esnli", "train"),
    "MATH/test/number_theory/12.json": ("math", "test"),
    "proofwriter-dataset-V2020.12.3/OWA/depth-5/meta-train.jsonl": ("proofwriter", "train"),
    "qasc/QASC_Dataset/train.jsonl": ("qasc", "train"),
    "QED/qed-train.jsonlines": ("qed", "train"),
    "SemEval2020-Task4/ALL data/train.csv": ("sensemaking", "train"),
    "WinoWhy/winowhy.json": ("winowhy", "train"),
    "nlu-asdiv-dataset/dataset/ASDiv.xml": ("asdiv", "test"),
    "SVAMP/data/mawps-asdiv-a_svamp/train.csv": ("mawps_asdiv", "train"),
    "zero_shot_cot/dataset/AQuA/test.json": ("zero_shot_cot/AQuA", "test"),
    "zero_shot_cot/dataset/MultiArith/MultiArith.json": ("zero_shot_cot/MultiArith", "test"),
    "zero_shot_cot/dataset/SingleEq/questions.json": ("zero_shot_cot/SingleEq", "test"),
    "zero_shot_cot/dataset/StrategyQA/task.json": ("zero_shot_cot/StrategyQA", "test"),
    "zero_shot_cot/dataset/last_letters/last_letters.json": ("zero_shot_cot/last_letters", "test"),
    "cot_data/other_dev.tsv": ("other", "validation"),
}
UNREAD = {
    "ECQA-Dataset/cqa_data.csv": "cqa_data_train, _val and _test in one",
    "MATH/README.md": "no known form of a reasoning set",
    "aqua_rat/train.tok.json": "tokenised copies",
    "cos-e/data/v1.0/train_rand_split.jsonl": "CoS-E v1.0: v1.11 is read",
    "cos-e/data/v1.11/train/cose_train_v1.11.jsonl": "which is another form of cos_e",
    "cot_templates_v2.json": "FLAN's prompts",
    "creak/data/creak/contrast_set.json": "claims without explanations",
    "deep/cot_data/x_train.tsv": "no known form",
    "proofwriter-dataset-V2020.12.3/CWA/depth-5/meta-train.jsonl": "OWA/depth-5 of ProofWriter is read",
    "proofwriter-dataset-V2020.12.3/OWA/depth-5/meta-abduct-train.jsonl": "no questions with proofs",
    "strategyqa/data/strategyqa_train_filtered.json": "no facts",
}


def test_files_of_public_distributions(tmp_path: Path) -> None:
    source = Reasoning(put(tmp_path / "sets", *LAYOUT, *UNREAD))
    found = listed(source)
    for name, (task, split) in LAYOUT.items():
        assert tmp_path / "sets" / name in found[task].files, name
        assert split in found[task].splits, name
    assert found.keys() == {task for task, _ in LAYOUT.values()}
    assert set(Reasoning.known()) < found.keys()
    unread = {path.relative_to(tmp_path / "sets").as_posix(): why for path, why in source.unread().items()}
    assert list(unread) == sorted(UNREAD)
    for name, why in UNREAD.items():
        assert why in unread[name]
    assert pickle.loads(pickle.dumps(source)) == source


def test_the_folder_itself_may_be_the_set(tmp_path: Path) -> None:
    assert listed(Reasoning(put(tmp_path / "gsm8k", "train.jsonl"))).keys() == {"gsm8k"}


def test_a_task_in_both_forms_is_read_once_and_a_form_can_be_chosen(tmp_path: Path) -> None:
    folder = put(tmp_path, "gsm8k/train.jsonl", "qasc/train.jsonl")
    put(tmp_path, "gsm8k_train.tsv", content="q\t1\tr\n")
    raw, tsv = tmp_path / "gsm8k" / "train.jsonl", tmp_path / "gsm8k_train.tsv"
    assert listed(Reasoning(folder))["gsm8k"].files == (raw,)
    assert list(Reasoning(folder).unread()) == [tsv]
    assert f"gsm8k is read from {raw}" in Reasoning(folder).unread()[tsv]
    put(tmp_path, "qasc/test.jsonl")
    (tmp_path / "qasc/train.jsonl").unlink()
    put(tmp_path, "qasc_train.tsv", content="q\t1\tr\n")  # the only one with training rows
    assert listed(Reasoning(folder))["qasc"].files == (tmp_path / "qasc_train.tsv",)
    assert tmp_path / "qasc/test.jsonl" in Reasoning(folder).unread()
    assert listed(Reasoning(folder, form="tsv"))["gsm8k"].files == (tsv,)
    assert listed(Reasoning(folder, form="raw"))["gsm8k"].files == (raw,)
    assert Reasoning(folder, form="tsv").unread()[raw] == "not of the form 'tsv'"
    with pytest.raises(UserError, match="must be tsv, raw or empty"):
        Reasoning(folder, form="both")


def test_a_split_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    folder = put(tmp_path, "gsm8k/train.jsonl", "grade_school_math/train.jsonl")
    first, second = tmp_path / "grade_school_math/train.jsonl", tmp_path / "gsm8k/train.jsonl"
    assert listed(Reasoning(folder))["gsm8k"].files == (first,)
    assert Reasoning(folder).unread() == {second: f"the same split as {first}, which is read"}
    other = put(tmp_path / "other", "esnli_train_1.csv", "esnli_train_1.csv.gz")
    assert listed(Reasoning(other))["esnli"].files == (tmp_path / "other/esnli_train_1.csv",)
    assert list(Reasoning(other).unread()) == [tmp_path / "other/esnli_train_1.csv.gz"]


def test_one_data_set_of_proofwriter(tmp_path: Path) -> None:
    folder = put(
        tmp_path, "OWA/depth-3/meta-dev.jsonl", "OWA/depth-5/meta-dev.jsonl", "CWA/depth-3/meta-dev.jsonl"
    )
    (task,) = Reasoning(folder, proofwriter="CWA/depth-3").tasks()
    assert task.files == (tmp_path / "CWA/depth-3/meta-dev.jsonl",)
    with pytest.raises(
        UserError, match=r"= NatLang ends none of .*one of CWA/depth-3, OWA/depth-3, OWA/depth-5"
    ):
        Reasoning(folder, proofwriter="NatLang").tasks()
    put(tmp_path, "copy/OWA/depth-5/meta-dev.jsonl")
    (task,) = Reasoning(folder).tasks()
    read, copy = tmp_path / "OWA/depth-5", tmp_path / "copy/OWA/depth-5/meta-dev.jsonl"
    assert task.files == (read / "meta-dev.jsonl",)
    assert Reasoning(folder).unread()[copy] == f"the same data set as {read}, which is read"
    (task,) = Reasoning(put(tmp_path / "one", "NatLang/meta-test.jsonl")).tasks()
    assert task.splits == ("test",)


def test_roles(tmp_path: Path) -> None:
    names = ("gsm8k/train.jsonl", "ASDiv.xml", "AddSub.json", "mawps_asdiv/train.csv")
    source = Reasoning(put(tmp_path, *names), held_out_rows=1)
    roles = {task.task: (task.role, task.splits, task.category) for task in source.tasks()}
    assert roles == {
        "asdiv": ("evaluation", ("test",), "Reasoning"),
        "gsm8k": ("train", ("train", "test"), "Reasoning"),
        "mawps_asdiv": ("excluded", ("train",), "Reasoning"),
        "zero_shot_cot/AddSub": ("evaluation", ("test",), "Reasoning"),
    }
    made = source.assigned(listed(source)["zero_shot_cot/AddSub"], trained=True, evaluated=True)
    assert (made.role, made.splits) == ("evaluation", ("test",)), "a canary is never trained on"
    made = source.assigned(listed(source)["gsm8k"], trained=False, evaluated=True)
    assert (made.role, made.splits) == ("evaluation", ("test",))


def test_held_out_questions_are_those_of_several_files(tmp_path: Path) -> None:
    row = "gold_label,Sentence1,Sentence2,Explanation_1\nneutral,{},b,why\n"
    for number in (1, 2):
        put(tmp_path, f"esnli_train_{number}.csv", content=row.format(number))
    put(tmp_path, "esnli_train_3.csv")
    source = Reasoning(str(tmp_path), held_out_rows=1)
    test, _ = read(source, "esnli", "test")
    train, _ = read(source, "esnli", "train")
    assert [example.source.split("\n")[0] for example in (*test, *train)] == ["Premise: 1", "Premise: 2"]


def test_identities_are_unique_and_repeats_of_held_out_questions_are_not_trained_on(tmp_path: Path) -> None:
    rows = [{"qid": "same", "question": f"Q{n % 2}?", "answer": True, "facts": [f"f{n}"]} for n in range(4)]
    put(tmp_path, "strategyqa_train.json", content=json.dumps(rows))
    source = Reasoning(str(tmp_path), held_out_rows=1)
    train, skipped = read(source, "strategyqa", "train")
    assert [example.example_id for example in train] == ["same", "same#3"]
    assert skipped == {"same input as a held-out instance": 1}


def test_demonstrations_come_from_the_training_rows(tmp_path: Path) -> None:
    source = Reasoning(put(tmp_path, "gsm8k/train.jsonl", "gsm8k/test.jsonl"), evaluation_tasks=("gsm8k",))
    (task,) = source.tasks()
    assert (task.role, task.splits) == ("evaluation", ("test",))
    (shown,) = source.demonstrations(task, collections.Counter())
    assert shown.split == "train"


def test_files_that_vanish(tmp_path: Path) -> None:
    source = Reasoning(put(tmp_path, "gsm8k/train.jsonl"))
    (task,) = source.tasks()
    (tmp_path / "gsm8k/train.jsonl").unlink()
    with pytest.raises(UserError, match="the files of gsm8k are gone"):
        list(source.examples(task, "train", collections.Counter()))


def test_settings_tell_what_decides_the_examples(tmp_path: Path) -> None:
    folder = put(tmp_path, "gsm8k/train.jsonl")
    source, other = Reasoning(folder), Reasoning(folder, form="raw", proofwriter="CWA/depth-1")
    assert source.settings() != other.settings()
    json.dumps(source.settings())


REAL = {
    "tsv": {
        ("aqua", "train"): 2500,
        ("ecqa", "train"): 2500,
        ("gsm8k", "train"): 2500,
        ("sensemaking", "train"): 2500,
    },
    "raw": {
        ("aqua", "validation"): 254,
        ("aqua", "test"): 254,
        ("asdiv", "test"): 2305,
        ("cos_e", "train"): 46,
        ("cos_e", "validation"): 391,
        ("gsm8k", "train"): 1000,
        ("gsm8k", "test"): 1319,
        ("gsm8k_socratic", "test"): 400,
        ("mawps_asdiv", "train"): 596,
        ("qed", "validation"): 350,
        ("sensemaking", "validation"): 1000,
        ("sensemaking", "test"): 1000,
        ("zero_shot_cot/AQuA", "test"): 254,
        ("zero_shot_cot/AddSub", "test"): 395,
        ("zero_shot_cot/MultiArith", "test"): 600,
        ("zero_shot_cot/SVAMP", "test"): 1000,
        ("zero_shot_cot/SingleEq", "test"): 508,
        ("zero_shot_cot/StrategyQA", "test"): 600,
        ("zero_shot_cot/coin_flip", "test"): 500,
        ("zero_shot_cot/last_letters", "test"): 500,
    },
}
# Only the first 400 questions of each split of CommonsenseQA are there.
REAL_SKIPPED = {
    ("cos_e", "train"): {"question not in the CommonsenseQA files": 1154},
    ("cos_e", "validation"): {"question not in the CommonsenseQA files": 809},
    ("mawps_asdiv", "train"): {"equation that does not give the answer": 4},
}


@pytest.mark.parametrize("form", ["tsv", "raw"])
def test_all_real_files(shared: Path, form: str) -> None:
    questions = shared / "data/promptsource/hf_jsonl/commonsense_qa"
    source = Reasoning(str(shared / "data/reasoning"), form=form, commonsenseqa_dir=str(questions))
    counts, losses = {}, {}
    for task in source.tasks():
        for split in task.splits:
            made, skipped = read(source, task.task, split)
            assert len({example.example_id for example in made}) == len(made)
            assert all(" The answer is " in f" {text}" for example in made for text in example.references)
            counts[task.task, split] = len(made)
            if skipped:
                losses[task.task, split] = skipped
    assert counts == REAL[form]
    assert losses == (REAL_SKIPPED if form == "raw" else {})


def test_every_real_file_is_read_in_one_form_or_the_other(shared: Path) -> None:
    folder = shared / "data/reasoning"
    questions = str(shared / "data/promptsource/hf_jsonl/commonsense_qa")
    sources = [Reasoning(str(folder), form=form, commonsenseqa_dir=questions) for form in ("tsv", "raw")]
    files = {path for source in sources for task in source.tasks() for path in task.files}
    every = {path for path in folder.rglob("*") if path.is_file()}
    assert every - files == {folder / "cot_templates_v2.json"}
    assert sources[1].unread()[folder / "cot_templates_v2.json"].startswith("FLAN's prompts")


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_gsm8k_answers_are_what_follows_the_mark(shared: Path, split: str) -> None:
    with gzip.open(shared / f"data/reasoning/gsm8k/{split}.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    made, _ = read(Reasoning(str(shared / "data/reasoning"), form="raw"), "gsm8k", split)
    for row, example in zip(rows, made, strict=True):
        target = example.references[0]
        assert target.rpartition(" The answer is ")[2] == f"{row['answer'].split('#### ')[1].strip()}."
        assert "<<" not in target and "####" not in target


def test_real_tsv_and_raw_rows_ask_the_same_questions(shared: Path) -> None:
    folder = str(shared / "data/reasoning")
    raw, tsv = (read(Reasoning(folder, form=form), "gsm8k", "train")[0] for form in ("raw", "tsv"))
    asked = [[" ".join(example.source.split()) for example in form[:500]] for form in (raw, tsv)]
    assert asked[0] == asked[1]
    answers = [[_answer(example) for example in form[:500]] for form in (raw, tsv)]
    assert answers[0] == answers[1]


def _answer(example: Example) -> str:
    """FLAN writes 1,080 as 1080."""
    return example.references[0].rpartition(" The answer is ")[2].replace(",", "")


def test_real_confusing_reasons_are_not_trained_on(shared: Path) -> None:
    made, _ = read(Reasoning(str(shared / "data/reasoning"), form="raw"), "sensemaking", "validation")
    assert {len(example.references) for example in made} <= {1, 2}, (
        "of three right reasons one is mislabelled"
    )


def test_real_asdiv_formulas_end_in_the_answer(shared: Path) -> None:
    made, _ = read(Reasoning(str(shared / "data/reasoning"), form="raw"), "asdiv", "test")
    simple = [
        re.fullmatch(r"\S+=([\d.]+)\. The answer is ([\d.]+)( .*)?\.", e.references[0], re.S) for e in made
    ]
    pairs = [(float(match[1]), float(match[2])) for match in simple if match]
    assert len(pairs) > 1500
    assert sum(formula == answer for formula, answer in pairs) > 0.99 * len(pairs)
