"""What OPT-IML uses a task for, through the sources' own files."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import pytest

from iml_jax.bench import known_tasks, mixtures, prompted_examples
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources.promptsource.source import PromptSource
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.sources.super_natural_instructions.source import SuperNaturalInstructions
from iml_jax.bench.variants import FewShot
from iml_jax.foundation.errors import UserError

# One task of each use, by the tables themselves.
TRAINED = "task001_quoref_question_generation"
DEV = "task391_causal_relationship"
TEST = "task190_snli_classification"
OWN = "task999999_mine"


def super_natural(folder: Path, instances: int) -> SuperNaturalInstructions:
    folder.mkdir(parents=True)
    duplicate = next(row.task for row in known_tasks.every("super_natural_instructions") if row.same_as)
    for task in (TRAINED, DEV, TEST, OWN, duplicate):
        content = {
            "Categories": ["Misc"],
            "Definition": ["Do it."],
            "Positive Examples": [{"input": "p", "output": "yes", "explanation": ""}],
            "Instances": [
                {"id": str(n), "input": f"in {n}", "output": ["yes", "no"][n % 2 : n % 2 + 1]}
                for n in range(instances)
            ],
        }
        (folder / f"{task}.json").write_text(json.dumps(content))
    return SuperNaturalInstructions(str(folder))


def promptsource(folder: Path) -> PromptSource:
    for task in ("squad", "super_glue/rte"):
        templates = folder / "templates" / task
        templates.mkdir(parents=True)
        parts = [
            f"""  {n}: !Template
    answer_choices: yes ||| no
    id: '{n}'
    jinja: '{n} {{{{text}}}} ||| {{{{answer_choices[label]}}}}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics: [Accuracy]
      original_task: true
    name: t{n}
    reference: ''
"""
            for n in range(3)
        ]
        (templates / "templates.yaml").write_text(f"dataset: {task}\ntemplates:\n" + "".join(parts))
        rows = folder / "data" / task / ("default" if "/" not in task else "")
        rows.mkdir(parents=True)
        for split in ("train", "validation"):
            lines = [json.dumps({"text": f"{split} {n}", "label": n % 2}) for n in range(8)]
            (rows / f"{split}.jsonl").write_text("\n".join(lines))
    return PromptSource(str(folder / "data"), str(folder / "templates"))


def reasoning(folder: Path) -> Reasoning:
    folder.mkdir()
    for name in ("gsm8k_train", "gsm8k_test", "aqua_train"):
        (folder / f"{name}.tsv").write_text("".join(f"{name} {n}\t{n}\tr\n" for n in range(6)))
    return Reasoning(str(folder))


@pytest.fixture
def sources(tmp_path):
    return (super_natural(tmp_path / "ni", 40), promptsource(tmp_path / "ps"), reasoning(tmp_path / "cot"))


def uses(sources, roles, **options):
    planned = mixtures.plan(MixtureConfig("m", sources, roles=roles, **options))
    return {task.info.task: task for task in planned}


def rows(task, split):
    dropped = collections.Counter()
    return list(prompted_examples.prompted_examples(task, split, 0, dropped)), dropped


def test_opt_iml_trains_and_evaluates_the_papers_tasks(sources):
    found = uses(sources, "opt_iml", development_cap=6)
    told = {
        name: (task.trained, task.evaluation_split, task.caps, task.pooled) for name, task in found.items()
    }
    assert told == {
        TRAINED: (True, "", {"train": 100_000}, ("train",)),
        DEV: (False, "test", {"test": 6}, ("test",)),
        TEST: (False, "test", {"test": 0}, ()),
        "squad": (True, "validation", {"train": 100_000, "validation": 6}, ("train", "validation")),
        "super_glue/rte": (False, "validation", {"validation": 0}, ()),
        "gsm8k": (False, "test", {"test": 6}, ("test",)),
        "aqua": (True, "", {"train": 100_000}, ("train",)),
    }
    assert {name: task.info.metric for name, task in found.items() if task.evaluation_split} == {
        DEV: "rouge_l_stemmed",  # the paper names Rouge-L; Super-NaturalInstructions' scorer stems
        TEST: "rouge_l_stemmed",
        "squad": "rouge_l",
        "super_glue/rte": "accuracy",
        "gsm8k": "rouge_l",
    }
    # 8 rows of three templates: training takes 8 of 24 prompts, development 6, the test all
    counts = {name: {split: len(rows(task, split)[0]) for split in task.caps} for name, task in found.items()}
    assert counts == {
        TRAINED: {"train": 40},
        DEV: {"test": 6},
        TEST: {"test": 40},
        "squad": {"train": 8, "validation": 6},
        "super_glue/rte": {"validation": 24},
        "gsm8k": {"test": 6},
        "aqua": {"train": 6},
    }
    # yes and no are the answers, but Super-NaturalInstructions is evaluated by generation
    assert not any(row.options for row in rows(found[DEV], "test")[0])
    assert all(row.options for row in rows(found["super_glue/rte"], "validation")[0])


def test_a_level_for_every_use(sources):
    found = uses(sources, "opt_iml")
    evaluated = [task.info for task in found.values() if task.evaluation_split]
    trained = [task.info for task in found.values() if task.trained]
    assert mixtures.levels(trained, evaluated)["promptsource:squad"] == "fully_supervised"
    assert mixtures.levels(trained, evaluated)["promptsource:super_glue/rte"] == "fully_held_out"


def test_opt_iml_max_trains_on_all_and_keeps_rows_apart(sources):
    found = uses(sources, "opt_iml_max")
    assert all(task.trained for task in found.values())
    assert set(found) == {TRAINED, DEV, TEST, "squad", "super_glue/rte", "gsm8k", "aqua"}
    kept = SuperNaturalInstructions(sources[0].data_dir, held_out_instances=15)
    task = uses((kept, *sources[1:]), "opt_iml_max")[TEST]
    held_out = {row.example_id for row in rows(task, "test")[0]}
    trained = {row.example_id for row in rows(task, "train")[0]}
    assert (len(held_out), len(trained)) == (15, 25) and not held_out & trained
    assert len(rows(found[TEST], "test")[0]) == len(rows(found[TEST], "train")[0]) == 20  # at most half
    # a task that is not evaluated keeps all its rows for training
    assert len(rows(found[TRAINED], "train")[0]) == 40


class Refusing(SuperNaturalInstructions):
    """Does not give up one of its tasks."""

    def assigned(self, task, *, trained, evaluated):
        made = super().assigned(task, trained=trained, evaluated=evaluated)
        return dataclasses.replace(made, role="excluded") if task.task in (TRAINED, TEST) else made


@pytest.mark.parametrize("roles", ["opt_iml", "opt_iml_max"])
def test_a_source_may_refuse(sources, roles):
    found = uses((Refusing(sources[0].data_dir),), roles)
    assert set(found) == {DEV}


def test_published_roles_are_the_sources(sources):
    found = uses(sources, "published")
    assert all(task.trained for task in found.values())
    assert OWN in found and found["squad"].evaluation_split == "validation"


def test_evaluation_tasks_show_their_training_rows(sources):
    found = uses(sources, "opt_iml", evaluation_prompts=(FewShot(2),))
    for name, split in (("super_glue/rte", "validation"), ("gsm8k", "test")):
        shown = [row.prompt_text for row in rows(found[name], split)[0]]
        assert len(shown) >= 6 and all(text.count("train ") == 2 for text in shown)
    text = rows(found[TEST], "test")[0][0].prompt_text
    assert text.count("\n\n\n") == 1  # its positive example is all there is


def test_a_source_of_another_world_is_noticed(tmp_path):
    with pytest.raises(UserError, match=r"roles = opt_iml: .* none of the 1 tasks of reasoning .* 'mine'"):
        (tmp_path / "mine_train.tsv").write_text("q\ta\tr\n")
        uses((Reasoning(str(tmp_path)),), "opt_iml")
