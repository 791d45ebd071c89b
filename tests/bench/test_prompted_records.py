"""From prompts with demonstrations and texts without prompt to the loss weights of packed batches."""

from __future__ import annotations

import collections

import pytest
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import mixtures, preparing, prompted_examples
from iml_jax.bench.mixtures import MixtureConfig, PrepareConfig
from iml_jax.bench.variants import FewShot, MetaICL, ZeroShot
from iml_jax.data import tokenizer as bpe
from iml_jax.data.loader import LoaderConfig, make_loader
from iml_jax.data.shards import read_split
from iml_jax.data.tokenizer import VocabularyConfig
from iml_jax.evaluation.engine import questions

LENGTH = 160
BOOKS = [f"Chapter {n}.\n\nIt was {n} o'clock, and the day {n + 1} of the year." for n in range(12)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A prepared bench of one task with all kinds of prompts and a corpus; what was planned."""
    folder = tmp_path_factory.mktemp("bench")
    write_rows(folder / "tasks", "colours", "train", simple_rows(30))
    write_rows(folder / "tasks", "colours", "test", simple_rows(8, offset=500))
    write_rows(folder / "texts", "books", "train", [{"source": "", "references": [text]} for text in BOOKS])
    config = MixtureConfig(
        "m",
        (FakeSource(str(folder / "tasks")), FakeSource(str(folder / "texts"), name="pretrain")),
        train_prompts=MetaICL(0.5, suffix_loss=True, separators=("\n\n", "\n\n\n")),
        evaluation_prompts=(ZeroShot(), FewShot(2, answer_tokens=4)),
        shares={"pretrain": 0.25},
    )
    prepare = PrepareConfig(str(folder / "out"), length=LENGTH, seed=3, workers=1)
    manifest = preparing.prepare(config, VocabularyConfig(size=300), prepare, lambda line: None)
    return folder / "out", manifest, {task.name: task for task in mixtures.plan(config)}


def rows(bench, name, split):
    out, _, planned = bench
    budget = prompted_examples.TokenBudget(lambda text: len(bpe.load(out / "tokenizer").encode(text)), LENGTH)
    return list(
        prompted_examples.prompted_examples(planned[name], split, 3, collections.Counter(), budget=budget)
    )


def test_names_rates_and_counts(bench):
    _, manifest, _ = bench
    names = [task.name for task in manifest.tasks]
    train = next(name for name in names if "metaicl" in name)
    assert names == ["fake:colours:" + v for v in (train.split(":")[2], "two_shot", "zero_shot")] + [
        "pretrain:books:zero_shot"
    ]
    assert {task.name: task.rate for task in manifest.trained} == {
        train: 0.75,
        "pretrain:books:zero_shot": 0.25,
    }
    assert {task.name: task.level for task in manifest.evaluated} == {
        "fake:colours:two_shot": "fully_supervised",
        "fake:colours:zero_shot": "fully_supervised",
    }
    assert manifest.task("fake:colours:two_shot").splits["test"].demonstrations == {"shown": 16}
    shown = manifest.task(train).splits["train"].demonstrations
    assert shown["shown"] > 20 and set(shown) <= {"shown", prompted_examples.CUT}
    books = manifest.task("pretrain:books:zero_shot").splits["train"]
    assert (books.examples, books.dropped, books.demonstrations) == (12, {}, {})
    assert books.loss_tokens == books.tokens - 12


def test_loss_lies_where_the_prompt_says(bench):
    out, manifest, _ = bench
    tokenizer = bpe.load(out / "tokenizer")
    train = manifest.trained[0].name
    wanted = {}
    for name in (train, "pretrain:books:zero_shot"):
        for row in rows(bench, name, "train"):
            source, target = (row.prompt_text, row.target_text)
            answer = f" {target}" if source else target  # a corpus is its text exactly
            ids = [*tokenizer.encode(source), *tokenizer.encode(answer), 2]
            # one tokenisation of the whole gives the same ids: a model meets them so at inference
            assert ids == [*tokenizer.encode(f"{source}{answer}"), 2]
            first = max(1, len(tokenizer.encode(source)))
            wanted[tuple(ids)] = first
            assert source.count("?") == (name == train)
    found = {}
    loader = make_loader(out, LoaderConfig(batch_size=2, packing_bins=2, prefetch=0))
    for _ in range(40):
        batch = next(loader)
        for row in range(2):
            for segment in range(1, int(batch.segment_ids[row].max()) + 1):
                at = batch.segment_ids[row] == segment
                ids = (int(batch.inputs[row, at][0]), *map(int, batch.targets[row, at]))
                weights = batch.loss_weights[row, at].tolist()
                found[ids] = weights.index(1.0) + 1
                assert weights == [0.0] * weights.index(1.0) + [1.0] * (len(weights) - weights.index(1.0))
    loader.close()
    assert found == wanted
    assert set(found.values()) > {1}  # texts: all but the first token; prompts: from the first label on


def test_the_loss_begins_at_the_first_label(bench):
    """Some prompts have no demonstrations, some several; the source ends with the first question."""
    train = bench[1].trained[0].name
    shown = [row.target_text.count("?") for row in rows(bench, train, "train")]
    assert min(shown) == 0 and max(shown) >= 3
    for row in rows(bench, train, "train"):
        source = row.prompt_text
        assert source.startswith("What is") and source.endswith(":")
        assert row.target_text.endswith(row.references[0])


def test_few_shot_questions_reach_the_evaluation(bench):
    out, manifest, _ = bench
    for variant, shown in (("two_shot", 2), ("zero_shot", 0)):
        entry = manifest.task(f"fake:colours:{variant}")
        asked = questions.read(out, entry, "test", 0)
        assert len(asked) == 8
        tokenizer = bpe.load(out / "tokenizer")
        for question in asked:
            assert question.prompt.count("?") == shown + 1
            assert question.prompt_ids.tolist() == tokenizer.encode(question.prompt)
            assert question.references[0] in question.options
    records = list(read_split(out, manifest.task("fake:colours:zero_shot"), "test"))
    assert all(record["target_ids"][-1] == 2 for record in records)
