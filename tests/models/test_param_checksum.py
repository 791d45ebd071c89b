"""The checksum of weights: of their bits and places, whatever mesh they lie on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from iml_jax.models.param_checksum import fingerprint
from iml_jax.parallel.mesh import MeshConfig, make_mesh


def _tree() -> dict[str, np.ndarray]:
    rng = np.random.default_rng()
    return {
        "a": rng.normal(size=(8, 4, 6)).astype(np.float32),
        "b": np.asarray(jnp.asarray(rng.normal(size=(16,)), jnp.bfloat16)),
        "c": rng.integers(0, 255, (2, 8)).astype(np.uint8),
    }


def test_any_mesh_gives_the_same() -> None:
    tree = _tree()
    mesh = make_mesh(MeshConfig(2, 2, 2))
    specs = {"a": PartitionSpec("fsdp", "tensor"), "b": PartitionSpec(("data", "fsdp")), "c": PartitionSpec()}
    placed = {name: jax.device_put(leaf, NamedSharding(mesh, specs[name])) for name, leaf in tree.items()}
    assert fingerprint(placed) == fingerprint(jax.tree.map(jnp.asarray, tree))


@pytest.mark.parametrize("bit", [0, 7, 22, 31])
def test_one_bit_is_seen(bit: int) -> None:
    tree = _tree()
    before = fingerprint(tree)
    tree["a"].reshape(-1).view(np.uint32)[np.random.default_rng().integers(192)] ^= np.uint32(1 << bit)
    assert fingerprint(tree) != before


def test_exchanged_values_names_and_types_are_seen() -> None:
    tree = _tree()
    seen = {fingerprint(tree)}
    swapped = tree["a"].copy()
    swapped[0, 0, 0], swapped[5, 2, 3] = swapped[5, 2, 3], swapped[0, 0, 0]
    seen.add(fingerprint({**tree, "a": swapped}))
    seen.add(fingerprint({**tree, "a": tree["a"].reshape(4, 8, 6)}))
    seen.add(fingerprint({"A": tree["a"], "b": tree["b"], "c": tree["c"]}))
    seen.add(fingerprint({**tree, "a": tree["a"].view(np.int32)}))
    assert len(seen) == 5


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="elements of 8 bytes"):
        fingerprint({"a": np.zeros(3, np.float64).view(np.complex64)})
