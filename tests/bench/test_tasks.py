"""The seqio.Tasks and the seqio.Mixture of a plan, as SeqIO itself reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import seqio
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import mixtures, tasks
from iml_jax.bench.sources.corpora.source import PretrainingText
from iml_jax.data import tokenizer as bpe
from iml_jax.evaluation.metrics import answer_metrics as ours
from iml_jax.foundation.errors import UserError


@pytest.fixture
def prepared(tmp_path):
    """Two planned tasks and a vocabulary directory."""
    for name in ("a", "b-c"):
        write_rows(tmp_path / "src", name, "train", simple_rows(12))
        write_rows(tmp_path / "src", name, "test", simple_rows(4))
    bpe.train(["What is the colour of 1? Answer: deep blue red green"] * 9, 300).save(tmp_path / "tokenizer")
    config = mixtures.MixtureConfig("m", (FakeSource(str(tmp_path / "src")),))
    return mixtures.plan(config), str(tmp_path / "tokenizer")


def test_examples_follow_the_token_rule(prepared):
    planned, folder = prepared
    tokenizer = bpe.load(folder)
    task = tasks.build_task(planned[0], folder, seed=3)
    rows = list(task.get_dataset(split="test", shuffle=False).as_numpy_iterator())
    assert len(rows) == 4
    for row in rows:
        source, target = row.prompt_text, row.target_text
        assert row["inputs"].tolist() == tokenizer.encode(source)
        assert row["targets"].tolist() == [*tokenizer.encode(" " + target), 2]
        # tokenised apart, read as one: what a model sees at inference is the same prefix
        assert [*row["inputs"], *row["targets"]] == [*tokenizer.encode(f"{source} {target}"), 2]
        ends = np.cumsum(row["option_lengths"])
        pieces = np.split(row["option_ids"], ends[:-1])
        assert ends[-1] == len(row["option_ids"])
        assert [p.tolist() for p in pieces] == [
            [*tokenizer.encode(" " + o.decode()), 2] for o in row["options"]
        ]


def test_a_corpus_is_its_text_exactly(prepared, tmp_path):
    """No space before it: the prompt is empty. White space at the end is cut, as everywhere."""
    _, folder = prepared
    tokenizer = bpe.load(folder)
    texts = ["red green", "  deep blue"]
    (tmp_path / "text").mkdir()
    rows = "".join(json.dumps({"text": text + " \n"}) + "\n" for text in texts)
    (tmp_path / "text/a.jsonl").write_text(rows)
    (planned,) = mixtures.plan(mixtures.MixtureConfig("m", (PretrainingText(str(tmp_path / "text")),)))
    task = tasks.build_task(planned, folder, seed=3)
    found = list(task.get_dataset(split="train", shuffle=False).as_numpy_iterator())
    assert [row["inputs"].tolist() for row in found] == [[], []]
    assert [row["targets"].tolist() for row in found] == [[*tokenizer.encode(text), 2] for text in texts]
    assert tokenizer.decode(found[0]["targets"][:-1]) == texts[0]


def test_blocks_hold_the_rows(prepared, tmp_path, monkeypatch):
    """Cut anywhere, blocks give the rows that SeqIO gives; with several references, or no option."""
    rng = np.random.default_rng()
    words = ["red", "deep blue", "é", ""]
    drawn = [
        {"source": f"{n}?", "references": [str(n), *rng.choice(words, rng.integers(0, 3))]} for n in range(11)
    ]
    write_rows(tmp_path / "src", "a", "test", [*drawn, *simple_rows(12)])
    planned, folder = prepared
    names = (*tasks.SINGLE, *tasks.SEVERAL, *tasks.TOKENIZED)
    monkeypatch.setattr(tasks, "_BLOCK_ROWS", int(rng.integers(1, 9)))
    monkeypatch.setattr(tasks, "_BLOCK_BYTES", int(rng.integers(1, 400)))
    rows = list(tasks.build_task(planned[0], folder, 3).get_dataset(split="test", shuffle=False))
    task = tasks.build_task(planned[0], folder, 3, in_blocks=True)
    blocks = task.preprocess_precache(task.source.get_dataset("test", shuffle=False))
    sizes, found = [], []
    for block in blocks.as_numpy_iterator():
        sizes.append(block["texts"].shape[1])
        found += tasks.rows_of(block, names)
    assert len(rows) == len(found) == sum(sizes) == 23 and len(sizes) > 2
    for row, mine in zip(rows, found, strict=True):
        assert {name: np.atleast_1d(row[name].numpy()).tolist() for name in names} == {
            name: list(values) for name, values in mine.items()
        }


def test_mixture_has_the_rates(prepared):
    planned, folder = prepared
    rates = {task.name: rate for task, rate in zip(planned, (0.25, 0.75), strict=True)}
    mixture = tasks.register("m", planned, rates, folder, seed=0)
    assert seqio.get_mixture_or_task("m") is mixture
    assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == rates
    assert mixture.total_rate == pytest.approx(1)
    assert tasks.register("m", planned, rates, folder, seed=0) is not mixture  # replaced, not refused


def test_a_users_mistake_outlives_tensorflow(prepared, tmp_path):
    planned, folder = prepared
    with (tmp_path / "src/a.test.jsonl").open("a") as file:
        file.write("{\n")
    source = tasks.build_task(planned[0], folder, seed=0).source
    assert [block["texts"].shape[1] for block in source.get_dataset("test", shuffle=False)] == [4]
    assert isinstance(source.failure, UserError)
    assert "a.test.jsonl:5" in str(source.failure)


@pytest.mark.parametrize("metric", ["accuracy", "exact_match", "rouge_l", "rouge_l_stemmed", "stated_answer"])
def test_metrics_are_those_of_the_evaluation(metric):
    answers = ["the cat sat", "a red house", "two", "a b c d"]
    predictions = ["the cat sat", "the red houses", "three", "d c b a"]
    if metric == "stated_answer":
        predictions = ["So the answer is the cat sat.", "a red house", "The answer is 3.", "the answer is"]
    theirs = tasks.METRIC_FNS[metric](answers, predictions)
    mine = np.mean([ours.score(metric, p, [a]) for p, a in zip(predictions, answers, strict=True)])
    if metric == "rouge_l":  # T5 bootstraps its mean
        mine_lies_near = [ours.score(metric, p, [a]) for p, a in zip(predictions, answers, strict=True)]
        assert min(mine_lies_near) <= next(iter(theirs.values())) <= max(mine_lies_near)
        single = tasks.METRIC_FNS[metric](answers[1:2], predictions[1:2])
        assert next(iter(single.values())) == pytest.approx(ours.score(metric, predictions[1], answers[1:2]))
    else:
        assert next(iter(theirs.values())) == pytest.approx(mine)
