"""How far each weight's gradient under bfloat16 lies from that of float64: which reductions lose digits.

    python benchmarks/gradient_precision.py [--rows 20] [--length 512] [--devices 1]

A small model computes the gradient of one batch in bfloat16 (float32 weights, as in training) and in float32;
transformers' PyTorch OPT computes it in float64. The error of a leaf is the norm of the difference over the
norm of the gradient. What
bfloat16 activations cost every leaf alike (about 1%) is no sum's fault; a leaf far above the others has a
reduction in bfloat16. The batch's positions are ``rows`` x ``length``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # transformers' OPT with our weights

# Softmax does not see what is added to all scores of a query: this gradient is 0 but for rounding.
NOTHING = "k_proj.bias"


def main() -> None:
    """Prints one line for each leaf."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--devices", type=int, default=1, help="simulated, as data x fsdp")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", given.devices)
    config, params, batch = setting(given)
    exact = by_torch(config, params, batch)
    columns = {dtype: gradient(given, config, params, batch, dtype) for dtype in ("bfloat16", "float32")}
    print(f"{'leaf':<52} {'bfloat16':>9} {'float32':>9}   over {given.rows * given.length:,} positions")
    for path in exact:
        if path.endswith(NOTHING):
            continue
        errors = [error(found[path], exact[path]) for found in columns.values()]
        print(f"{path:<52} {errors[0]:>9.2%} {errors[1]:>9.1e}")


def setting(given: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Config, weights as after some training (no bias is 0), and a batch of random tokens."""
    import jax.numpy as jnp

    from iml_jax.data.batch import Batch
    from iml_jax.models import opt
    from iml_jax.models.sizes import OptConfig

    config = OptConfig(
        vocab_rows=512, vocab_tokens=512, hidden=64, embed_dim=64, layers=4, heads=4, ffn=256,
        max_positions=given.length, dropout=0.0, embedding_dropout=0.0,
    )  # fmt: skip
    rng = np.random.default_rng(given.seed)
    params = jax.tree.map(
        lambda a: (np.asarray(a) + 0.02 * rng.standard_normal(a.shape)).astype(np.float32),
        opt.init_params(config, jax.random.key(given.seed)),
    )
    shape = (given.rows, given.length)
    tokens = rng.integers(4, config.vocab_tokens, (2, *shape))  # torch gives <pad> no gradient
    batch = Batch(
        inputs=jnp.asarray(tokens[0], jnp.int32),
        targets=jnp.asarray(tokens[1], jnp.int32),
        loss_weights=jnp.full(shape, 1 / (given.rows * given.length), jnp.float32),
        segment_ids=jnp.ones(shape, jnp.int32),
        positions=jnp.asarray(np.broadcast_to(np.arange(given.length), shape), jnp.int32),
    )
    return config, params, batch


def gradient(given: argparse.Namespace, config: Any, params: Any, batch: Any, dtype: str) -> dict[str, Any]:
    """Ours, of the mean loss, under transformers' names."""
    from support.torch_opt import torch_names

    from iml_jax.parallel.mesh import MeshConfig, make_mesh
    from iml_jax.training import step

    config = dataclasses.replace(config, compute_dtype=dtype)
    mesh = make_mesh(MeshConfig(data=1, fsdp=given.devices, tensor=1), jax.devices()[: given.devices])
    with jax.set_mesh(mesh):
        compute = jax.jit(step.loss_and_gradient, static_argnums=(0, 4))
        found = compute(config, params, batch, jax.random.key(0), 1)[1]
    return torch_names(config, found)


def by_torch(config: Any, params: Any, batch: Any) -> dict[str, Any]:
    """transformers' OPT in float64."""
    import torch
    from support.torch_opt import torch_opt

    model = torch_opt(config, params).double()
    logits = model(input_ids=torch.from_numpy(np.array(batch.inputs)).long()).logits
    targets = torch.from_numpy(np.array(batch.targets)).long()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    return {name: one.grad.numpy() for name, one in model.named_parameters() if one.grad is not None}


def error(found: Any, exact: Any) -> float:
    """Norm of the difference over the norm."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


if __name__ == "__main__":
    main()
