"""Weights drawn piece by piece are those of ``opt.init_params``, bit for bit, wherever they lie."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from iml_jax.foundation.errors import UserError
from iml_jax.models import initial, layers, opt
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.parallel.rules import shardings

# The token table has more elements than a piece.
PRE = OptConfig(
    vocab_rows=1100, vocab_tokens=1099, hidden=64, layers=3, heads=4, ffn=96, embed_dim=64, max_positions=30
)
POST = dataclasses.replace(PRE, vocab_rows=40, vocab_tokens=37, pre_norm=False, embed_dim=16, layers=1)


def reference(config, key):
    return jax.device_get(jax.jit(opt.init_params, static_argnums=0)(config, key))


@pytest.mark.parametrize(("config", "sizes"), [(PRE, (2, 2, 2)), (POST, (1, 4, 2))])
def test_equal_to_the_modules_own_initialisation_on_a_mesh_and_on_one_device(config, sizes):
    key = jax.random.key(int(np.random.default_rng().integers(1 << 32)))
    wanted = reference(config, key)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: np.prod(sizes)])
    alone = jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), wanted)
    for places in (shardings(mesh, opt.logical_axes(config)), alone):
        found = initial.make_params(config, key, places)
        assert jax.tree.map(lambda leaf: leaf.sharding, found) == places
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), wanted)


def test_the_keys_are_those_of_splitting():
    """Today's seeds keep their values: the model's key in five, the third one by layers, and so on."""
    key = jax.random.key(7)
    keys = layers.weight_keys(PRE, key)
    top = jax.random.split(key, 5)
    for path, wanted in (
        ("token_embedding", top[0]),
        ("position_embedding", top[1]),
        ("project_out", top[4]),
    ):
        assert (jax.random.key_data(keys[path,]) == jax.random.key_data(wanted)).all()
    for number, one in enumerate(jax.random.split(top[2], PRE.layers)):
        attention, mlp = jax.random.split(one)
        for module, parts in (("attention", jax.random.split(attention, 4)), ("mlp", jax.random.split(mlp))):
            names = ("query", "key", "value", "output") if module == "attention" else ("up", "down")
            for name, wanted in zip(names, parts, strict=True):
                found = keys["layers", module, name][number]
                assert (jax.random.key_data(found) == jax.random.key_data(wanted)).all(), (module, name)


def test_a_host_makes_only_the_parts_that_its_devices_hold(monkeypatch):
    """Replicas of a part are drawn once, and no part is larger than a device's."""
    drawn = []
    box = initial._box

    def counting(key, shape, index, stddev):
        drawn.append(box(key, shape, index, stddev))
        return drawn[-1]

    monkeypatch.setattr(initial, "_box", counting)
    mesh = make_mesh(MeshConfig(2, 2, 2), jax.devices())
    initial.make_params(PRE, jax.random.key(0), shardings(mesh, opt.logical_axes(PRE)))
    random = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(opt.abstract_params(PRE))
              if path[-1].key in ("kernel", "embedding")]  # fmt: skip
    assert sum(part.size for part in drawn) == sum(leaf.size for leaf in random)
    assert max(part.size for part in drawn) <= 1100 * 64 // 4


def test_a_weight_beyond_the_index_is_refused(monkeypatch):
    monkeypatch.setattr(initial, "INDEX_LIMIT", 64 * 96)
    places = jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), opt.abstract_params(PRE))
    with pytest.raises(UserError, match="too large to be drawn"):
        initial.make_params(PRE, jax.random.key(0), places)
