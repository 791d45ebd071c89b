"""One update: (TrainState, Batch) -> (TrainState, metrics), jitted over a mesh, the state donated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from iml_jax.data.batch import Batch
from iml_jax.foundation.errors import UserError
from iml_jax.models import initial, opt
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.rules import check_axis, check_divisible, constrain, partition_spec, shardings
from iml_jax.training.objectives import weighted_loss_sum
from iml_jax.training.optimizer import OptimizerConfig, learning_rate, make_optimizer
from iml_jax.training.state import TrainState

Metrics = dict[str, jax.Array]


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """How every field of a Batch lies on the mesh: rows over ``data`` and ``fsdp``."""
    return NamedSharding(mesh, partition_spec(("batch", "length")))


def _shardings(model: OptConfig, optimizer: optax.GradientTransformation, mesh: Mesh) -> tuple[Any, Any]:
    """(abstract TrainState, the same tree of shardings); the moments lie where their parameters lie."""
    params = opt.abstract_params(model)
    moments = jax.eval_shape(optimizer.init, params)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step: Any = jax.ShapeDtypeStruct((), jnp.int32)
    abstract = TrainState(step, params, moments, key)
    logical = opt.logical_axes(model)
    check_divisible(mesh, logical, abstract.params)
    whole: Any = NamedSharding(mesh, PartitionSpec())
    weights = shardings(mesh, logical)
    moments = optax.tree.map_params(
        optimizer, lambda _, place: place, abstract.opt_state, weights, transform_non_params=lambda _: whole
    )
    places: Any = dataclasses.replace(abstract, step=whole, params=weights, opt_state=moments, rng=whole)
    return abstract, places


def _zeros(abstract: Any, places: Any) -> Any:
    """The tree ``abstract`` of zeros, each device's part made where it lies, without a program."""

    def one(leaf: jax.ShapeDtypeStruct, place: NamedSharding) -> jax.Array:
        part = np.zeros(place.shard_shape(leaf.shape), leaf.dtype)
        return jax.make_array_from_callback(leaf.shape, place, lambda _: part)

    return jax.tree.map(one, abstract, places)


def init_state(
    model_config: OptConfig,
    optimizer_config: OptimizerConfig,
    mesh: Mesh,
    *,
    seed: int,
    params: Any = None,
) -> TrainState:
    """The state before the first update; the same on any mesh, and a host makes only its devices' part.

    Args:
      seed: of the random parameters and of dropout.
      params: the parameters to begin with, placed as in ``abstract_state``; None draws random ones.

    Raises:
      UserError: a config is impossible, or a weight does not divide over the mesh.
    """
    optimizer = make_optimizer(optimizer_config, model_config.vocab_tokens)
    abstract, places = _shardings(model_config.validate(), optimizer, mesh)
    key = jax.random.key(seed)
    weights_key = jax.random.fold_in(key, 0)  # as random.split's first
    if params is None:
        params = initial.make_params(model_config, weights_key, places.params)
    # Adam's moments and every counter of the chain begin at 0.
    opt_state = _zeros(abstract.opt_state, places.opt_state)
    return TrainState(_zeros(abstract.step, places.step), params, opt_state, dropout_key(seed, mesh))


def dropout_key(seed: int, mesh: Mesh) -> jax.Array:
    """The key of a run's dropout, as ``init_state`` makes it of the seed, on every device."""
    whole = NamedSharding(mesh, PartitionSpec())
    words = np.asarray(jax.random.key_data(jax.random.fold_in(jax.random.key(seed), 1)))  # as split's second
    return jax.random.wrap_key_data(jax.make_array_from_callback(words.shape, whole, lambda _: words))


def abstract_state(model_config: OptConfig, optimizer_config: OptimizerConfig, mesh: Mesh) -> TrainState:
    """The tree of ``init_state`` as ``jax.ShapeDtypeStruct``s with shardings: what a restore needs.

    Raises:
      UserError: a config is impossible, or a weight does not divide over the mesh.
    """
    optimizer = make_optimizer(optimizer_config, model_config.vocab_tokens)
    abstract, places = _shardings(model_config.validate(), optimizer, mesh)
    return jax.tree.map(
        lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), abstract, places
    )


def _narrowed(config: OptConfig, params: Any) -> Any:
    """The parameters with the layers' matrices in the compute dtype, in which they are multiplied.

    XLA makes that copy anyhow, before the loop over the layers. Made here, the gradients of all layers are
    kept in that dtype as well, in which the products that make them come out: half the memory, same values.
    """
    dtype = jnp.dtype(config.compute_dtype)

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if path[-1].key == "kernel" else leaf

    return {**params, "layers": jax.tree_util.tree_map_with_path(one, params["layers"])}


def _loss_and_gradient(config: OptConfig, params: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
    """Sum of weighted token losses over the batch, and its gradient in the dtypes of ``params``."""

    def loss(params: Any) -> jax.Array:
        hidden = opt.forward(
            config, params, batch.inputs, batch.positions, batch.segment_ids, dropout_key=key
        )
        return weighted_loss_sum(config, params, hidden, batch.targets, batch.loss_weights)

    return jax.value_and_grad(loss)(params)


def loss_and_gradient(
    config: OptConfig, params: Any, batch: Batch, key: jax.Array, parts: int
) -> tuple[jax.Array, Any]:
    """The weighted token losses of the whole batch added up, and the gradient of that in float32.

    Args:
      batch: weights as they enter the sum: for a mean, already divided.
      key: of dropout.
      parts: micro-batches, one after the other. Row r goes to micro-batch r % parts, so that no row leaves
        its device.
    """
    narrow = _narrowed(config, params)
    if parts == 1:
        loss, gradient = _loss_and_gradient(config, narrow, batch, key)
        return loss, jax.tree.map(lambda part, whole: part.astype(whole.dtype), gradient, params)

    def split(field: jax.Array) -> jax.Array:
        micro = jnp.moveaxis(field.reshape(-1, parts, field.shape[1]), 1, 0)
        return constrain(micro, ("micro", "batch", "length"))

    def body(carry: tuple[jax.Array, Any], inside: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        loss, gradient = _loss_and_gradient(config, narrow, *inside)
        return (carry[0] + loss, jax.tree.map(jnp.add, carry[1], gradient)), None

    zero = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params))
    pieces = (Batch(*(split(field) for field in batch)), jax.random.split(key, parts))
    return jax.lax.scan(body, zero, pieces)[0]


class TrainStep:
    """The compiled update of one run; calling it gives the next state and this step's metrics.

    The state that goes in is donated: it may not be used again. Metrics are float32 device scalars, so
    reading them is the only thing that waits: ``loss`` (nats a loss token over the global batch),
    ``loss_tokens``, ``tokens`` (positions that are not padding), ``gradient_norm`` (before the clip) and
    ``learning_rate``. A batch without a loss token has loss 0 and leaves the state as it was.
    """

    def __init__(self, model: OptConfig, optimizer: OptimizerConfig, mesh: Mesh, accumulation: int):
        if accumulation < 1:
            raise UserError(f"Train.accumulation = {accumulation}: must be at least 1")
        self.model, self.mesh, self.accumulation = model.validate(), mesh, accumulation
        self.optimizer = make_optimizer(optimizer, model.vocab_tokens)
        self.rate = learning_rate(optimizer)
        _, places = _shardings(model, self.optimizer, mesh)
        whole = NamedSharding(mesh, PartitionSpec())
        rows = Batch(*(batch_sharding(mesh),) * len(Batch._fields))
        self._jitted = jax.jit(
            self._update, in_shardings=(places, rows), out_shardings=(places, whole), donate_argnums=0
        )

    def _update(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.rng, state.step)
        loss_tokens = jnp.sum(batch.loss_weights)
        count = jnp.where(loss_tokens > 0, loss_tokens, 1.0)
        # Divided before the sums and not after: that spares a pass over the gradients of all weights.
        shares = batch._replace(loss_weights=batch.loss_weights / count)
        loss, gradient = loss_and_gradient(self.model, state.params, shares, key, self.accumulation)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss": loss,
            "loss_tokens": loss_tokens,
            "tokens": jnp.sum(batch.segment_ids > 0, dtype=jnp.float32),
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate": self.rate(state.step),
        }
        params = optax.apply_updates(state.params, updates)
        # Momentum and decay would move the weights without anything learned.
        updated, before = (state.step + 1, params, opt_state), (state.step, state.params, state.opt_state)
        step, params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(loss_tokens > 0, new, old), updated, before
        )
        return TrainState(step, params, opt_state, state.rng), metrics

    def _check_rows(self, batch: Batch) -> None:
        rows, length = batch.inputs.shape
        if rows % self.accumulation:
            raise UserError(
                f"Train.accumulation {self.accumulation} does not divide the {rows} rows of a batch"
            )
        check_axis(self.mesh, "batch", rows // self.accumulation, "Loader.batch_size / Train.accumulation")
        if length > self.model.max_positions:
            raise UserError(f"rows of {length} tokens, but Model.max_positions is {self.model.max_positions}")

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One update.

        Raises:
          UserError: the batch's rows do not divide over the mesh and the micro-batches.
        """
        self._check_rows(batch)
        with jax.set_mesh(self.mesh):
            return self._jitted(state, batch)

    def lower(self, state: TrainState, batch: Batch) -> Any:
        """``jax.jit(...).lower`` of the update, for abstract or real arguments."""
        self._check_rows(batch)
        with jax.set_mesh(self.mesh):
            return self._jitted.lower(state, batch)


def make_train_step(
    model_config: OptConfig, optimizer_config: OptimizerConfig, mesh: Mesh, *, accumulation: int = 1
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The update as a function of (state, batch); see ``TrainStep``.

    The loss is the sum of weighted token losses over the whole global batch divided by its weighted tokens,
    for any mesh, number of hosts and ``accumulation`` (micro-batches done one after the other).

    Raises:
      UserError: a config is impossible, or a weight does not divide over the mesh.
    """
    return TrainStep(model_config, optimizer_config, mesh, accumulation)
