"""docs/paper_arithmetic.md: every figure that it calls ours is computed here."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from iml_jax import config
from iml_jax.bench import known_tasks, rates
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources.base import TaskInfo
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.subsets import Subset
from iml_jax.bench.variants import shot_probabilities

PAGE = Path(__file__).parents[2] / "docs" / "paper_arithmetic.md"

# OPT-IML table 1: tasks, examples in millions.
TABLE_1 = {
    "super_natural_instructions": (1613, 12.4),
    "promptsource": (280, 12.8),
    "crossfit": (159, 7.1),
    "flan": (70, 4.4),
    "exmix": (14, 0.5),
    "t5": (36, 1.9),
    "unifiedskg": (21, 0.8),
    "reasoning": (14, 0.4),
}
# OPT-IML table 5, in percent: CrossFit, ExMix, FLAN, Super-NaturalInstructions, PromptSource, T5, UnifiedSKG.
TABLE_5 = """2/1/5/71/18/1/2 2/1/35/25/34/1/2 3/3/35/25/25/7/2 2/1/27/40/27/1/2 3/3/25/25/35/7/2
4/2/35/25/30/2/2 4/2/20/25/45/2/2 2/1/35/25/30/5/2 7/1/35/25/28/2/2 0/0/35/30/35/0/0"""
ORDER = ("crossfit", "exmix", "flan", "super_natural_instructions", "promptsource", "t5", "unifiedskg")
CHOSEN = (4, 2, 20, 25, 45, 2, 2)


def row(first: str) -> list[str]:
    """The cells after ``first`` of the page's table row that begins with it."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(rf"\|\s*{re.escape(first)}\s*\|", line)
    ]
    assert len(found) == 1, first
    return found[0][1:]


def test_table_1():
    caps = MixtureConfig("m", (Reasoning("x"),))
    assert row("tasks of the eight benchmarks together")[-1] == f"{sum(t for t, _ in TABLE_1.values()):,}"
    examples = sum(millions for _, millions in TABLE_1.values())
    assert row("examples of the eight benchmarks together")[-1] == f"{examples:.1f}M"
    bound = 0.0
    for benchmark, (tasks, millions) in TABLE_1.items():
        cap = caps.benchmark_caps.get(benchmark, caps.example_cap)
        bound += min(millions, tasks * cap / 1e6)
        assert (millions * 1e6 / tasks > cap) == (benchmark == "flan")
    assert (caps.example_cap, caps.benchmark_caps) == (100_000, {"flan": 30_000})
    name = "examples left by the caps of 100,000 a task and 30,000 for FLAN, at most"
    assert row(name) == ["17.9M", f"{bound:.1f}M"]
    assert f"FLAN ({4.4e6 / 70:,.0f} examples a task)" in PAGE.read_text(encoding="utf-8")
    assert row("tasks of OPT-IML-Max") == ["1,991", f"{len(known_tasks.max_set()):,}"]
    without = row("training tasks without the 14 of reasoning")
    assert without[-1] == f"{1545 - TABLE_1['reasoning'][0]:,}" and without[0].startswith(without[-1])


def test_the_first_four_categories():
    infos = [
        TaskInfo(known.benchmark, known.task, known.category, "train", ("train",), "rouge_l", ())
        for known in known_tasks.training_set()
        if known.benchmark != "reasoning"
    ]
    chosen = Subset(categories=4).choose(infos, ())
    assert row("training tasks in the first 4 categories (tables 16 and 17)") == ["673", f"{len(chosen):,}"]
    left = {info.category for info in infos if info.key in chosen} - set(Subset().first_categories)
    assert left == {"Translation"}
    assert f"{len(infos):,} tasks without reasoning" in PAGE.read_text(encoding="utf-8")


def test_table_5_and_the_final_recipe():
    assert all(sum(map(int, line.split("/"))) == 100 for line in TABLE_5.split())
    assert len(TABLE_5.split()) == 10
    proportions = {name: percent / 100 for name, percent in zip(ORDER, CHOSEN, strict=True)}
    shares = {"reasoning": 0.01, "pretrain": 0.05}
    # whatever the tasks' sizes: two tasks a benchmark, of any number of examples
    caps = {f"{b}:{n}": 7 + 100 * n + len(b) for b in (*proportions, *shares) for n in range(2)}
    owners = {name: name.split(":")[0] for name in caps}
    found = rates.mixing_rates(caps, owners, proportions, shares)
    for benchmark in (*proportions, *shares):
        part = sum(rate for name, rate in found.items() if owners[name] == benchmark)
        first, second = row(benchmark)
        assert second == f"{100 * part:.2f}%"
        assert first == (f"{proportions[benchmark]:.0%}" if benchmark in proportions else "–")


@pytest.mark.parametrize(("name", "maximum"), [("opt_iml", "opt_iml"), ("opt_iml_max", "opt_iml_max")])
def test_the_recipe_is_what_the_gin_files_say(name, maximum):
    mixture = config.load(
        [f"mixtures/{name}.gin"],
        [f"--gin.{field}=x" for field in ("Mixture.data_dir", "Vocabulary.directory", "Prepare.output_dir")],
    ).build("Mixture")
    assert mixture.proportions == {n: p / 100 for n, p in zip(ORDER, CHOSEN, strict=True)}
    assert mixture.shares == {"reasoning": 0.01, "pretrain": 0.05}
    assert (mixture.maximum_eta, mixture.example_cap, mixture.benchmark_caps) == (
        4096,
        100_000,
        {"flan": 30_000},
    )
    assert (mixture.roles, mixture.train_prompts.name) == (maximum, "zero_shot")
    assert {source.name for source in mixture.sources} == {*TABLE_1, "pretrain"}
    assert mixture.development_cap == 250 and mixture.evaluation_cap == 0


@pytest.mark.parametrize(("exponent", "endless"), [(4, 1.0823232337), (2, 1.6449340668)])  # zeta(a)
def test_tables_8_and_20(exponent, endless):
    paper, cut, without_end = row(str(exponent))
    assert cut == paper == f"{100 * shot_probabilities(exponent, 5)[0]:.1f}%"
    assert without_end == f"{100 / endless:.1f}%"


@pytest.mark.parametrize(
    ("name", "gpus", "tensor"),
    [
        ("opt_iml_30b", 64, 2),
        ("opt_iml_175b", 128, 8),
        ("opt_iml_30b_max", 64, 2),
        ("opt_iml_175b_max", 128, 8),
    ],
)
def test_table_3(name, gpus, tensor):
    fields = ("run_dir", "prepared_dir", "initial_checkpoint")
    known = config.load([f"runs/{name}.gin"], [f"--gin.Train.{field}=x" for field in fields])
    train, loader = known.build("Train"), known.build("Loader")
    rows = gpus // tensor * 8
    assert (loader.batch_size, known.build("Mesh").tensor) == (rows, tensor)
    tokens = train.steps * loader.batch_size * loader.length
    assert row(name) == [f"{train.steps:,}", f"{gpus} / {tensor} x 8 = {rows}", f"{tokens:,}"]
    if not name.endswith("max"):
        assert f"it is {tokens / 300e9:.2%}" in PAGE.read_text(encoding="utf-8")


def test_table_4_where_sizes_are_published(shared):
    path = shared / "data" / "superni" / "meta" / "niv2_task_metadata.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        sizes = [json.loads(line)["number_examples"] for line in lines]
    for eta in (512, 4096, 8192):
        assert row(str(eta))[-1] == f"{100 * rates.share_over(sizes, eta):.0f}%"
    assert f"{sum(sizes) / 1e6:.1f}M in {len(sizes):,} tasks" in PAGE.read_text(encoding="utf-8")
    assert max(sizes) == 6500
