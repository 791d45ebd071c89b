"""A product with a weight sharded over ``fsdp``: gathered for it, its gradient reduce-scattered."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from iml_jax.parallel.mesh import DATA, FSDP
from iml_jax.parallel.rules import constrain, on_one_device, partition_spec, sharded_dimension
from iml_jax.parallel.staged_collectives import gather_width, in_stages, scatter_width

GATHERED = "gathered"  # the checkpoint name of weights gathered over fsdp


def product(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str = ""
) -> jax.Array:
    """[..., *contracted] times [*contracted, *rest] -> [..., *rest].

    Args:
      array: [batch, t, ...], rows sharded over the mesh.
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
        # 10% of a layer's time at OPT-125M's shape. On a mesh the axes stay apart: they are sharded.
        lead, rest = array.shape[: array.ndim - contracted], kernel.shape[contracted:]
        inner = math.prod(kernel.shape[:contracted])
        flat = array.reshape(-1, inner) @ checkpoint_name(kernel, GATHERED).reshape(inner, -1)
        return jnp.reshape(flat, (*lead, *rest))
    own_dtype = kernel.dtype.name
    if _staged(axes) or reduce_dtype not in ("", own_dtype):
        return _summed_product(array, kernel, axes, contracted, reduce_dtype or own_dtype)
    return jnp.tensordot(array, _gathered(kernel, axes), axes=contracted)


def _replicated(axes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a weight's axes where it is replicated over ``fsdp``."""
    return tuple("residual" if name == "embed" else name for name in axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gathered(weight: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """A weight replicated over ``fsdp`` for its use; named, so that remat gathers it again.

    Its gradient is scattered as it is summed: left to itself it would be replicated, like the weight.
    """
    replicated = constrain(weight, _replicated(axes))
    return checkpoint_name(replicated, GATHERED)


_gathered.defvjp(
    lambda weight, axes: (_gathered(weight, axes), None),
    lambda axes, _, gradient: (constrain(gradient, axes),),
)


def _staged(axes: tuple[str, ...]) -> bool:
    """Whether a weight is gathered and its gradient scattered in stages: only ``fsdp`` shards it then."""
    return sharded_dimension(axes, FSDP) is not None and in_stages()


# Left to itself the partitioner sums over the devices in the dtype of the product, and by one collective for
# a whole axis.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _summed_product(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str
) -> jax.Array:
    return _forward(array, kernel, axes, contracted, reduce_dtype)[0]


def _forward(
    array: jax.Array, kernel: jax.Array, axes: tuple[str, ...], contracted: int, reduce_dtype: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    del reduce_dtype
    dimension = sharded_dimension(axes, FSDP)
    if dimension is not None and in_stages():
        gather = jax.shard_map(
            functools.partial(gather_width, dimension=dimension),
            in_specs=partition_spec(axes),
            out_specs=partition_spec(_replicated(axes)),
            check_vma=False,
        )
        gathered = gather(kernel)
    else:
        gathered = constrain(kernel, _replicated(axes))
    gathered = checkpoint_name(gathered, GATHERED)
    return jnp.tensordot(array, gathered, axes=contracted), (array, gathered)


def _backward(
    axes: tuple[str, ...],
    contracted: int,
    reduce_dtype: str,
    residuals: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    array, gathered = residuals
    rest = gathered.ndim - contracted
    last = tuple(range(gradient.ndim - rest, gradient.ndim))
    grad_array = jnp.tensordot(gradient, gathered, axes=(last, tuple(range(contracted, gathered.ndim))))
    lead = tuple(range(array.ndim - contracted))  # rows and positions, which the kernel's gradient sums over

    def parts(array: jax.Array, gradient: jax.Array) -> jax.Array:
        dtype = jnp.dtype(reduce_dtype)
        return jnp.tensordot(array, gradient, axes=(lead, lead), preferred_element_type=dtype)

    def scattered(array: jax.Array, gradient: jax.Array) -> jax.Array:
        dimension = sharded_dimension(axes, FSDP)
        assert dimension is not None
        total = scatter_width(parts(array, gradient), dimension)
        return jax.lax.psum(total, DATA).astype(gathered.dtype)

    if not _staged(axes):
        return grad_array, constrain(parts(array, gradient), axes).astype(gathered.dtype)
    rows = partition_spec(("batch",))
    scatter = jax.shard_map(
        scattered, in_specs=(rows, rows), out_specs=partition_spec(axes), check_vma=False
    )  # fmt: skip
    return grad_array, scatter(array, gradient)


_summed_product.defvjp(_forward, _backward)
