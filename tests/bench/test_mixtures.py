"""Which tasks a mixture takes, their names and their rates."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import mixtures
from iml_jax.bench.mixtures import MixtureConfig, PrepareConfig
from iml_jax.bench.sources.base import TaskInfo
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.subsets import Subset
from iml_jax.bench.variants import FewShot, MetaICL, ZeroShot
from iml_jax.foundation.errors import UserError

common = settings(max_examples=200, deadline=None, database=None)
info = TaskInfo("fake", "t", "Misc", "train", ("train",), "accuracy", ())


@pytest.fixture
def source(tmp_path):
    for task in ("a", "b", "c", "d"):
        for split in ("train", "validation", "test") if task != "b" else ("train",):
            write_rows(tmp_path, task, split, simple_rows(3))
    return FakeSource(
        str(tmp_path), roles={"c": "evaluation", "d": "excluded"}, categories={"a": "QA", "b": "QA"}
    )


def by_task(config):
    return {task.info.task: task for task in mixtures.plan(config)}


def test_roles_decide(source):
    planned = by_task(MixtureConfig("m", (source,), evaluation_cap=7, example_cap=9))
    assert {name: task.trained for name, task in planned.items()} == {"a": True, "b": True, "c": False}
    assert {name: task.evaluation_split for name, task in planned.items()} == {
        "a": "test",
        "b": "",
        "c": "test",
    }
    assert planned["a"].caps == {"train": 9, "test": 7}
    assert planned["c"].caps == {"test": 7}


def test_patterns_and_split_choice(source):
    planned = by_task(
        MixtureConfig(
            "m", (source,), train=("*:a", "*:b"), exclude=("fake:b",), evaluation_split="validation"
        )
    )
    assert set(planned) == {"a", "c"}
    assert planned["a"].evaluation_split == "validation"
    assert by_task(MixtureConfig("m", (source,), evaluate=("*:c",)))["a"].evaluation_split == ""
    assert by_task(MixtureConfig("m", (source,), benchmark_caps={"fake": 2}))["b"].caps == {"train": 2}


def test_levels_come_from_what_is_trained(source):
    infos = {i.task: i for i in source.tasks()}
    assert mixtures.levels([infos["a"]], [infos["a"], infos["b"], infos["c"]]) == {
        "fake:a": "fully_supervised",
        "fake:b": "partially_supervised",
        "fake:c": "fully_held_out",
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"train": ("fake:A",)},
            r"Mixture\.train: the pattern 'fake:A' matches no task; the nearest is 'fake:",
        ),
        ({"exclude": ("zz*",)}, "matches no task"),
        ({"exclude": ("*",)}, "no task of 4 listed"),
        ({"proportions": {"flan": 0.5}}, r"proportions names \['flan'\]"),
        ({"shares": {"pretrain": 0.5}}, r"shares names \['pretrain'\]"),
        ({"subset": Subset(always=("fake:zz",))}, r"Subset\.always: the pattern 'fake:zz' matches no task"),
    ],
)
def test_plan_refuses(source, change, told):
    with pytest.raises(UserError, match=told):
        mixtures.plan(MixtureConfig("m", (source,), **change))


def test_a_benchmark_that_trains_on_nothing_is_left_out_when_told_so(source, tmp_path):
    config = MixtureConfig(
        "m",
        (source, Reasoning("nowhere")),
        data_dir=str(tmp_path),
        exclude=("reasoning:coqa", "fake:a"),
        shares={"reasoning": 0.01},
        proportions={"fake": 0.25, "t5": 0.5},
    )
    with pytest.raises(UserError, match="no such folder"):
        mixtures.plan(config)
    found = mixtures.survey(dataclasses.replace(config, missing="renormalise"))
    assert {task.info.task for task in found.planned} == {"b", "c"}
    left = {(one.benchmark, one.kind, one.example): one for one in found.left}
    assert "no such folder" in left["reasoning", "benchmark", "reasoning"].reason
    assert left["t5", "benchmark", "t5"].reason == "none of its tasks is trained on"
    unused = {info.task: why for _, info, why in found.unused}
    assert unused.keys() == {"a", "d"} and unused["a"] == "Mixture.exclude names it"
    assert left["fake", "split", "c train"].count == 2  # and c's validation: its test is evaluated
    assert len(left) == 3


def test_splits_that_no_task_needs_are_told(source):
    """Of the tasks in use: what is neither trained on nor evaluated."""
    found = mixtures.survey(MixtureConfig("m", (source,), evaluate=("fake:c",), exclude=("fake:a",)))
    prepared = {(task.info.task, split) for task in found.planned for split in task.caps}
    every = {(info.task, split) for _, info in found.listed for split in info.splits}
    used = {task for task, _ in prepared}
    wanted = sorted(f"{task} {split}" for task, split in every - prepared if task in used)
    (left,) = found.left
    assert wanted and (left.kind, left.count, left.example) == ("split", len(wanted), wanted[0])


def test_the_same_task_twice(source):
    with pytest.raises(UserError, match="fake:a is offered twice"):
        mixtures.plan(MixtureConfig("m", (source, source)))


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "a b"},
        {"missing": "ignore"},
        {"sources": ()},
        {"maximum_eta": 0},
        {"example_cap": 0},
        {"evaluation_cap": -1},
        {"benchmark_caps": {"x": 0}},
        {"evaluation_split": "dev"},
        {"proportions": {"a": 0.7, "b": 0.4}},
        {"proportions": {"a": -0.1}},
        {"shares": {"a": 0.6, "b": 0.5}},
        {"shares": {"a": 0.5}, "proportions": {"a": 0.5}},
        {"benchmark_etas": {"x": 0}},
        {"development_cap": -1},
        {"smoothing": -0.5},
        {"roles": "mine"},
        {"evaluation_prompts": ()},
        {"evaluation_prompts": (ZeroShot(), ZeroShot())},
        {"evaluation_prompts": (MetaICL(),)},
        {"evaluation_prompts": (FewShot(5), FewShot(5, answer_tokens=9))},
        {"evaluation_prompts": (FewShot(5),), "train_prompts": FewShot(5, answer_tokens=9)},
    ],
)
def test_mixture_config_refuses(source, bad):
    with pytest.raises(UserError, match="Mixture"):
        dataclasses.replace(MixtureConfig("m", (source,)), **bad)


@pytest.mark.parametrize("bad", [{"length": 1}, {"workers": -1}])
def test_prepare_config_refuses(bad):
    with pytest.raises(UserError, match="Prepare"):
        PrepareConfig("out", **bad)


@common
@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_names_are_injective_and_safe(texts):
    names = [mixtures.task_name(dataclasses.replace(info, task=text)) for text in texts]
    assert names[0] != names[1]
    for name in names:
        benchmark, part, variant = name.split(":")
        assert (benchmark, variant) == ("fake", "zero_shot")
        assert part and set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.#")
        assert not part.startswith(".")


def test_plain_names_stay_readable():
    assert mixtures.task_name(info) == "fake:t:zero_shot"
    assert (
        mixtures.task_name(dataclasses.replace(info, task="super_glue/rte"))
        == "fake:super_glue#2frte:zero_shot"
    )


def test_a_task_for_each_variant(source):
    config = MixtureConfig(
        "m",
        (source,),
        train_prompts=MetaICL(2.0),
        evaluation_prompts=(ZeroShot(), FewShot(5)),
        evaluation_cap=7,
    )
    planned = {task.name: task for task in mixtures.plan(config)}
    assert list(planned) == [
        "fake:a:five_shot",
        "fake:a:metaicl_a2",
        "fake:a:zero_shot",
        "fake:b:metaicl_a2",
        "fake:c:five_shot",
        "fake:c:zero_shot",
    ]
    assert [name for name, task in planned.items() if task.trained] == [
        "fake:a:metaicl_a2",
        "fake:b:metaicl_a2",
    ]
    assert {task.evaluation_split for task in planned.values() if not task.trained} == {"test"}
    assert planned["fake:a:metaicl_a2"].caps == {"train": 100_000}
    assert planned["fake:a:five_shot"].caps == {"test": 7}
    assert planned["fake:a:metaicl_a2"].pooled == ("train",)
    assert planned["fake:a:five_shot"].pooled == ()
    # where the two uses have the same prompts, they are one task
    same = {task.name: task for task in mixtures.plan(MixtureConfig("m", (source,)))}
    assert same["fake:a:zero_shot"].caps == {"train": 100_000, "test": 0}


def test_corpora_have_no_demonstrations(source):
    corpus = dataclasses.replace(source, name="pretrain", roles={})
    config = MixtureConfig("m", (corpus,), train_prompts=MetaICL(), exclude=("*:d",), evaluate=("*:c",))
    assert {task.variant for task in mixtures.plan(config)} == {ZeroShot()}


def test_subsets_leave_fixed_shares_and_evaluation_alone(source):
    apart = dataclasses.replace(source, name="reasoning", roles={})
    for size in (1, 2):
        config = MixtureConfig(
            "m", (source, apart), shares={"reasoning": 0.1}, subset=Subset(tasks=size, always=("fake:b",))
        )
        planned = mixtures.plan(config)
        trained = [task.info.key for task in planned if task.trained]
        assert [key for key in trained if key.startswith("fake")] == ["fake:a", "fake:b"][-size:]
        assert len([key for key in trained if key.startswith("reasoning")]) == 4
        assert "fake:c" in [task.info.key for task in planned if task.evaluation_split]
    with pytest.raises(UserError, match=r"Subset\.tasks = 3: must lie between 0 .* and 2"):
        mixtures.plan(MixtureConfig("m", (source,), subset=Subset(tasks=3)))


def test_relative_paths_start_at_data_dir(tmp_path):
    folder = tmp_path / "all" / "cot"
    folder.mkdir(parents=True)
    (folder / "gsm8k_train.tsv").write_text("q\ta\tr\n")
    for data_dir in ("cot", str(folder)):
        config = MixtureConfig("m", (Reasoning(data_dir),), data_dir=str(tmp_path / "all"))
        (planned,) = mixtures.plan(config)
        assert planned.info.files == (folder / "gsm8k_train.tsv",)
    with pytest.raises(UserError, match="all/nowhere: no such folder"):
        mixtures.plan(MixtureConfig("m", (Reasoning("nowhere"),), data_dir=str(tmp_path / "all")))
