"""Published shapes against the published parameter counts, and configs that cannot be."""

import dataclasses

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import SIZES, OptConfig, count_params

# Counted from OPT's table 1 (V*d + 2050*d + L*(12d^2 + 13d) + 2d); 350M from its own shape.
COUNTS = {
    "opt_125m": 125_239_296,
    "opt_350m": 331_196_416,
    "opt_1.3b": 1_315_758_080,
    "opt_2.7b": 2_651_596_800,
    "opt_6.7b": 6_658_473_984,
    "opt_13b": 12_853_473_280,
    "opt_30b": 29_974_540_288,
    "opt_66b": 65_719_701_504,
    "opt_175b": 174_604_468_224,
}


def test_counts_are_the_published_ones():
    assert {name: count_params(config) for name, config in SIZES.items()} == COUNTS
    assert all(config.validate() is config for config in SIZES.values())


def test_350m_is_post_norm_with_narrow_word_embeddings():
    others = [config for name, config in SIZES.items() if name != "opt_350m"]
    assert (SIZES["opt_350m"].pre_norm, SIZES["opt_350m"].embed_dim) == (False, 512)
    assert all(config.pre_norm and config.embed_dim == config.hidden for config in others)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", 770),
        ("layers", 0),
        ("vocab_tokens", 50273),
        ("dropout", 1.0),
        ("compute_dtype", "float16"),
        ("remat", "some"),
    ],
)
def test_an_impossible_field_is_named(field, value):
    with pytest.raises(UserError, match=rf"Model\.{field} = "):
        dataclasses.replace(OptConfig(), **{field: value}).validate()


def test_offloading_needs_the_loop_over_layers():
    OptConfig(remat="offload").validate()
    with pytest.raises(UserError, match=r"Model\.remat = 'offload' needs Model\.scan_layers = True"):
        OptConfig(remat="offload", scan_layers=False).validate()
