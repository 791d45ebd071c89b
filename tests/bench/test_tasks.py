"""The seqio.Tasks and the seqio.Mixture of a plan, as SeqIO itself reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import seqio
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import cache_folders, caching, mixtures, tasks
from iml_jax.bench.sources.corpora.source import PretrainingText
from iml_jax.bench.variants import FewShot, MetaICL, ZeroShot
from iml_jax.data import record_format
from iml_jax.data import tokenizer as bpe
from iml_jax.data.shards import RecordList, ShardPool
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
        source, target = (row[f"{side}_pretokenized"].decode() for side in ("inputs", "targets"))
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


# Name of a feature in SeqIO's elements -> its name in the records of a prepared directory.
RECORDED = {
    "inputs": record_format.PROMPT_IDS,
    "targets": record_format.TARGET_IDS,
    "inputs_pretokenized": record_format.PROMPT_TEXT,
    "targets_pretokenized": record_format.TARGET_TEXT,
    **{name: name for name in ("references", "options", "option_ids", "option_lengths")},
    **{name: name for name in ("example_id", "template")},
}


@pytest.mark.parametrize("shots", [0, 3])
def test_records_are_those_of_the_seqio_task(prepared, tmp_path, shots):
    """The cache job, which does not use SeqIO, writes the features that the seqio.Task defines."""
    rng = np.random.default_rng()
    words = ["red ", "deep blue", "\u00e9 \u4e2d", "", "\ud83d lone", "a\u2028b", "  x  "]
    for split in ("train", "test"):
        drawn = [
            {
                "source": f"{rng.choice(words)}{n}?  ",
                "references": [str(n), *rng.choice(words, rng.integers(3))],
            }
            for n in range(11)
        ]
        write_rows(tmp_path / "src", "a", split, [*drawn, *simple_rows(12, 20)])
    _, folder = prepared
    config = mixtures.MixtureConfig(
        "m",
        (FakeSource(str(tmp_path / "src")),),
        train_prompts=MetaICL(shots, suffix_loss=True) if shots else ZeroShot(),
        evaluation_prompts=(FewShot(shots) if shots else ZeroShot(),),
    )
    compared = 0
    for planned in mixtures.plan(config):
        job = caching.CacheJob(str(tmp_path / "out"), folder, seed=3, length=40)
        caching.cache_task(job, caching.Work(planned, "key"))
        task = tasks.build_task(planned, folder, seed=3, length=40)
        written = cache_folders.read(tmp_path / "out", planned.name, "key")
        for split in planned.caps:
            pool = ShardPool(tmp_path / "out")
            records = list(RecordList(pool, written[split].files))
            pool.close()
            defined = list(task.get_dataset(split=split, shuffle=False).as_numpy_iterator())
            assert len(records) == len(defined) == written[split].examples
            names = {RECORDED[name]: name for name in defined[0]}
            if split == "train":
                names = {name: names[name] for name in ("prompt_ids", "target_ids", "example_id", "template")}
            for record, element in zip(records, defined, strict=True):
                assert {name: np.ravel(record[name]).tolist() for name in names} == {
                    name: np.ravel(element[theirs]).tolist() for name, theirs in names.items()
                }
                assert set(record) == set(names)
                compared += 1
            assert written[split].dropped == task.source.dropped[split]
            assert written[split].demonstrations == task.source.demonstrations[split]
    assert compared > 50


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
    assert len(list(source.get_dataset("test", shuffle=False))) == 4
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
