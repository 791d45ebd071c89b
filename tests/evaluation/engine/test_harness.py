"""The same tasks and weights through lm_eval's own PyTorch model and through ours: the same numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from support.random_opt import PRE_NORM, random_params

from iml_jax import cli
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.data import tokenizer as tokenizers
from iml_jax.foundation.errors import UserError

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytest.importorskip("lm_eval", reason="lm_eval is not installed (the extra `harness`)")
pytestmark = pytest.mark.slow

WORDS = ["river", "stone", "Answer:", "question", "the", "a", "of", "and", "yes", "no", "12", "é", "木", "."]
MEASURES = ("acc", "acc_norm")
MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def text(draw: random.Random, low: int, high: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(low, high)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of a random model, and the same as a Hugging Face directory made by `iml convert`."""
    folder = tmp_path_factory.mktemp("harness")
    draw = random.Random(0)
    tokenizer = tokenizers.train([text(draw, 20, 40) for _ in range(300)], 296)
    assert tokenizer.rows == tokenizer.tokens  # PyTorch's OPT gives padded rows a probability, ours none
    run = folder / "run"
    tokenizer.save(run / "tokenizer")
    config = dataclasses.replace(PRE_NORM, vocab_rows=tokenizer.rows, vocab_tokens=tokenizer.tokens)
    params = random_params(config, np.random.default_rng(3))
    metadata = make_metadata(
        config,
        3,
        manifest_fingerprint="",
        vocabulary_fingerprint=tokenizer.fingerprint,
        vocabulary_tokens=tokenizer.tokens,
    )
    with CheckpointStore(run) as store:
        store.save(3, {"params": jax.tree.map(jax.numpy.asarray, params)}, None, metadata)
    assert cli.main(["convert", "--to", "huggingface", str(run), str(folder / "hf")]) == 0
    return run, folder / "hf"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks in lm_eval's format: choices, writing, whole texts. Some prompts exceed the 64 positions."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(1)
    rows = []
    for number in range(40):
        options = list(dict.fromkeys(text(draw, 1, 1 + number % 6) for _ in range(4)))
        question = text(draw, 1, 70 if number % 5 == 0 else 20) + ("  " if number % 7 == 0 else "")
        rows.append({"question": question, "options": options, "label": draw.randrange(len(options))})
    rows[3]["question"] = ""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = [{"text": text(draw, 1, 150)} for _ in range(6)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")

    def write(name: str, file: str, **settings: Any) -> None:
        where = {"data_files": {"test": str(folder / file)}, "cache_dir": str(folder / "cache")}
        common = {"task": name, "dataset_path": "json", "test_split": "test", "dataset_kwargs": where}
        (folder / f"{name}.yaml").write_text(json.dumps({**common, **settings}), encoding="utf-8")

    measures = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in MEASURES]
    write(
        "toy_choice", "rows.jsonl", output_type="multiple_choice", doc_to_text="{{question}}",
        doc_to_choice="{{options}}", doc_to_target="{{label}}", metric_list=measures,
    )  # fmt: skip
    write(
        "toy_writing", "rows.jsonl", output_type="generate_until", doc_to_text="{{question}} Answer:",
        doc_to_target="{{options[label]}}", metric_list=[{"metric": "exact_match"}],
        generation_kwargs={"until": ["stone", "木 "], "max_gen_toks": 20},
    )  # fmt: skip
    write(
        "toy_texts", "texts.jsonl", output_type="loglikelihood_rolling", doc_to_text="",
        doc_to_target="{{text}}", metric_list=[{"metric": "word_perplexity"}],
    )  # fmt: skip
    return folder


def evaluate(tasks: Path, model: str, arguments: dict[str, Any], **settings: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    return simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=["toy_choice", "toy_writing", "toy_texts"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
        **settings,
    )


@pytest.mark.parametrize(("prefix", "adds"), [("none", False), ("eos", True)])
def test_numbers_are_those_of_lm_evals_pytorch_model(place, tasks: Path, prefix: str, adds: bool) -> None:
    from iml_jax.commands.lm_eval import register

    run, hf = place
    register()
    arguments = {"pretrained": str(hf), "dtype": "float32", "add_bos_token": adds}
    theirs = evaluate(tasks, "hf", arguments, batch_size=1, device="cpu")
    ours = evaluate(tasks, "iml", {"checkpoint": str(run), "prefix": prefix, **MESH}, batch_size=8)
    for measure in MEASURES:
        value = theirs["results"]["toy_choice"][f"{measure},none"]
        assert ours["results"]["toy_choice"][f"{measure},none"] == value
        assert 0.1 < value < 0.9
    values = []
    for mine, other in zip(ours["samples"]["toy_choice"], theirs["samples"]["toy_choice"], strict=True):
        assert mine["doc"] == other["doc"]
        for (value, greedy), (expected, expected_greedy) in zip(
            mine["filtered_resps"], other["filtered_resps"], strict=True
        ):
            assert value == pytest.approx(expected, abs=1e-3)
            assert greedy == expected_greedy
            values.append(value)
    assert np.std(values) > 5
    written = [
        (mine["filtered_resps"], other["filtered_resps"])
        for mine, other in zip(ours["samples"]["toy_writing"], theirs["samples"]["toy_writing"], strict=True)
    ]
    assert [mine for mine, _ in written] == [other for _, other in written]
    assert len({mine[0] for mine, _ in written}) > 10
    for mine, other in zip(ours["samples"]["toy_texts"], theirs["samples"]["toy_texts"], strict=True):
        (value,), (expected,) = mine["filtered_resps"], other["filtered_resps"]
        assert value == pytest.approx(expected, abs=1e-3 * len(mine["doc"]["text"].split()))


def make(place, **arguments: Any):
    from iml_jax.evaluation.engine.harness import Harness

    return Harness(str(place[0]), **MESH, **arguments)


def request(kind: str, *arguments: Any):
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def test_greedy_continuations_are_known_as_such(place) -> None:
    model = make(place)
    (written,) = model.generate_until([request("generate_until", "the river", {"max_gen_toks": 4})])
    assert written
    asked = [request("loglikelihood", "the river", option) for option in (written, " stone stone stone")]
    (likely, greedy), (unlikely, other) = model.loglikelihood(asked)
    assert likely > unlikely
    assert not other
    # What was written may be spelt with other tokens; then it is not what greedy decoding would write.
    ids = model.tok_encode("the river" + written)
    assert greedy or len(ids) - len(model.tok_encode("the river")) != 4


def test_sampling(place) -> None:
    model = make(place, batch_size=8)

    def written(**settings: Any) -> list[str]:
        asked = [request("generate_until", "the river", {"max_gen_toks": 8, **settings}) for _ in range(6)]
        return model.generate_until(asked)

    (greedy,) = set(written())
    drawn = written(do_sample=True, temperature=2.0)
    assert len(set(drawn)) > 1  # the repeats of a request are drawn each by itself
    assert drawn == written(do_sample=True, temperature=2.0)
    assert set(written(do_sample=True, temperature=2.0, top_k=1)) == {greedy}
    assert set(written(do_sample=False, temperature=2.0)) == {greedy}


def test_mistakes(place) -> None:
    for arguments, said in (
        ({"prefix": "bos"}, "prefix is 'bos'"),
        ({"batch_size": "many"}, "batch_size=many"),
        ({"max_batch_size": 3}, "--batch_size"),
        ({"tokenizer": "/none"}, "/none"),
    ):
        with pytest.raises(UserError, match=said):
            make(place, **arguments)
    model = make(place)
    for asked, said in (
        (("the", ""), "a continuation has 0 tokens"),
        (("the", " stone" * 100), "the model takes 1 to 64"),
    ):
        with pytest.raises(UserError, match=said):
            model.loglikelihood([request("loglikelihood", *asked)])
    with pytest.raises(UserError, match="num_beams"):
        model.generate_until([request("generate_until", "the", {"num_beams": 4})])


def test_command_line(place, tasks: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    from iml_jax.commands import lm_eval as lm_eval_command

    out = tmp_path / "results.json"
    command = ["iml-lm-eval", "--model", "iml", "--tasks", "toy_choice", "--include_path", str(tasks)]
    arguments = f"checkpoint={place[0]},data=2,fsdp=2,tensor=2"
    monkeypatch.setattr(
        sys, "argv", [*command, "--model_args", arguments, "--batch_size", "8", "--output_path", str(out)]
    )
    assert lm_eval_command.main() == 0
    assert "acc_norm" in capsys.readouterr().out
    (written,) = tmp_path.glob("results*.json")
    assert 0 < json.loads(written.read_text())["results"]["toy_choice"]["acc,none"] < 1
    monkeypatch.setattr(sys, "argv", [*command, "--model_args", f"checkpoint={tmp_path / 'none'}"])
    assert lm_eval_command.main() == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("iml-lm-eval: ")
