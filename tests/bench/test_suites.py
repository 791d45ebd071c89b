"""Suites: evaluation sets that are prepared by themselves, with nothing to train on."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax import config as configuration
from iml_jax.bench import known_tasks, mixtures, roles
from iml_jax.bench.mixtures import MixtureConfig, PrepareConfig
from iml_jax.bench.sources.base import TaskInfo
from iml_jax.bench.taxonomy import FULLY_HELD_OUT, FULLY_SUPERVISED, PARTIALLY_SUPERVISED
from iml_jax.config import files
from iml_jax.foundation.errors import UserError

SUITES = {
    "mmlu": (0, 5),
    "bbh": (0, 3),
    "bbh_cot": (0, 3),
    "bigbench": (0, 3),
    "raft": (0, 5),
    "opt14": (0, 32),
    "opt_iml_dev": (0, 5),
    "opt_iml_test": (0, 5),
    "promptsource_held_out": (0, 5),
    "flan_clusters": (0, 5),
    "super_natural_test": (0, 2, 5),
    "unifiedskg": (0, 5),
}


def info(benchmark: str, task: str, category: str, kind: str = "") -> TaskInfo:
    return TaskInfo(benchmark, task, category, "evaluation", ("test",), "accuracy", (), kind)


def test_all_suites_are_here() -> None:
    folder = files.gin_folders()[0] / "suites"
    assert {file.stem for file in folder.glob("*.gin")} == set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_suites_train_on_nothing(name: str, tmp_path: Path) -> None:
    flags = [
        f"--gin.{field}={tmp_path}"
        for field in ("Mixture.data_dir", "Vocabulary.directory", "Prepare.output_dir")
    ]
    loaded = configuration.load([f"suites/{name}.gin"], flags)
    mixture = loaded.build("Mixture")
    assert (mixture.name, mixture.train, mixture.evaluation_cap) == (name, (), 0)
    assert tuple(variant.most for variant in mixture.evaluation_prompts) == SUITES[name]
    assert loaded.build("Prepare").length == 2048
    assert bool(mixture.evaluation_set) == (mixture.roles == roles.OPT_IML)
    words = {
        word
        for word in (files.gin_folders()[0] / f"suites/{name}.gin").read_text().split()
        if "suites/" in word
    }
    assert words == {f"--gin_file=suites/{name}.gin"}


def test_levels_without_training_are_those_of_the_paper() -> None:
    """Every dev and test task has the level that OPT-IML's tables give it, from its category alone."""
    known = [row for row in known_tasks.every() if row.role in (known_tasks.DEV, known_tasks.TEST)]
    asked = [info(row.benchmark, row.task, row.category) for row in known]
    assert mixtures.levels([], asked) == {row.key: row.level for row in known}
    subject = info("mmlu", "virology", "MMLU", "Question Answering")
    assert mixtures.levels([], [subject]) == {"mmlu:virology": PARTIALLY_SUPERVISED}
    assert mixtures.levels([], [info("bbh", "snarks", "BBH")]) == {"bbh:snarks": FULLY_HELD_OUT}


def test_levels_hang_on_the_kind() -> None:
    trained = info("fake", "a", "QA")
    asked = [info("mmlu", "x", "MMLU", "QA"), info("mmlu", "y", "MMLU", "NLI"), trained]
    assert list(mixtures.levels([trained], asked).values()) == [
        PARTIALLY_SUPERVISED,
        FULLY_HELD_OUT,
        FULLY_SUPERVISED,
    ]
    # A kind counts for a trained task as well.
    assert mixtures.levels([asked[0]], [info("fake", "b", "QA")]) == {"fake:b": PARTIALLY_SUPERVISED}


@pytest.fixture
def promptsource(tmp_path: Path) -> FakeSource:
    """A source that calls its tasks as PromptSource calls one of each use."""
    for task in ("race", "super_glue", "imdb"):
        for split in ("train", "test"):
            write_rows(tmp_path, task, split, simple_rows(3))
    return FakeSource(str(tmp_path), name="promptsource")


def test_the_validation_and_the_test_set(promptsource: FakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    uses = {"race": "dev", "super_glue": "test", "imdb": "train"}

    def lookup(benchmark: str, task: str) -> known_tasks.KnownTask:
        level = PARTIALLY_SUPERVISED if uses[task] != "train" else ""
        return known_tasks.KnownTask(benchmark, task, "Misc", "", uses[task], level, "", "", "", "")

    monkeypatch.setattr(known_tasks, "lookup", lookup)
    evaluated: dict[str, list[str]] = collections.defaultdict(list)
    for wanted in ("dev", "test", ""):
        planned = mixtures.plan(
            MixtureConfig("m", (promptsource,), roles="opt_iml", evaluation_set=wanted, train=())
        )
        assert not any(task.trained for task in planned)
        evaluated[wanted] = [task.info.task for task in planned if task.evaluation_split]
    assert evaluated == {"dev": ["race"], "test": ["super_glue"], "": ["race", "super_glue"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"evaluation_set": "dev"}, r'evaluation_set = dev: .* Mixture\.roles = "opt_iml"'),
        ({"evaluation_set": "validation", "roles": "opt_iml"}, "must be dev, test or empty"),
    ],
)
def test_sets_that_are_none(promptsource: FakeSource, change: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        MixtureConfig("m", (promptsource,), **change)  # type: ignore[arg-type]


@pytest.mark.slow
def test_prepared_and_read_as_questions(tmp_path: Path, shared: Path) -> None:
    """RAFT from its files to questions with options, through SeqIO's cache job."""
    from iml_jax.bench import preparing
    from iml_jax.data.tokenizer import VocabularyConfig
    from iml_jax.evaluation.engine import questions

    flags = [
        f"--gin.Mixture.data_dir={shared / 'data'}",
        "--gin.Vocabulary.directory=x",
        "--gin.Prepare.output_dir=x",
    ]
    mixture = configuration.load(["suites/raft.gin"], flags).build("Mixture")
    manifest = preparing.prepare(
        mixture,
        VocabularyConfig(directory=str(shared / "data/tokenizer/opt")),
        PrepareConfig(str(tmp_path / "prepared"), workers=1),
        lambda _: None,
    )
    assert not manifest.trained
    assert len(manifest.evaluated) >= 18  # nine tasks, two variants
    for entry in manifest.evaluated:
        asked = questions.read(tmp_path / "prepared", entry, "test", 0)
        assert len(asked) == 50
        assert all(set(one.references) <= set(one.options) for one in asked)
        shown = entry.splits["test"].demonstrations
        assert sum(shown.values()) == (0 if entry.name.endswith("zero_shot") else 50 * 5)
    long = manifest.task("raft:one_stop_english:five_shot_n2").splits["test"].demonstrations
    assert long["left out to fit the row"] > long["shown"]
