"""``iml convert`` from the command line, both ways."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from iml_jax import cli
from iml_jax.checkpoints import huggingface, layout, parity
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.restore import restore_params
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.commands import convert
from iml_jax.data import tokenizer as tokenizers
from iml_jax.models.sizes import OptConfig


def make_run(path: Path, **shape) -> tuple[OptConfig, dict]:
    """A run with one checkpoint after 3 updates, as training leaves it."""
    tokenizer = tokenizers.train(["one two three four"] * 3, 280)
    tokenizer.save(path / "tokenizer")
    small = OptConfig(hidden=32, layers=2, heads=4, ffn=64, embed_dim=32, max_positions=24)
    config = dataclasses.replace(small, vocab_rows=tokenizer.rows, vocab_tokens=tokenizer.tokens, **shape)
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape, np.float32)),
        layout.parameter_shapes(config),
    )
    metadata = make_metadata(
        config,
        3,
        manifest_fingerprint="m",
        vocabulary_fingerprint=tokenizer.fingerprint,
        vocabulary_tokens=tokenizer.tokens,
    )
    with CheckpointStore(path) as store:
        store.save(3, {"params": params, "step": jnp.int32(3)}, {}, metadata)
    (path / "config.gin").write_text("Train.steps = 3\n")
    return config, params


@pytest.fixture(params=[{}, {"embed_dim": 16, "pre_norm": False}], ids=["pre_norm", "350m_shape"])
def run(request, tmp_path):
    return tmp_path / "run", *make_run(tmp_path / "run", **request.param)


def iml(capsys, *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["convert", *map(str, arguments)])
    return status, *capsys.readouterr()


def mistake(capsys, message: str, *arguments: object, status: int = 2) -> None:
    found, _, err = iml(capsys, *arguments)
    told = [line for line in err.splitlines() if not line.startswith("convert: ")]  # without what it is at
    assert (found, len(told)) == (status, 1), err
    assert message in told[0]


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_to_pytorch_and_back_loses_nothing_and_compares_logits(run, tmp_path, capsys):
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    source, config, params = run
    status, out, _ = iml(capsys, "--to", "huggingface", source, tmp_path / "hf")
    assert status == 0
    assert "logits: max abs difference to transformers" in out
    assert names(tmp_path / "hf") == [
        "README.md",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert "Train.steps = 3" in (tmp_path / "hf/README.md").read_text()
    status, out, _ = iml(capsys, "--to", "orbax", tmp_path / "hf", tmp_path / "back")
    assert status == 0
    assert "logits: max abs difference to transformers" in out
    found, back, metadata = restore_params(tmp_path / "back", config)
    assert (found, metadata["updates"]) == (config, 0)
    assert all(map(np.array_equal, jax.tree.leaves(back), jax.tree.leaves(params)))
    assert tokenizers.load(tmp_path / "back/tokenizer").fingerprint == metadata["vocabulary"]["fingerprint"]
    assert iml(capsys, "--to", "huggingface", tmp_path / "back/checkpoints/0", tmp_path / "again")[0] == 0
    assert (tmp_path / "again/model.safetensors").read_bytes() == (
        tmp_path / "hf/model.safetensors"
    ).read_bytes()
    assert names(tmp_path) == ["again", "back", "hf", "run"]


def test_a_log_says_what_it_is_at(run, tmp_path, capsys):
    place, config, _ = run
    _, _, err = iml(capsys, "--to", "huggingface", place, tmp_path / "out", "--no_compare")
    total = len(layout.foreign_shapes(config))
    assert err.splitlines() == [
        f"convert: 1 of {total} tensors written",
        f"convert: {total} of {total} tensors written",
    ]
    _, _, err = iml(capsys, "--to", "orbax", tmp_path / "out", tmp_path / "back", "--no_compare")
    assert [line.partition(" of ")[0] for line in err.splitlines()] == [
        "convert: 1",
        f"convert: {total}",
        "convert: writing the checkpoint",
    ]


def test_a_log_gets_a_line_every_half_minute():
    now, said = [0.0], []
    tensors = convert.Tensors(said.append, "read", lambda: now[0])
    for done in range(1, 101):
        tensors(done, 100)
        now[0] += 1.0
    assert said == [f"{done} of 100 tensors read" for done in (1, 31, 61, 91, 100)]


def test_dtype_and_shards(run, tmp_path, capsys):
    source, _, _ = run
    arguments = ("--to", "huggingface", "--dtype", "bfloat16", "--max_shard_gb", "0.00002")
    assert iml(capsys, *arguments, source, tmp_path / "hf")[0] == 0
    weights = [name for name in names(tmp_path / "hf") if name.endswith(".safetensors")]
    assert len(weights) > 1
    assert json.loads((tmp_path / "hf/config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {t.dtype.name for t in load_file(tmp_path / "hf" / weights[0]).values()} == {"bfloat16"}


def test_what_was_not_compared_is_said(run, tmp_path, capsys, monkeypatch):
    source, _, _ = run
    _, out, _ = iml(capsys, "--to", "huggingface", "--no_compare", source, tmp_path / "a")
    assert "logits not compared: --no_compare" in out
    monkeypatch.setattr(parity, "available", lambda: False)
    _, out, _ = iml(capsys, "--to", "huggingface", source, tmp_path / "b")
    assert "logits not compared: torch and transformers are not both installed" in out


def test_a_mismatch_is_a_fault_and_leaves_nothing(run, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    source, _, _ = run
    right = huggingface.config_json
    monkeypatch.setattr(  # a plausible bug: fewer, wider heads over there
        huggingface, "config_json", lambda *a: right(*a) | {"num_attention_heads": 2}
    )
    mistake(capsys, "logits differ", "--to", "huggingface", source, tmp_path / "hf", status=1)
    assert names(tmp_path) == ["run"]


def test_mistakes_are_one_line_and_leave_nothing(tmp_path, capsys):
    make_run(tmp_path / "run")
    run, hf, out = tmp_path / "run", tmp_path / "hf", tmp_path / "out"
    assert iml(capsys, "--to", "huggingface", "--no_compare", run, hf)[0] == 0
    before = names(tmp_path)
    mistake(capsys, "exists already", "--to", "huggingface", run, hf)
    mistake(capsys, "exists already", "--to", "orbax", hf, run)
    mistake(capsys, "no such run or checkpoint", "--to", "huggingface", tmp_path / "nothing", out)
    mistake(capsys, "neither a run", "--to", "huggingface", hf, out)
    mistake(capsys, "neither vocab.json", "--to", "orbax", run, out)
    mistake(capsys, "no such directory", "--to", "orbax", tmp_path / "nothing", out)
    mistake(capsys, "--dtype goes with", "--to", "orbax", "--dtype", "float16", hf, out)
    mistake(capsys, "--max_shard_gb 0.0", "--to", "huggingface", "--max_shard_gb", "0", run, out)
    mistake(capsys, "--to", run, out)
    tensors = load_file(hf / "model.safetensors")
    save_file(tensors | {"model.decoder.layers.0.lora": np.zeros(1)}, hf / "model.safetensors")
    mistake(capsys, "has an unknown tensor: layers.0.lora", "--to", "orbax", hf, out)
    (run / "checkpoints/3/commit_success.txt").unlink()
    mistake(capsys, "holds no finished checkpoint (3: its save was never", "--to", "huggingface", run, out)
    mistake(capsys, "never finished", "--to", "huggingface", run / "checkpoints/3", out)
    assert names(tmp_path) == before


def test_a_checkpoint_without_its_tokenizer_says_so(tmp_path, capsys):
    make_run(tmp_path / "run")
    (tmp_path / "run/tokenizer").rename(tmp_path / "elsewhere")
    mistake(capsys, "tokenizer is missing", "--to", "huggingface", tmp_path / "run", tmp_path / "out")


def test_a_disk_that_fails_is_a_fault_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    from iml_jax.checkpoints import tensors

    make_run(tmp_path / "run")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "save_file", full)
    mistake(capsys, "No space left", "--to", "huggingface", tmp_path / "run", tmp_path / "out", status=1)
    assert names(tmp_path) == ["run"]


def test_help_suffices(capsys):
    status, out, _ = iml(capsys, "--help")
    assert status == 0
    for word in ("source", "out", "--to", "huggingface", "orbax", "--dtype", "bfloat16", "--no_compare"):
        assert word in out
