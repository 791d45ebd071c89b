"""PromptSource: datasets found, roles, every row with every template that applies to it."""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from iml_jax.bench import mixtures, unused_files
from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources.base import OTHER_TASK
from iml_jax.bench.sources.formats import shortening
from iml_jax.bench.sources.promptsource.labels import UNLABELLED_SPLIT
from iml_jax.bench.sources.promptsource.source import PARTIAL, PromptSource, metric_of
from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.foundation.errors import UserError

ROLES = "HF_name,subset,task_by_convention,do_train,do_eval,train_size\n"


def _templates(root: Path, task: str, *entries: dict[str, Any]) -> None:
    """Writes plain mappings: the tags only name what the fields say anyway."""
    path = root / "templates" / task / "templates.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        str(number): {
            "name": f"t{number}",
            "answer_choices": None,
            "metadata": {"original_task": True, "metrics": ["Accuracy"]},
        }
        | entry
        for number, entry in enumerate(entries)
    }
    path.write_text(yaml.safe_dump({"dataset": task, "templates": content}))


def _rows(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = root / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _source(root: Path, **settings: Any) -> PromptSource:
    return PromptSource(str(root / "data"), str(root / "templates"), **settings)


def _examples(source: PromptSource, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, split, skipped)), dict(skipped)


LABELLED = {"jinja": "0 {{text}} ||| {{answer_choices[label]}}", "answer_choices": "no ||| yes"}
OTHER = {"jinja": "write ||| {{text}}", "metadata": {"original_task": False, "metrics": ["ROUGE"]}}


def test_the_seed_decides_the_random_choices_of_templates(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "{{ ['a', 'b', 'c', 'd'] | choice }} {{text}} ||| {{text}}"})
    rows = [{"text": f"x{index}", "label": 0} for index in range(40)]
    for split in ("train", "validation"):
        _rows(tmp_path, f"d/default/{split}.jsonl", rows)

    def prompts(seed: int) -> list[str]:
        return [example.source for example in _examples(_source(tmp_path, seed=seed), "d", "train")[0]]

    first, again, other = prompts(1), prompts(1), prompts(2)
    assert len(first) == 40 and first == again
    assert {prompt[0] for prompt in first} == set("abcd")
    assert sum(one != two for one, two in zip(first, other, strict=True)) > 15  # 30 expected
    assert _source(tmp_path, seed=1).settings() != _source(tmp_path, seed=2).settings()


def test_every_row_has_every_template(tmp_path: Path) -> None:
    again = LABELLED | {"jinja": "1 {{text}} ||| {{answer_choices[label]}}"}
    _templates(tmp_path, "d", LABELLED, again, OTHER)
    rows = [{"text": f"x{index}", "label": index % 2} for index in range(300)]
    for split in ("train", "validation"):
        _rows(tmp_path, f"d/default/{split}.jsonl", rows)
    source = pickle.loads(pickle.dumps(_source(tmp_path)))
    trained, skipped = _examples(source, "d", "train")
    assert [example.source for example in trained] == [f"{t} x{i}" for i in range(300) for t in (0, 1)]
    assert [example.template for example in trained] == ["t0", "t1"] * 300
    assert [e.example_id for e in trained[::2]] == [e.example_id for e in trained[1::2]]
    assert trained == _examples(source, "d", "train")[0]
    evaluated, _ = _examples(source, "d", "validation")
    keys = {(example.example_id, example.template) for example in evaluated}
    assert len(evaluated) == len(keys) == 600
    assert all(example.options == ("no", "yes") and not example.instruction for example in evaluated)
    assert all(
        example.references[0] == ("no", "yes")[int(example.source.split("x")[1]) % 2] for example in evaluated
    )
    assert skipped == {OTHER_TASK: 300}  # of each row one
    every, skipped = _examples(_source(tmp_path, original_task_only=False), "d", "train")
    assert not skipped
    assert {example.template for example in every} == {"t0", "t1", "t2"}


def test_every_right_answer_is_a_reference_where_a_template_draws_one(tmp_path: Path) -> None:
    draws = {"jinja": "{{question}} ||| {{answer | choice}}"}
    asks = {"jinja": "Ask for {{answer[0]}}: ||| {{question}}"}
    for task in ("nq_open", "d"):
        _templates(tmp_path, task, draws, asks)
        rows = [{"question": f"q{number}", "answer": ["two", " 2 ", "II"]} for number in range(20)]
        for split in ("train", "validation"):
            _rows(tmp_path, f"{task}/default/{split}.jsonl", rows)
    source = _source(tmp_path)
    evaluated, _ = _examples(source, "nq_open", "validation")
    answered = [one for one in evaluated if one.template == "t0"]
    assert {frozenset(one.references) for one in answered} == {frozenset({"two", "2", "II"})}
    assert len({one.references[0] for one in answered}) > 1  # still the drawn one first
    assert all(len(one.references) == 1 for one in evaluated if one.template == "t1")
    for task, split in (("nq_open", "train"), ("d", "validation")):
        assert all(len(one.references) == 1 for one in _examples(source, task, split)[0])


def test_templates_that_do_not_apply_are_counted(tmp_path: Path) -> None:
    _templates(
        tmp_path,
        "d",
        {"jinja": "{% if label %}a {{text}} ||| b{% endif %}"},
        {"jinja": "{% if label == 1 %}c {{text}} ||| {{ list[0] }}{% endif %}"},
        {"jinja": "{{ list.index(3) }} ||| {{ text }}"},
        {"jinja": "{{ text }} {{ other }} ||| t"},
        {"jinja": "{{ text }} {{ note }} ||| t"},
        {"jinja": "{% if note %}{{ text }} {{ note }} ||| t{% endif %}"},
    )
    _rows(
        tmp_path,
        "d/train.jsonl",
        [
            {
                "text": str(index),
                "label": index % 3,
                "list": [3] * (index % 2),
                "note": None if index < 5 else "n",
            }
            for index in range(60)
        ],
    )
    trained, skipped = _examples(_source(tmp_path), "d", "train")
    # t0 applies to labels 1 and 2; t1 to label 1, and fails on the half of those that have no list
    assert collections.Counter(example.template for example in trained) == {
        "t0": 40,
        "t1": 10,
        "t2": 30,
        "t4": 55,  # never the word "None" for a null
        "t5": 55,
    }
    assert skipped == {
        "template does not apply to the row": 20 + 40 + 10 + 5,
        "template prints a value that is null in the row": 5,
        "template fails on the row (ValueError)": 30,
        "template needs a column that the row has not": 60,
    }
    assert len(trained) + sum(skipped.values()) == 6 * 60


def test_evaluation_leaves_out_templates_that_do_not_apply_to_every_example(tmp_path: Path) -> None:
    jinjas = ("{{a}} ||| t", "{% if a %}{{a}} ||| t{% endif %}", "{% if a != 5 %}{{a}} ||| t{% endif %}")
    for task in ("d", "turk", "english"):
        _templates(tmp_path, task, *({"jinja": jinja} for jinja in jinjas))
        for split in ("train", "validation", "test"):
            _rows(tmp_path, f"{task}/{split}.jsonl", [{"a": a} for a in range(10)])
    # Rows that no template applies to are no examples: the templates are not to blame.
    english = [{"jinja": "{% if a > 4 %}" + jinja + "{% endif %}"} for jinja in jinjas]
    _templates(tmp_path, "english", *english)
    _rows(tmp_path, "english/validation.jsonl", [{"a": a} for a in (*range(5), 6, 7, 8, 9)])
    source = _source(tmp_path)
    for split in ("validation", "test"):
        evaluated, skipped = _examples(source, "d", split)
        assert collections.Counter(example.template for example in evaluated) == {"t0": 10}
        assert skipped == {PARTIAL: 20}
    trained, skipped = _examples(source, "d", "train")
    assert collections.Counter(example.template for example in trained) == {"t0": 10, "t1": 9, "t2": 9}
    assert skipped == {"template does not apply to the row": 2}
    evaluated, skipped = _examples(source, "turk", "test")
    assert len(evaluated) == 28
    assert skipped == {"template does not apply to the row": 2}
    evaluated, skipped = _examples(source, "english", "validation")
    assert collections.Counter(example.template for example in evaluated) == {"t0": 4, "t1": 4, "t2": 4}
    assert skipped == {"template does not apply to the row": 15}
    evaluated, skipped = _examples(source, "english", "test")
    assert collections.Counter(example.template for example in evaluated) == {"t0": 5, "t1": 5}
    assert skipped == {"template does not apply to the row": 10, PARTIAL: 10}
    strict = _source(tmp_path, partial_templates=())
    assert len(_examples(strict, "turk", "test")[0]) == 10
    # The listing reads one example and does not go through the split.
    (info,) = [info for info in source.tasks() if info.task == "d"]
    with (tmp_path / "data" / "d" / "test.jsonl").open("a") as stream:
        stream.write("{")
    source.probe(info, "test")
    with pytest.raises(UserError, match="malformed JSON"):
        list(source.examples(info, "test", collections.Counter()))


def test_templates_without_choices_are_not_scored_by_accuracy(tmp_path: Path) -> None:
    _templates(tmp_path, "d", LABELLED, {"jinja": "{{text}} ||| yes", "metadata": OTHER["metadata"]})
    _rows(tmp_path, "d/test.jsonl", [{"text": "a", "label": 1}])
    evaluated, skipped = _examples(_source(tmp_path, original_task_only=False), "d", "test")
    assert [example.template for example in evaluated] == ["t0"]
    assert skipped == {"template without answer choices (the task is scored by accuracy)": 1}


def test_values_are_cut_as_promptsource_cuts_them(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "q {{text}} {{text}} ||| {{text}}"})
    _rows(tmp_path, "d/train.jsonl", [{"text": "word " * 1000}, {"text": "short"}])
    kept = ("word " * 409).strip() + "..."
    assert len(kept) == 2047
    (example, _), counted = _examples(_source(tmp_path), "d", "train")
    assert (example.source, example.references) == (f"q {kept} {kept}", (kept,))
    assert shortening.kept(counted) == {"a value of more than 2048 characters": 1}
    assert not shortening.lost(counted)
    (example, _), counted = _examples(_source(tmp_path, value_limit=0), "d", "train")
    assert len(example.source) == 10_002 and not counted
    with pytest.raises(UserError, match="value_limit"):
        _source(tmp_path, value_limit=-1)


def test_known_tasks_and_what_a_missing_one_needs(tmp_path: Path) -> None:
    for task in ("glue/rte", "ag_news", "story_cloze/2016", "Zaid/coqa_expanded"):
        _templates(tmp_path, task, {"jinja": "{{text}} ||| t"})
    _rows(tmp_path, "glue/rte/train.jsonl", [{"text": "a"}])
    source = _source(tmp_path)
    assert source.known() == ("Zaid/coqa_expanded", "ag_news", "glue/rte", "story_cloze/2016")
    assert [task.task for task in source.tasks()] == ["glue/rte"]
    place = tmp_path / "data" / "ag_news"
    assert f"they belong into {place}/ as SPLIT.jsonl" in source.remedy("ag_news")
    assert f"datasets.load_dataset('ag_news').save_to_disk('{place}')" in source.remedy("ag_news")
    assert "load_dataset('glue', 'mrpc')" in source.remedy("glue/mrpc")
    assert "templates/glue/mrpc/templates.yaml" in source.remedy("glue/mrpc")
    assert "load_dataset('Zaid/coqa_expanded')" in source.remedy("Zaid/coqa_expanded")
    assert "rocstories" in source.remedy("story_cloze/2016")


def test_a_folder_named_as_the_only_subset(tmp_path: Path) -> None:
    for task in ("imdb", "paws-x/en"):
        _templates(tmp_path, task, {"jinja": "{{text}} ||| t"})
    _rows(tmp_path, "imdb/plain_text/train-00000-of-00001.jsonl", [{"text": "a"}])
    _rows(tmp_path, "paws_x/en/train.jsonl", [{"text": "b"}])
    _rows(tmp_path, "other/plain_text/train.jsonl", [{"text": "b"}])
    listed = {task.task: task.role for task in _source(tmp_path).tasks()}
    assert listed == {"imdb": "train", "paws-x/en": "train", "other/plain_text": "excluded"}
    assert [e.source for e in _examples(_source(tmp_path), "imdb", "train")[0]] == ["a"]


def test_listed_templates_are_filtered_whatever_they_say(tmp_path: Path) -> None:
    said = {"original_task": True, "metrics": ["Other"]}
    names = {"quarel": "do_not_use", "health_fact": "claim_explanation_generation_I_because"}
    for task, name in names.items():
        own = {"jinja": "own ||| t", "metadata": said}
        _templates(tmp_path, task, own, own | {"jinja": "listed ||| t", "name": name})
        _rows(tmp_path, f"{task}/train.jsonl", [{"text": "a"}])
    _templates(
        tmp_path, "quarel", {"jinja": "kept ||| t", "name": "do_not_use", "metadata": OTHER["metadata"]}
    )
    source = _source(tmp_path)
    assert [e.source for e in _examples(source, "quarel", "train")[0]] == ["kept"]
    assert [e.source for e in _examples(source, "health_fact", "train")[0]] == ["own"]
    every = _source(tmp_path, original_task_only=False)
    assert [e.source for e in _examples(every, "health_fact", "train")[0]] == ["listed", "own"]
    # Where nothing is marked as the original task, everything is used but what is listed as removed.
    unmarked = [OTHER, OTHER | {"name": "transform_stereo"}, OTHER | {"name": "new"}]
    _templates(tmp_path, "crows_pairs", *unmarked)
    _rows(tmp_path, "crows_pairs/train.jsonl", [{"text": "a"}])
    assert [e.template for e in _examples(source, "crows_pairs", "train")[0]] == ["new", "t0"]


def test_rows_without_a_label_and_targets_outside_the_choices(tmp_path: Path) -> None:
    _templates(tmp_path, "d", LABELLED | {"jinja": "{{text}} ||| {{target or answer_choices[label]}}"})
    rows = [
        {"text": "a", "label": -1, "target": ""},
        {"text": "b", "label": 0, "target": "maybe"},
        {"text": "c", "label": 0, "target": ""},
        {"text": "d \ud800", "label": 0, "target": ""},
        {"text": "e" * 2_000_000, "label": 0, "target": ""},
    ]
    _rows(tmp_path, "d/test.jsonl", rows)
    examples, skipped = _examples(_source(tmp_path), "d", "test")
    assert [example.source for example in examples] == ["c"]
    assert skipped == {
        "unlabelled row": 1,
        "target is not among the answer choices": 1,
        "text that is not valid Unicode": 1,
        "row of more than 1048576 characters": 1,
    }


@pytest.mark.parametrize(
    ("kept_back", "known"),
    [
        ({"label": -1}, {"label": 1}),
        ({"label": ""}, {"label": 1}),  # HellaSwag, as text
        ({"label": 0, "answer": ""}, {"label": 1, "answer": "2"}),  # WinoGrande
        ({"label": 0, "answerKey": None}, {"label": 1, "answerKey": "A"}),
    ],
)
def test_a_test_split_without_labels_is_passed_over(tmp_path: Path, kept_back: dict, known: dict) -> None:
    _templates(tmp_path, "d", LABELLED)
    _rows(tmp_path, "d/train.jsonl", [{"text": "a"} | known])
    _rows(tmp_path, "d/validation.jsonl", [{"text": "b"} | known, {"text": "c"} | kept_back])
    _rows(tmp_path, "d/test.jsonl", [{"text": "x"} | kept_back] * 2)
    source = _source(tmp_path)
    (task,) = source.tasks()
    assert task.splits == ("train", "validation")
    asked = source.assigned(task, trained=False, evaluated=True)
    assert asked.splits == ("validation",)
    examples, skipped = _examples(source, "d", "validation")
    assert [example.source for example in examples] == ["0 b"]
    assert skipped == {"unlabelled row": 1}
    (tmp_path / "data/d/other.parquet").write_bytes(b"")
    aside = {path.name: why for path, why in unused_files.of_source(source, source.tasks()).items()}
    assert aside["test.jsonl"] == UNLABELLED_SPLIT and "other.parquet" in aside
    (tmp_path / "data/d/other.parquet").unlink()
    # Without the validation split the training rows are asked, and are no demonstrations.
    Path(tmp_path, "data", "d", "validation.jsonl").unlink()
    asked = source.assigned(source.tasks()[0], trained=False, evaluated=True)
    assert asked.splits == ("test",)
    assert [example.source for example in source.examples(asked, "test", collections.Counter())] == ["0 a"]
    assert not list(source.demonstrations(asked, collections.Counter()))


def test_columns_with_hyphens(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "{{label_coarse}} ||| t"})
    _rows(tmp_path, "d/train.jsonl", [{"label-coarse": 3}])
    assert _examples(_source(tmp_path), "d", "train")[0][0].source == "3"


def test_datasets_subsets_shards_and_roles(tmp_path: Path) -> None:
    plain = {"jinja": "{{text}} ||| t", "metadata": {"original_task": True, "metrics": ["ROUGE"]}}
    for task in ("a", "b/s", "user/c", "e", "f", "g", "h"):
        _templates(tmp_path, task, plain)
    _templates(tmp_path, "g")
    for name in (
        "a/default/train_r1", "a/default/train_r2", "a/default/test-00000-of-00001",
        "b/s/train", "b/s/validation", "user/c/train", "e/train", "f/test", "g/train", "nothing/train",
        "h/train",
    ):  # fmt: skip
        _rows(tmp_path, f"{name}.jsonl", [{"text": name}])
    table = tmp_path / "datasets.csv"
    table.write_text(
        ROLES + "a,,x,BASE,,9\nb,s,x,SGLUE,BASE,\ne,,x,,BASE,\nf,,x,BASE,,\ng,,x,BASE,,\nh,,x,GPT_EVAL,,\n"
    )
    source = _source(tmp_path, role_table=str(table), train_sets=("BASE",))
    assert {task.task: (task.role, task.splits) for task in source.tasks()} == {
        "a": ("train", ("train", "test")),
        "b/s": ("evaluation", ("validation",)),
        "e": ("evaluation", ("test",)),
        "f": ("train", ("test",)),
        "g": ("excluded", ()),
        "h": ("excluded", ("train",)),
        "nothing": ("excluded", ()),
        "user/c": ("excluded", ("train",)),
    }
    assert [example.source for example in _examples(source, "a", "train")[0]] == [
        "a/default/train_r1",
        "a/default/train_r2",
    ]
    assert len({example.example_id for example in _examples(source, "a", "train")[0]}) == 2
    assert _examples(source, "e", "test")[0][0].split == "test"
    assert {task.role for task in _source(tmp_path).tasks()} == {"train", "excluded"}


def test_metrics_of_tasks() -> None:
    def template(choices: str, *metrics: str) -> PromptTemplate:
        return PromptTemplate("t", "j", choices, True, metrics)

    assert metric_of([template("", "ROUGE"), template("a ||| b", "Accuracy")]) == "accuracy"
    assert metric_of([template("a ||| b", "Other")]) == "rouge_l"
    assert metric_of([template("", "Accuracy"), template("", "Squad")]) == "exact_match"
    assert metric_of([template("", "Squad", "BLEU")]) == "rouge_l"
    assert metric_of([]) == "rouge_l"


def test_rows_without_templates_are_told(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "{{text}} ||| t"})
    for name in ("d", "other/part"):
        _rows(tmp_path, f"{name}/train.jsonl", [{"text": "a"}])
    file = tmp_path / "templates/other/part/templates.yaml"
    assert _source(tmp_path).missing() == {file: "missing, though there are rows of other/part"}


def test_a_list_in_a_column_of_texts_is_refused(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "{{text}} ||| {{tags}}"})
    _rows(tmp_path, "d/train.jsonl", [{"text": "a", "tags": None}, {"text": 2.5, "tags": ["b"]}] * 40)
    trained, skipped = _examples(_source(tmp_path), "d", "train")
    assert len(trained) == 40
    assert skipped == {"template prints a value that is null in the row": 40}
    for row, told in (
        ({"text": [[1]], "tags": []}, "'text' is a list or an object, and a text or a number in the rows"),
        ({"text": "a", "tags": "b"}, "'tags' is a text or a number, and a list or an object in the rows"),
    ):
        _rows(tmp_path, "d/train.jsonl", [{"text": "a", "tags": ["b"]}] * 30 + [row])
        with pytest.raises(UserError, match=rf"d/train\.jsonl:31: {told} before; fix the row"):
            _examples(_source(tmp_path), "d", "train")


def test_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    """Those of a task without templates, of an unlabelled split, and of a copy."""
    _templates(tmp_path, "d", {"jinja": "{{text}} ||| {{label}}"})
    _rows(tmp_path, "d/train.jsonl", [{"text": "a", "label": 1}] * 2)
    _rows(tmp_path, "d/validation.jsonl", [{"text": "a", "label": 1}] * 3)
    _rows(tmp_path, "d/test.jsonl", [{"text": "a", "label": -1}] * 4)
    _rows(tmp_path, "d/default/train.jsonl", [{"text": "a", "label": 1}] * 5)
    _rows(tmp_path, "none/train.jsonl", [{"text": "a"}] * 6)
    _rows(tmp_path, "none/test.jsonl", [{"text": "a", "label": -1}] * 7)
    config = MixtureConfig("m", (_source(tmp_path),), evaluate=())
    survey = mixtures.survey(config)
    (task,) = unused_files.unused(survey.unused)
    assert (task.example, task.kind, task.rows, task.all_counted) == ("none", "task", 13, True)
    files = {one.reason: one for one in unused_files.counted(config, survey.listed)}
    assert files[UNLABELLED_SPLIT].rows == 4
    same = f"the same dataset as {tmp_path / 'data' / 'd'}, which is read"
    assert files[same].rows == 5
    assert files.keys() == {UNLABELLED_SPLIT, same, "missing, though there are rows of none"}
    (split,) = survey.left
    assert (split.kind, split.example) == ("split", "d validation")


def test_a_copy_of_a_dataset_is_no_task_of_its_own(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "{{text}} ||| t"})
    for name in ("d/train.jsonl", "d/plain_text/train.jsonl", "d/default/train.jsonl"):
        _rows(tmp_path, name, [{"text": "a"}])
    source = _source(tmp_path)
    (task,) = source.tasks()
    assert task.task == "d" and len(_examples(source, "d", "train")[0]) == 1
    read = task.files[0].parent
    told = unused_files.of_source(source, source.tasks())
    assert list(told.values()) == [f"the same dataset as {read}, which is read"] * 2
    assert {path.parent.name for path in told} == {"plain_text", "default"}


def test_mistakes_name_the_place(tmp_path: Path) -> None:
    _templates(tmp_path, "d", {"jinja": "{{nothing}} ||| t"})
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="no rows such as"):
        _source(tmp_path).tasks()
    _rows(tmp_path, "train.jsonl", [{}])
    with pytest.raises(UserError, match=r"data: rows belong into DATASET\[/SUBSET\]/"):
        _source(tmp_path).tasks()
    (tmp_path / "data" / "train.jsonl").unlink()
    _rows(tmp_path, "d/train.jsonl", [{"text": 1}])
    with pytest.raises(UserError, match=r"d/train\.jsonl:1: no column 'nothing', which .*; the row has text"):
        _examples(_source(tmp_path), "d", "train")
    (tmp_path / "data" / "d" / "train.jsonl").write_text('{"text": 1}\n{"text"\n')
    with pytest.raises(UserError, match=r"d/train\.jsonl:2: malformed JSON"):
        _templates(tmp_path, "d", {"jinja": "{{text}} ||| t"})
        _examples(_source(tmp_path), "d", "train")
    table = tmp_path / "datasets.csv"
    table.write_text("HF_name,subset\nd,\n")
    with pytest.raises(UserError, match=r"datasets\.csv:1: no column 'do_train'"):
        _source(tmp_path, role_table=str(table)).tasks()
    table.write_text(ROLES + ",,x,,,\n")
    with pytest.raises(UserError, match=r"datasets\.csv:2: empty HF_name"):
        _source(tmp_path, role_table=str(table)).tasks()
