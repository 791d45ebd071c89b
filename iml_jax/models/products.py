"""A product with a weight cut over ``fsdp``: gathered for it, its gradient scattered as it is summed."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from iml_jax.parallel.collectives import gather_width, in_stages, scatter_width
from iml_jax.parallel.rules import RULES, constrain, on_one_device, partition_spec

GATHERED = "gathered"  # the checkpoint name of weights gathered over fsdp


def product(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str = ""
) -> jax.Array:
    """[..., *contracted] times [*contracted, *rest] -> [..., *rest].

    Args:
      array: [batch, t, ...], rows cut over the mesh.
      kernel: in the dtype of ``array``.
      axes: the kernel's logical axis names.
      contracted: how many of the kernel's axes are summed over.
      reduce_dtype: in which the kernel's gradient is summed over the devices that have other rows, before it
        is cast to the kernel's dtype; empty is the kernel's dtype.

    Raises:
      RuntimeError: no mesh is set.
    """
    if on_one_device():
        # As one product of two matrices: XLA on CPU else transposes around the weights' gradients,
        # 10% of a layer's time at OPT-125M's shape. On a mesh the axes stay apart: they are its cuts.
        lead, rest = array.shape[: array.ndim - contracted], kernel.shape[contracted:]
        inner = math.prod(kernel.shape[:contracted])
        flat = array.reshape(-1, inner) @ checkpoint_name(kernel, GATHERED).reshape(inner, -1)
        return jnp.reshape(flat, (*lead, *rest))
    if "embed" in axes and in_stages():
        return _staged_product(array, kernel, axes, contracted, reduce_dtype or kernel.dtype.name)
    if reduce_dtype not in ("", kernel.dtype.name):
        return _summed_product(array, kernel, axes, contracted, reduce_dtype)
    return jnp.tensordot(array, _gathered(kernel, axes), axes=contracted)


def _uncut(axes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a weight's axes where it is whole over ``fsdp``."""
    return tuple("residual" if name == "embed" else name for name in axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gathered(weight: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """A weight whole over ``fsdp`` for its use; named, so that remat gathers it again and never keeps it.

    Its gradient is scattered as it is summed: left to itself it would be whole, like the weight.
    """
    whole = constrain(weight, _uncut(axes))
    return checkpoint_name(whole, GATHERED)


_gathered.defvjp(
    lambda weight, axes: (_gathered(weight, axes), None),
    lambda axes, _, gradient: (constrain(gradient, axes),),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _summed_product(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str
) -> jax.Array:
    """The partitioner sums a product's parts over the devices in the dtype of the product."""
    return _summed_forward(array, kernel, axes, contracted, reduce_dtype)[0]


def _summed_forward(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    del reduce_dtype
    gathered = checkpoint_name(constrain(kernel, _uncut(axes)), GATHERED)
    return jnp.tensordot(array, gathered, axes=contracted), (array, gathered)


def _summed_backward(
    axes: tuple[str, ...],
    contracted: int,
    reduce_dtype: str,
    kept: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    array, gathered = kept
    by_array, lead = _by_array(array, gathered, gradient, contracted)
    total = jnp.tensordot(array, gradient, axes=(lead, lead), preferred_element_type=jnp.dtype(reduce_dtype))
    return by_array, constrain(total, axes).astype(gathered.dtype)


_summed_product.defvjp(_summed_forward, _summed_backward)


def _by_array(
    array: jax.Array, gathered: jax.Array, gradient: jax.Array, contracted: int
) -> tuple[jax.Array, tuple[int, ...]]:
    """A product's gradient in ``array``, and the axes of rows, over which that in the kernel is summed."""
    rest = gathered.ndim - contracted
    last = tuple(range(gradient.ndim - rest, gradient.ndim))
    by_array = jnp.tensordot(gradient, gathered, axes=(last, tuple(range(contracted, gathered.ndim))))
    return by_array, tuple(range(array.ndim - contracted))


# The partitioner knows one collective for a whole axis. Here nothing but ``fsdp`` cuts the weight.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _staged_product(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str
) -> jax.Array:
    return _staged_forward(array, kernel, axes, contracted, reduce_dtype)[0]


def _staged_forward(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    del reduce_dtype
    gather = jax.shard_map(
        functools.partial(gather_width, dimension=axes.index("embed")),
        in_specs=partition_spec(axes),
        out_specs=partition_spec(_uncut(axes)),
        check_vma=False,
    )
    gathered = checkpoint_name(gather(kernel), GATHERED)
    return jnp.tensordot(array, gathered, axes=contracted), (array, gathered)


def _staged_backward(
    axes: tuple[str, ...],
    contracted: int,
    reduce_dtype: str,
    kept: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    array, gathered = kept
    by_array, lead = _by_array(array, gathered, gradient, contracted)

    def local(array: jax.Array, gradient: jax.Array) -> jax.Array:
        dtype = jnp.dtype(reduce_dtype)
        total = jnp.tensordot(array, gradient, axes=(lead, lead), preferred_element_type=dtype)
        total = scatter_width(total, axes.index("embed"))
        others = tuple(axis for axis in RULES["batch"] if axis not in RULES["embed"])
        return jax.lax.psum(total, others).astype(gathered.dtype)

    rows = partition_spec(("batch",))
    by_kernel = jax.shard_map(
        local, in_specs=(rows, rows), out_specs=partition_spec(axes), check_vma=False
    )(array, gradient)  # fmt: skip
    return by_array, by_kernel


_staged_product.defvjp(_staged_forward, _staged_backward)
