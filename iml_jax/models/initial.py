"""Random weights without a program for each model: pieces of one size, drawn by one small program.

``opt.init_params`` under ``jax.jit`` is a program of its own for each model and mesh, and compiling it takes
as long as compiling the training step. An element of ``jax.random.normal`` depends on its key and its flat
index alone (JAX's partitionable Threefry), so any piece of a weight can be drawn by itself: the place of the
piece is data, its size is fixed, and one program for each standard deviation draws all weights of a model.
The values are those of ``opt.init_params``, bit for bit, on any mesh.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_2x32

from iml_jax.foundation.errors import UserError
from iml_jax.models import layers, opt
from iml_jax.models.sizes import OptConfig

PIECE = 1 << 16  # elements drawn at once, 256 KiB
INDEX_LIMIT = 1 << 32  # elements of one layer's weight; a flat index is a uint32

_Index = tuple[slice, ...]


def _bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """Threefry's bits of ``shape`` consecutive elements of a box within an array of three axes.

    ``key`` is uint32 [8]: the two words of the real key, the flat index of the box's first element, the
    elements of the box that come before, the box's last two sizes, and the array's first two strides.
    """
    if bit_width != 32:
        raise NotImplementedError(f"{bit_width} random bits an element")
    first, second, base, before, rows, columns, outer, inner = key
    count = before + jax.lax.iota(jnp.uint32, math.prod(shape))
    row, column = count // columns, count % columns
    index = base + row // rows * outer + row % rows * inner + column
    high, low = jnp.split(threefry_2x32((first, second), jnp.concatenate([jnp.zeros_like(index), index])), 2)
    return (high ^ low).reshape(shape)


def _refuse(*_: Any) -> NoReturn:
    raise NotImplementedError("the key of a piece is for drawing only")


_PIECES = define_prng_impl(
    key_shape=(8,), seed=_refuse, split=_refuse, random_bits=_bits, fold_in=_refuse, name="piece", tag="piece"
)


@functools.partial(jax.jit, static_argnums=1)
def _draw(piece: jax.Array, stddev: float) -> jax.Array:
    """uint32 [8], see ``_bits`` -> float32 [PIECE]."""
    return layers.normal(jax.random.wrap_key_data(piece, impl=_PIECES), (PIECE,), stddev)


def _box(key: np.ndarray, shape: tuple[int, ...], index: _Index, stddev: float) -> np.ndarray:
    """``layers.normal(key, shape, stddev)[index]`` for two or three axes; ``key`` is its uint32 [2]."""
    spans = [span.indices(size)[:2] for span, size in zip(index, shape, strict=True)]
    sizes = tuple(end - start for start, end in spans)
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    base = sum(start * stride for (start, _), stride in zip(spans, strides, strict=True))
    total = math.prod(sizes)
    outer = strides[0] if len(shape) == 3 else 0
    pieces = [
        _draw(np.array([*key, base, done, *sizes[-2:], outer, strides[-2]], np.uint32), stddev)
        for done in range(0, total, PIECE)
    ]
    return np.concatenate([np.asarray(piece) for piece in pieces])[:total].reshape(sizes)


def _part(start: layers.Start, shape: tuple[int, ...], keys: np.ndarray | None, index: _Index) -> np.ndarray:
    """One weight's part at ``index``; ``keys`` is uint32 [2], or [layers, 2] for a stacked weight."""
    if keys is None:
        sizes = [len(range(size)[span]) for span, size in zip(index, shape, strict=True)]
        return np.full(sizes, start.mean, np.float32)
    if keys.ndim == 1:
        return _box(keys, shape, index, start.stddev)
    return np.stack([_box(key, shape[1:], index[1:], start.stddev) for key in keys[index[0]]])


def _host_keys(config: OptConfig, key: jax.Array) -> dict[tuple[str, ...], np.ndarray]:
    """``layers.weight_keys`` as uint32 [..., 2] on the host, by one small program for all models."""

    @functools.cache
    def find(children: tuple[int, ...]) -> jax.Array:
        return jax.random.fold_in(find(children[:-1]), children[-1]) if children else key

    def words(children: tuple[Any, ...]) -> np.ndarray:
        return np.asarray(jax.random.key_data(find(children)))

    def stacked(children: tuple[Any, ...]) -> np.ndarray:
        if None not in children:
            return words(children)
        at = children.index(None)
        return np.stack([words((*children[:at], n, *children[at + 1 :])) for n in range(config.layers)])

    return {path: stacked(children) for path, children in layers.KEYS.items()}


def make_params(config: OptConfig, key: jax.Array, shardings: Any) -> opt.Params:
    """``opt.init_params(config, key)`` placed on devices; a host makes only what its own devices hold.

    Args:
      key: a Threefry key, JAX's default.
      shardings: tree of ``jax.sharding.Sharding`` like the parameters.

    Raises:
      UserError: the config is impossible, or a weight of one layer has 2^32 elements or more.
    """
    keys = _host_keys(config, key)

    def place(path: Any, shape: jax.ShapeDtypeStruct, start: layers.Start, sharding: Any) -> jax.Array:
        names = tuple(entry.key for entry in path)
        own = keys[names[:-1]] if start.stddev else None
        if own is not None and math.prod(shape.shape[own.ndim - 1 :]) >= INDEX_LIMIT:
            raise UserError(
                f"Model: {'/'.join(names)} {shape.shape} is too large to be drawn; make it smaller"
            )
        parts: dict[str, np.ndarray] = {}  # replicas want the same part

        def part(index: _Index | None) -> np.ndarray:
            assert index is not None  # None is for devices of other hosts
            if str(index) not in parts:
                parts[str(index)] = _part(start, shape.shape, own, index)
            return parts[str(index)]

        return jax.make_array_from_callback(shape.shape, sharding, part)

    return jax.tree_util.tree_map_with_path(place, opt.abstract_params(config), opt.starts(config), shardings)
