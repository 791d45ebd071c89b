"""huggingface.py: what it refuses, each in one clear line, and that nothing stays behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.converted_models import model, random_params

from iml_jax.checkpoints import huggingface
from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import OptConfig


def test_fp16_overflow_is_refused(tokenizer, tokenizer_directory, tmp_path):
    config = model(tokenizer, "pre_norm")
    params = random_params(config)
    params["layers"]["mlp"]["up"]["bias"] = params["layers"]["mlp"]["up"]["bias"].at[0, 3].set(-70000.0)
    with pytest.raises(
        UserError, match=r"layers\.0\.fc1\.bias reaches 70000, beyond float16; choose bfloat16"
    ):
        huggingface.export(tmp_path, config, params, tokenizer_directory, dtype="float16")


def test_a_tokenizer_of_another_size_is_refused(tokenizer, tokenizer_directory, tmp_path):
    config = model(tokenizer, "pre_norm")
    other = OptConfig(**{**config.__dict__, "vocab_tokens": config.vocab_tokens - 1})
    with pytest.raises(UserError, match=f"has {tokenizer.tokens} ids, the model {tokenizer.tokens - 1}"):
        huggingface.export(tmp_path, other, random_params(other), tokenizer_directory)


@pytest.fixture
def exported(tokenizer, tokenizer_directory, tmp_path) -> Path:
    config = model(tokenizer, "pre_norm")
    (tmp_path / "hf").mkdir()
    huggingface.export(tmp_path / "hf", config, random_params(config), tokenizer_directory)
    return tmp_path / "hf"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'; only 'opt'"),
        ({"activation_function": "gelu"}, "activation_function = 'gelu'; only 'relu'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings = False; only True"),
        ({"enable_bias": False}, "enable_bias = False"),
        ({"_remove_final_layer_norm": True}, "_remove_final_layer_norm = True"),
        ({"layerdrop": 0.1}, "layerdrop = 0.1"),
        ({"eos_token_id": 50256}, "eos_token_id = 50256; only 2"),
        ({"hidden_size": "32"}, "hidden_size = '32' is no int"),
        ({"hidden_size": 0}, "hidden_size = 0 is out of range"),
        ({"num_attention_heads": 5}, "hidden_size 32 does not divide by 5 heads"),
        ({"dropout": 2.0}, "dropout = 2.0 is out of range"),
        ({"vocab_size": 100}, "vocab_size 100 is less than the"),
        ({"num_hidden_layers": 9}, "lacks: layers"),
        ({"ffn_dim": 8}, r"fc1.weight has shape \[\d+, 32\], the model wants \[8, 32\]"),
        ({"word_embed_proj_dim": 16}, "lacks: project_in.weight"),
        ({"do_layer_norm_before": False}, "has an unknown tensor: final_layer_norm.bias"),
        ({"max_position_embeddings": None}, "max_position_embeddings = None is no int"),
    ],
)
def test_a_config_that_is_not_this_opt_is_one_clear_line(exported, change, message):
    file = exported / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message) as error:
        huggingface.load(exported)
    assert "\n" not in str(error.value)


def test_old_config_files_without_the_newer_fields_are_read(exported):
    file = exported / "config.json"
    content = json.loads(file.read_text())
    for name in (
        "enable_bias",
        "layer_norm_elementwise_affine",
        "tie_word_embeddings",
        "layerdrop",
        "word_embed_proj_dim",
    ):
        del content[name]
    before = huggingface.load(exported)[0]
    file.write_text(json.dumps(content))
    assert huggingface.load(exported)[0] == before


def test_missing_and_malformed_files_are_one_clear_line(exported, tmp_path):
    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            huggingface.load(exported)
        assert "\n" not in str(error.value)

    (exported / "config.json").rename(tmp_path / "config.json")
    refused(r"config.json: missing")
    (exported / "config.json").write_text("{nonsense")
    refused(r"config.json:1: malformed JSON")
    shutil.copy(tmp_path / "config.json", exported)
    (exported / "vocab.json").rename(tmp_path / "vocab.json")
    refused("neither vocab.json")
    shutil.copy(tmp_path / "vocab.json", exported)
    with pytest.raises(UserError, match="no such directory"):
        huggingface.load(tmp_path / "nowhere")


def test_staging_replaces_nothing_and_leaves_nothing(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("kept")
    with pytest.raises(UserError, match="exists already"), huggingface.staged(tmp_path / "full"):
        pass
    with pytest.raises(UserError, match="exists already"), huggingface.staged(tmp_path / "full/file"):
        pass
    with pytest.raises(RuntimeError), huggingface.staged(tmp_path / "new") as staging:
        (staging / "half").write_text("written")
        raise RuntimeError
    (tmp_path / "empty").mkdir()
    with huggingface.staged(tmp_path / "empty") as staging:
        (staging / "whole").write_text("written")
    assert (tmp_path / "empty/whole").read_text() == "written"
    with huggingface.staged(tmp_path / "a/b") as staging:
        assert staging.is_dir()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "empty", "full"]


def test_weights_of_another_file_do_not_fit(exported):
    tensors = load_file(exported / "model.safetensors")
    tensors["model.decoder.embed_tokens.weight"] = np.zeros((5, 32), np.float32)
    save_file(tensors, exported / "model.safetensors")
    with pytest.raises(UserError, match=r"embed_tokens\.weight has 5 rows"):
        huggingface.load(exported)
