"""parity.py: equal logits pass, and a single wrong weight does not."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from iml_jax.checkpoints import huggingface, layout, parity
from iml_jax.data import tokenizer as tokenizers
from iml_jax.foundation.errors import Fault
from iml_jax.models import opt
from iml_jax.models.sizes import OptConfig

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(params=["pre_norm", "350m_shape"])
def exported(request, tmp_path):
    """An exported random model: directory, config, parameters."""
    tokenizer = tokenizers.train(["one two three four"] * 3, 280)
    tokenizer.save(tmp_path / "tokenizer")
    config = OptConfig(
        vocab_rows=tokenizer.rows,
        vocab_tokens=tokenizer.tokens,
        hidden=32,
        layers=2,
        heads=4,
        ffn=64,
        embed_dim=32 if request.param == "pre_norm" else 16,
        max_positions=24,
        pre_norm=request.param == "pre_norm",
    )
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: jax.numpy.asarray(0.3 * rng.standard_normal(leaf.shape, np.float32)),
        layout.parameter_shapes(config),
    )
    (tmp_path / "out").mkdir()
    huggingface.export(tmp_path / "out", config, params, tmp_path / "tokenizer")
    return tmp_path / "out", config, params


def test_the_tree_is_that_of_the_model(exported):
    _, config, _ = exported
    ours, theirs = layout.parameter_shapes(config), opt.abstract_params(config)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_equal_models_agree(exported):
    assert parity.compare(*exported) < 1e-4


def test_rounded_exports_agree_with_rounded_parameters(exported, tmp_path):
    _, config, params = exported
    (tmp_path / "half").mkdir()
    huggingface.export(tmp_path / "half", config, params, tmp_path / "tokenizer", dtype="bfloat16")
    assert parity.compare(tmp_path / "half", config, params, "bfloat16") < 1e-4
    with pytest.raises(Fault, match="logits differ"):
        parity.compare(tmp_path / "half", config, params, "float32")


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_one_wrong_weight_is_a_fault(exported, value):
    directory, config, params = exported
    kernel = params["layers"]["attention"]["key"]["kernel"]
    params["layers"]["attention"]["key"]["kernel"] = kernel.at[1, 2].add(value)
    with pytest.raises(Fault, match="logits differ from transformers' by"):
        parity.compare(directory, config, params)
