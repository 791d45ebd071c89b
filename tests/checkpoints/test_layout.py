"""layout.py against transformers' own names and shapes, and against plain matrix products."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from iml_jax.checkpoints import layout
from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import OptConfig

PRE = OptConfig(
    vocab_rows=64, vocab_tokens=61, hidden=32, layers=3, heads=4, ffn=48, embed_dim=32, max_positions=10
)
POST = OptConfig(
    vocab_rows=64,
    vocab_tokens=61,
    hidden=32,
    layers=2,
    heads=2,
    ffn=40,
    embed_dim=16,
    max_positions=12,
    pre_norm=False,
)
FAMILIES = pytest.mark.parametrize("config", [PRE, POST], ids=["pre_norm", "350m_shape"])


def random_params(config: OptConfig, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape, np.float32), layout.parameter_shapes(config)
    )


def exported(config: OptConfig, seed: int = 0) -> dict[str, np.ndarray]:
    return dict(layout.to_huggingface(config, random_params(config, seed)))


def back(config: OptConfig, tensors: dict[str, np.ndarray], **kwargs) -> dict:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return layout.from_huggingface(config, shapes, tensors.__getitem__, **kwargs)


def assert_same(left: dict, right: dict) -> None:
    left_leaves, right_leaves = layout.flatten(left), layout.flatten(right)
    assert left_leaves.keys() == right_leaves.keys()
    for path, leaf in left_leaves.items():
        np.testing.assert_array_equal(leaf, right_leaves[path], err_msg="/".join(path))


@FAMILIES
def test_names_and_shapes_are_those_of_transformers(config):
    transformers = pytest.importorskip("transformers")
    reference = transformers.OPTForCausalLM(
        transformers.OPTConfig(
            vocab_size=config.vocab_rows,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            ffn_dim=config.ffn,
            max_position_embeddings=config.max_positions,
            word_embed_proj_dim=config.embed_dim,
            do_layer_norm_before=config.pre_norm,
        )
    )
    theirs = {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    head = theirs.pop("lm_head.weight")
    assert head == theirs["model.decoder.embed_tokens.weight"]
    assert layout.foreign_shapes(config) == theirs
    assert list(exported(config)) == list(layout.foreign_shapes(config))


@FAMILIES
def test_projections_compute_what_torch_linear_computes(config):
    params, tensors = random_params(config), exported(config)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(config.hidden, np.float32)
    layers = params["layers"]
    for layer in range(config.layers):
        prefix = f"model.decoder.layers.{layer}."
        for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
            kernel, bias = (layers["attention"][ours][part][layer] for part in ("kernel", "bias"))
            expected = np.einsum("d,dhk->hk", x, kernel) + bias
            linear = tensors[f"{prefix}self_attn.{theirs}_proj.weight"] @ x
            linear = linear + tensors[f"{prefix}self_attn.{theirs}_proj.bias"]
            np.testing.assert_allclose(linear.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
        heads = rng.standard_normal((config.heads, config.hidden // config.heads), np.float32)
        expected = np.einsum("hk,hkd->d", heads, layers["attention"]["output"]["kernel"][layer])
        linear = tensors[f"{prefix}self_attn.out_proj.weight"] @ heads.reshape(-1)
        np.testing.assert_allclose(linear, expected, rtol=1e-5, atol=1e-5)
        up = tensors[f"{prefix}fc1.weight"] @ x
        np.testing.assert_allclose(up, x @ layers["mlp"]["up"]["kernel"][layer], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(
            tensors[f"{prefix}final_layer_norm.weight"], layers["mlp_norm"]["scale"][layer]
        )


@FAMILIES
@pytest.mark.parametrize("prefix", ["model.decoder.", "decoder.", "model.", ""])
@pytest.mark.parametrize("head", ["", "lm_head.weight", "model.lm_head.weight"])
def test_there_and_back_with_any_prefix(config, prefix, head):
    tensors = {prefix + name.removeprefix(layout.PREFIX): t for name, t in exported(config).items()}
    if head:
        tensors[head] = tensors[f"{prefix}embed_tokens.weight"].copy()
    assert_same(back(config, tensors), random_params(config))


def test_half_precision_becomes_float32_exactly():
    tensors = {name: t.astype(np.float16) for name, t in exported(PRE).items()}
    params = back(PRE, tensors)
    assert all(leaf.dtype == np.float32 for leaf in layout.flatten(params).values())
    for name, tensor in layout.to_huggingface(PRE, params):
        np.testing.assert_array_equal(tensor, tensors[name].astype(np.float32))


def test_rows_of_padding_may_be_absent_and_come_back_as_zeros():
    tensors = exported(PRE)
    name = "model.decoder.embed_tokens.weight"
    short = back(PRE, tensors | {name: tensors[name][:61]})["token_embedding"]["embedding"]
    np.testing.assert_array_equal(short[:61], tensors[name][:61])
    np.testing.assert_array_equal(short[61:], np.zeros((3, 32), np.float32))
    with pytest.raises(UserError, match=r"embed_tokens.weight has 60 rows, the vocabulary wants 61 to 64"):
        back(PRE, tensors | {name: tensors[name][:60]})
    with pytest.raises(UserError, match="has 65 rows"):
        back(PRE, tensors | {name: np.zeros((65, 32), np.float32)})


def test_place_receives_every_parameter_once():
    seen = []
    params = back(POST, exported(POST), place=lambda path, leaf: seen.append(path) or leaf.shape)
    assert sorted(seen) == sorted(layout.flatten(random_params(POST)))
    assert params["layers"]["mlp"]["up"]["kernel"] == (2, 32, 40)


def test_missing_unknown_double_and_misshapen_tensors_are_named():
    tensors = exported(PRE)
    missing = {k: v for k, v in tensors.items() if "layers.1.fc2.bias" not in k}
    with pytest.raises(UserError, match=r"^there lacks: layers\.1\.fc2\.bias$"):
        back(PRE, missing, where="there")
    with pytest.raises(UserError, match=r"has an unknown tensor: layers\.7\.fc1\.bias \(and 1 more\)"):
        back(PRE, tensors | {f"model.decoder.layers.7.fc{i}.bias": np.zeros(2) for i in (1, 2)})
    name = "model.decoder.layers.0.fc1.weight"
    with pytest.raises(UserError, match=r"layers\.0\.fc1\.weight has shape \[32, 48\].* wants \[48, 32\]"):
        back(PRE, tensors | {name: tensors[name].T})
    with pytest.raises(UserError, match="are the same weight"):
        back(PRE, tensors | {"decoder.layers.0.fc1.weight": tensors[name]})
    with pytest.raises(UserError, match=r"fc1\.weight is int32; expected float32"):
        back(PRE, tensors | {name: tensors[name].astype(np.int32)})
    with pytest.raises(UserError, match=r"lacks: project_in\.weight"):
        back(POST, {k: v for k, v in exported(POST).items() if "project_in" not in k})


def test_an_untied_head_is_refused():
    tensors = exported(PRE)
    head = tensors["model.decoder.embed_tokens.weight"].copy()
    head[5, 5] += 1
    with pytest.raises(UserError, match=r"lm_head.weight differs from model.decoder.embed_tokens.weight"):
        back(PRE, tensors | {"lm_head.weight": head})
    with pytest.raises(UserError, match=r"lm_head.weight has shape \[60, 32\]"):
        back(PRE, tensors | {"lm_head.weight": head[:60]})


def test_a_foreign_parameter_tree_is_refused():
    params = random_params(PRE)
    extra = params | {"lora": {"kernel": np.zeros(2)}}
    with pytest.raises(UserError, match="the parameter tree has an unknown tensor: lora/kernel"):
        layout.to_huggingface(PRE, extra)
    del params["layers"]["mlp"]["up"]["bias"]
    with pytest.raises(UserError, match="the parameter tree lacks: layers/mlp/up/bias"):
        layout.to_huggingface(PRE, params)
    params["layers"]["mlp"]["up"]["bias"] = np.zeros((3, 47))
    with pytest.raises(UserError, match=r"layers/mlp/up/bias has shape \[3, 47\], the model wants \[3, 48\]"):
        layout.to_huggingface(PRE, params)
