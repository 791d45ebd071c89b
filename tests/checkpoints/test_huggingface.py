"""huggingface.py: directories that transformers reads, and what it writes, without losing a bit."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.converted_models import model, random_params

from iml_jax import cli
from iml_jax.checkpoints import huggingface, layout
from iml_jax.data import tokenizer as tokenizers
from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import OptConfig

TEXTS = [
    "The cat sat on the mat.",
    "héllo wörld, 12345!",
    "def f(x):\n    return x",
    "日本語 \U0001f600  two  spaces ",
]


def reference_directory(
    config: OptConfig, path: Path, tokenizer_directory: Path, **save
) -> dict[str, np.ndarray]:
    """What transformers itself saves for a random model of this shape; returns its tensors."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(1)
    foreign = transformers.OPTConfig(**huggingface.config_json(config, "float32"))
    reference = transformers.OPTForCausalLM(foreign)
    reference.save_pretrained(path, **save)
    for file in tokenizer_directory.iterdir():
        shutil.copy(file, path)
    return {name: tensor.numpy() for name, tensor in reference.state_dict().items()}


def all_tensors(directory: Path) -> dict[str, np.ndarray]:
    return {k: v for file in sorted(directory.glob("*.safetensors")) for k, v in load_file(file).items()}


def assert_bit_identical(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert tensor.tobytes() == right[name].tobytes(), name
        assert tensor.shape == right[name].shape, name


FAMILIES = pytest.mark.parametrize("family", ["pre_norm", "350m_shape"])


@FAMILIES
@pytest.mark.parametrize("seed", range(3))
def test_from_transformers_to_us_and_back_is_bit_identical(
    tokenizer, tokenizer_directory, tmp_path, family, seed
):
    config = model(tokenizer, family, seed)
    theirs = reference_directory(config, tmp_path / "hf", tokenizer_directory)
    loaded, params, found = huggingface.load(tmp_path / "hf")
    assert loaded == config
    assert found.fingerprint == tokenizer.fingerprint
    (tmp_path / "out").mkdir()
    huggingface.export(tmp_path / "out", loaded, params, tokenizer_directory)
    theirs.pop("lm_head.weight")
    assert_bit_identical(all_tensors(tmp_path / "out"), theirs)


@FAMILIES
@pytest.mark.parametrize(
    "source", ["float16 safetensors", "bfloat16 safetensors", "float16 bin", "bfloat16 bin"]
)
def test_half_precision_sources_survive_float32_exactly(
    tokenizer, tokenizer_directory, tmp_path, family, source
):
    torch = pytest.importorskip("torch")
    dtype, kind = source.split()
    config = model(tokenizer, family)
    reference_directory(config, tmp_path / "hf", tokenizer_directory)
    saved = load_file(tmp_path / "hf/model.safetensors")
    half = {name: torch.from_numpy(t.copy()).to(getattr(torch, dtype)) for name, t in saved.items()}
    if kind == "bin":
        (tmp_path / "hf/model.safetensors").unlink()
        half["lm_head.weight"] = half["model.decoder.embed_tokens.weight"]
        torch.save(half, tmp_path / "hf/pytorch_model.bin")
        half.pop("lm_head.weight")
    else:
        from safetensors.torch import save_file as save_torch

        save_torch(half, tmp_path / "hf/model.safetensors")
    loaded, params, _ = huggingface.load(tmp_path / "hf")
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    (tmp_path / "out").mkdir()
    huggingface.export(tmp_path / "out", loaded, params, tokenizer_directory, dtype=dtype)
    from safetensors.torch import load_file as load_torch

    back = load_torch(tmp_path / "out/model.safetensors")
    assert back.keys() == half.keys()
    assert all(back[name].dtype == half[name].dtype and torch.equal(back[name], half[name]) for name in half)


def test_shards_hold_every_tensor_once_and_transformers_reads_them(tokenizer, tokenizer_directory, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = model(tokenizer, "pre_norm")
    params = random_params(config)
    for name, limit in (("one", 10**9), ("many", 20_000)):
        (tmp_path / name).mkdir()
        huggingface.export(tmp_path / name, config, params, tokenizer_directory, max_shard_bytes=limit)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2
    assert [file.name for file in files][-1] == f"model-{len(files):05d}-of-{len(files):05d}.safetensors"
    largest = max(tensor.nbytes for tensor in all_tensors(tmp_path / "many").values())
    assert all(file.stat().st_size < max(20_000, largest) + 4096 for file in files)
    assert sum(len(load_file(file)) for file in files) == len(layout.foreign_shapes(config))
    assert_bit_identical(all_tensors(tmp_path / "one"), all_tensors(tmp_path / "many"))
    read, info = transformers.OPTForCausalLM.from_pretrained(tmp_path / "many", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, tensor in all_tensors(tmp_path / "one").items():
        np.testing.assert_array_equal(read.state_dict()[name].numpy(), tensor)
    again, back, _ = huggingface.load(tmp_path / "many")
    assert again == config
    assert all(map(np.array_equal, jax.tree.leaves(back), jax.tree.leaves(params)))


def test_sharded_bin_is_read(tokenizer, tokenizer_directory, tmp_path):
    torch = pytest.importorskip("torch")
    config = model(tokenizer, "350m_shape")
    tensors = dict(layout.to_huggingface(config, random_params(config)))
    (tmp_path / "hf").mkdir()
    huggingface.export(tmp_path / "hf", config, random_params(config), tokenizer_directory)
    (tmp_path / "hf/model.safetensors").unlink()
    names = list(tensors)
    weight_map = {}
    for i, part in enumerate((names[:5], names[5:])):
        file = f"pytorch_model-{i}.bin"
        torch.save({name: torch.tensor(tensors[name]) for name in part}, tmp_path / "hf" / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"weight_map": weight_map}
    (tmp_path / "hf/pytorch_model.bin.index.json").write_text(json.dumps(index))
    _, params, _ = huggingface.load(tmp_path / "hf")
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(random_params(config))))


def test_export_holds_about_one_shard_not_the_model(tokenizer, tokenizer_directory, tmp_path):
    class OnDemand:
        """A parameter made anew at each access, so that only what the export keeps counts."""

        def __init__(self, shape):
            self.shape = shape

        def __getitem__(self, _):
            return np.ones(self.shape[1:], np.float32)

        def __array__(self, dtype=None, copy=None):
            return np.ones(self.shape, np.float32)

    config = OptConfig(
        vocab_rows=tokenizer.rows, vocab_tokens=tokenizer.tokens, hidden=256, layers=24, heads=4, ffn=1024,
        embed_dim=256, max_positions=64,
    )  # fmt: skip
    params = jax.tree.map(lambda leaf: OnDemand(leaf.shape), layout.parameter_shapes(config))
    total = 4 * sum(int(np.prod(shape)) for shape in layout.foreign_shapes(config).values())
    tracemalloc.start()
    huggingface.export(tmp_path, config, params, tokenizer_directory, max_shard_bytes=4_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 70_000_000
    assert peak < 4_000_000 + 8_000_000


@FAMILIES
def test_auto_classes_load_the_export_quietly_and_give_our_ids(
    tokenizer, tokenizer_directory, tmp_path, family, capfd
):
    transformers = pytest.importorskip("transformers")
    config = model(tokenizer, family)
    huggingface.export(
        tmp_path, config, random_params(config), tokenizer_directory, updates=7, run_config="a = 1"
    )
    foreign = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (foreign.word_embed_proj_dim, foreign.do_layer_norm_before) == (config.embed_dim, config.pre_norm)
    assert (foreign.vocab_size, foreign.pad_token_id, foreign.bos_token_id, foreign.eos_token_id) == (
        tokenizer.rows, 1, 2, 2,
    )  # fmt: skip
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
        assert theirs(text)["input_ids"] == [2, *tokenizer.encode(text)]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert str(loaded.dtype) == "torch.float32"
    card = (tmp_path / "README.md").read_text()
    assert "add_special_tokens=False" in card and "a = 1" in card and "7 updates" in card
    count = sum(p.numel() for p in loaded.parameters())
    assert f"{count:,} parameters" in card
    assert "warn" not in "".join(capfd.readouterr()).lower()


def test_padded_rows_are_never_generated(tokenizer, tokenizer_directory, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = OptConfig(
        vocab_rows=tokenizer.rows + 8, vocab_tokens=tokenizer.tokens, hidden=32, layers=1, heads=2, ffn=32,
        embed_dim=32, max_positions=32,
    )  # fmt: skip
    params = random_params(config)
    bias = np.ones(32, np.float32)
    params["final_norm"]["bias"] = jnp.asarray(bias * 5)
    table = np.array(params["token_embedding"]["embedding"])
    table[tokenizer.tokens :] = 1.0  # without suppression these rows would win every step
    params["token_embedding"]["embedding"] = jnp.asarray(table)
    huggingface.export(tmp_path, config, params, tokenizer_directory)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = torch.tensor([[5, 6, 7]])
    assert int(loaded(prompt).logits[0, -1].argmax()) >= tokenizer.tokens
    answer = loaded.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False
    )
    assert int(answer.max()) < tokenizer.tokens


def test_the_real_vocabulary_gives_the_same_ids_through_autotokenizer(shared, tmp_path):
    transformers = pytest.importorskip("transformers")
    real = tokenizers.load(shared / "data/tokenizer/opt")
    config = OptConfig(
        hidden=8, layers=1, heads=1, ffn=8, embed_dim=8, max_positions=8, embedding_dropout=0.0
    )
    assert (real.tokens, real.rows) == (config.vocab_tokens, config.vocab_rows)
    huggingface.export(tmp_path, config, random_params(config), shared / "data/tokenizer/opt")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = TEXTS + [
        file.read_text("utf-8", "replace")[:2000] for file in sorted((shared / "data").glob("*.md"))
    ]
    for text in texts:
        assert theirs(text, add_special_tokens=False)["input_ids"] == real.encode(text)
    assert huggingface.load(tmp_path)[0] == config


def test_one_conversion_to_a_place_and_remains_of_a_killed_one(tmp_path):
    out = tmp_path / "out[1]"
    killed = tmp_path / f".out[1].{'0' * 32}.tmp"
    killed.mkdir()
    (tmp_path / ".out[1].notes.tmp").write_text("mine")
    with huggingface.staged(out) as staging:
        assert not killed.exists()
        (staging / "a").write_text("a")
        with pytest.raises(UserError, match="is in use: host"), huggingface.staged(out):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out[1].notes.tmp", "out[1]"]
    assert (out / "a").read_text() == "a"


def _directory(tmp_path, tokenizer, rows, **fields):
    """A random OPT with ``rows`` vocabulary rows, and a config.json with more fields in it."""
    config, params = random_model(tokenizer)
    source = tmp_path / "source"
    source.mkdir()
    tokenizer.save(tmp_path / "tokenizer")
    huggingface.export(source, config, params, tmp_path / "tokenizer")
    content = json.loads((source / "config.json").read_text()) | {"vocab_size": rows, **fields}
    (source / "config.json").write_text(json.dumps(content))
    tensors = load_file(source / "model.safetensors")
    name = "model.decoder.embed_tokens.weight"
    tensors[name] = tensors[name][:rows].copy()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    return source


def random_model(tokenizer):
    config = OptConfig(
        vocab_rows=tokenizer.rows,
        vocab_tokens=tokenizer.tokens,
        hidden=16,
        layers=2,
        heads=2,
        ffn=32,
        embed_dim=16,
        max_positions=30,
        embedding_dropout=0.0,
    )
    rng = np.random.default_rng()
    leaves = layout.flatten(layout.parameter_shapes(config))
    return config, layout.unflatten(
        {path: rng.standard_normal(leaf.shape, np.float32) for path, leaf in leaves.items()}
    )


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_vocabulary_rows_and_every_field_of_the_config_come_back(tmp_path, tokenizer, extra, capsys):
    """OPT's 50,265 ids in 50,265 rows: the padding to a multiple of 8 is ours and stays here."""
    rows = min(tokenizer.tokens + extra, tokenizer.rows)
    fields = {"init_std": 0.006, "torch_dtype": "float32", "transformers_version": "4.21.0", "prefix": "</s>"}
    source = _directory(tmp_path, tokenizer, rows, **fields)
    for arguments in (
        ["convert", "--to", "orbax", str(source), str(tmp_path / "orb"), "--no_compare"],
        ["convert", "--to", "huggingface", str(tmp_path / "orb"), str(tmp_path / "back"), "--no_compare"],
    ):
        assert cli.main(arguments) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "back/config.json").read_text()) == json.loads(
        (source / "config.json").read_text()
    )
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert after["model.decoder.embed_tokens.weight"].shape[0] == rows


def test_rows_are_rounded_up_to_a_multiple_of_8(tmp_path, tokenizer):
    """A vocab_size that is no multiple of 8 (OPT's own is 50,265 + 7): the missing rows are zeros here."""
    rows = tokenizer.tokens
    assert rows % 8
    source = _directory(tmp_path, tokenizer, rows)
    config, params = huggingface.load(source)[:2]
    assert config.vocab_rows == -(-rows // 8) * 8 and config.vocab_tokens == tokenizer.tokens
    table = np.asarray(params["token_embedding"]["embedding"])
    assert table.shape[0] == config.vocab_rows
    assert table[:rows].any(axis=1).all() and not table[rows:].any()


def test_what_was_trained_with_another_dropout_says_so(tmp_path, tokenizer):
    config, params = random_model(tokenizer)
    rows = tokenizer.tokens
    source = huggingface.config_json(config, "float32") | {"vocab_size": rows, "prefix": "</s>"}
    trained = dataclasses.replace(config, dropout=0.25)
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "out").mkdir()
    huggingface.export(tmp_path / "out", trained, params, tmp_path / "tokenizer", source=source)
    assert json.loads((tmp_path / "out/config.json").read_text()) == source | {"dropout": 0.25}


def test_a_value_that_is_no_number_is_counted_and_refused(tmp_path, tokenizer):
    source = _directory(tmp_path, tokenizer, tokenizer.tokens)
    tensors = load_file(source / "model.safetensors")
    tensors["model.decoder.layers.1.fc1.weight"][3, 4:6] = np.nan, np.inf
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(UserError, match=r"2 values of .*layers\.1\.fc1\.weight are NaN or infinite"):
        huggingface.load(source)


@pytest.mark.parametrize(
    "text", ["[" * 10_000, '{"model_type": NaN}', "[]", '{"model_type": "opt", "dropout": []}']
)
def test_a_config_that_is_none_is_one_line(tmp_path, tokenizer, text):
    source = _directory(tmp_path, tokenizer, tokenizer.tokens)
    (source / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        huggingface.load(source)
    (source / "config.json").unlink()
    os.mkfifo(source / "config.json")
    with pytest.raises(UserError, match="a FIFO, not a regular file"):
        huggingface.load(source)
