"""Training states of a small model, saved and compared."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from iml_jax.checkpoints import layout
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.models.sizes import OptConfig
from iml_jax.training.state import TrainState

MODEL = OptConfig(
    vocab_rows=64, vocab_tokens=61, hidden=32, layers=2, heads=4, ffn=64, embed_dim=32, max_positions=14
)


EVERY_STEP = CheckpointConfig(every=1, keep=2)


def mesh(*shape: int) -> Mesh:
    return Mesh(np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape), ("data", "fsdp"))


def on(mesh: Mesh, tree):
    """Shards every last axis that divides over fsdp; the rest is replicated."""

    def one(leaf):
        split = leaf.ndim and leaf.shape[-1] % mesh.shape["fsdp"] == 0
        return NamedSharding(mesh, P(*[None] * (leaf.ndim - 1), "fsdp") if split else P())

    return jax.tree.map(one, tree)


def make_state(seed: int = 0, where: Mesh | None = None, model: OptConfig = MODEL) -> TrainState:
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32)), layout.parameter_shapes(model)
    )
    moments = optax.adam(1e-3).init(params)
    state = TrainState(jnp.int32(seed), params, moments, jax.random.fold_in(jax.random.key(7), seed))
    return jax.device_put(state, on(where, state)) if where else state


def abstract(state, where: Mesh):
    shapes = jax.eval_shape(lambda: state)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        on(where, shapes),
    )


def metadata(updates: int, model: OptConfig = MODEL) -> dict:
    return make_metadata(
        model, updates, manifest_fingerprint="m", vocabulary_fingerprint="v", vocabulary_tokens=61
    )


def save(store: CheckpointStore, step: int, model: OptConfig = MODEL) -> TrainState:
    state = make_state(step, mesh(4, 2), model)
    store.save(step, state, {"position": step}, metadata(step, model))
    return state


def assert_equal(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        raw = jax.random.key_data if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(raw(a), raw(b))


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with checkpoints after 3 and 5 updates."""
    with CheckpointStore(tmp_path / "run", EVERY_STEP) as store:
        save(store, 3)
        save(store, 5)
    return tmp_path / "run"
