"""Steps of decoding: the layout of ``models/decoding.py`` against the layers that training uses.

    python benchmarks/decoding_layout.py [--rounds 20] [--rows 8] [--slots 192] [--dtype float32]

OPT-125M's shape, random weights, one device. The arms take turns, ``STEPS`` steps each per round; a ratio is
the geometric mean over the rounds of (seconds of the arm) / (seconds of ``decoding``) with Student's 95%
interval of its logarithm. Compilation is not counted. The arms' logits are compared first.

  decoding           ``decoding.step`` with ``decoding.decoding_params``
  training unrolled  ``layers.DecoderLayer`` with a cache, the weights of each layer arrays of their own
  training scanned   the same layers in ``jax.lax.scan`` over the stacked weights
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import stats

from iml_jax.models import decoding, opt
from iml_jax.models.attention import AttentionMask
from iml_jax.models.layers import DecoderLayer, LayerCache
from iml_jax.models.sizes import SIZES, OptConfig
from iml_jax.parallel.mesh import single_device

STEPS = 8


def training_step(
    config: OptConfig, params: opt.Params, layers: Any, cache: Any, *token: jax.Array
) -> tuple[jax.Array, Any]:
    """(logits [rows, vocab_rows], cache) of one token per row, by ``DecoderLayer``.

    Args:
      layers: a list of one layer's weights each, or None: those of ``params``, scanned.
      cache: keys and values [layers, rows, slots, heads, head_dim], a list of pairs with ``layers``.
      token: ids int32 [rows], and their position, int32 scalar.
    """
    tokens, position = token
    model = opt.bind(config, params)
    graph, stacked = nnx.split(model.layers)
    rows = tokens.shape[0]
    slots = (cache[0][0] if layers else cache[0]).shape[-3]
    ones, every = jnp.ones((rows, 1), jnp.int32), jnp.arange(slots, dtype=jnp.int32)
    written = jnp.broadcast_to(jnp.where(every <= position, 1, -1), (rows, slots))
    mask = AttentionMask(ones, written, position[None], every)

    def apply(array: jax.Array, weights: Any, key: jax.Array, value: jax.Array) -> tuple[jax.Array, Any]:
        layer: DecoderLayer = nnx.merge(graph, weights)
        array, new = layer(array, mask, None, LayerCache(key, value, position))
        assert new is not None
        return array, (new.key, new.value)

    array = model.embed(tokens[:, None], jnp.full((rows, 1), position), None)
    if layers:
        found = []
        for weights, pair in zip(layers, cache, strict=True):
            array, new = apply(array, weights, *pair)
            found.append(new)
        cache = found
    else:
        array, cache = jax.lax.scan(lambda a, xs: apply(a, *xs), array, (stacked, *cache))
    return opt.logits(config, params, model.finish(array))[:, 0], cache


def arms(config: OptConfig, rows: int, slots: int) -> dict[str, Callable[[np.ndarray], Any]]:
    """Each arm as a function of tokens [steps, rows]: it decodes them and gives the last logits."""
    params = opt.init_params(config, jax.random.key(0))
    own = decoding.decoding_params(config, params)
    ours = jax.jit(functools.partial(decoding.step, config), donate_argnums=1)
    theirs = jax.jit(functools.partial(training_step, config), donate_argnums=2)
    graph_weights = nnx.split(opt.bind(config, params).layers)[1]
    apart = [jax.tree.map(lambda a, i=i: a[i], graph_weights) for i in range(config.layers)]
    shape = (rows, slots, config.heads, config.head_dim)
    dtype = jnp.dtype(config.compute_dtype)
    alive = np.ones(rows, bool)

    def decode(tokens: np.ndarray) -> Any:
        cache = decoding.empty_cache(config, rows, slots)
        for number, row in enumerate(tokens):
            positions = np.full(rows, number, np.int32)
            found, cache = ours(own, cache, tokens=row, positions=positions, alive=alive)
        return found.T

    def train(layers: Any, tokens: np.ndarray) -> Any:
        if layers:
            cache: Any = [(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.layers)]
        else:
            cache = (jnp.zeros((config.layers, *shape), dtype), jnp.zeros((config.layers, *shape), dtype))
        for number, row in enumerate(tokens):
            found, cache = theirs(params, layers, cache, row, np.int32(number))
        return found

    return {
        "decoding": decode,
        "training unrolled": functools.partial(train, apart),
        "training scanned": functools.partial(train, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--slots", type=int, default=192)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    config = dataclasses.replace(SIZES["opt_125m"], compute_dtype=arguments.dtype)
    tokens = np.random.default_rng(0).integers(4, 50000, (STEPS, arguments.rows)).astype(np.int32)
    with single_device() as mesh:
        systems = arms(config, arguments.rows, arguments.slots)
        first = {name: np.asarray(run(tokens), np.float32) for name, run in systems.items()}
        apart = max(float(np.abs(found - first["decoding"]).max()) for found in first.values())
        print(f"{mesh.devices.item()}, {arguments}; largest difference of a logit {apart:.1e}", flush=True)
        seconds: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(arguments.rounds):
            for name, run in systems.items():
                start = time.perf_counter()
                jax.block_until_ready(run(tokens))
                seconds[name].append(time.perf_counter() - start)
    for name, found in seconds.items():
        logs = np.log(np.array(found) / np.array(seconds["decoding"]))
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
        low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
        median = 1e3 * float(np.median(found)) / STEPS
        print(f"{name:18} {median:8.1f} ms/step   ratio {middle:.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
