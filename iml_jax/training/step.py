"""One update: (TrainState, Batch) -> (TrainState, metrics), jitted over a mesh, the state donated."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from iml_jax.data.batch import Batch
from iml_jax.foundation.errors import UserError
from iml_jax.models import initial, opt
from iml_jax.models.cross_entropy import weighted_loss_sum
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.rules import check_axis, check_divisible, constrain, partition_spec, shardings
from iml_jax.training.optimizer import OptimizerConfig, learning_rate, make_optimizer
from iml_jax.training.state import TrainState

Metrics = dict[str, jax.Array]


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every field of a Batch: rows over ``data`` and ``fsdp``."""
    return NamedSharding(mesh, partition_spec(("batch", "length")))


def _zeros(abstract: Any) -> Any:
    """Zeros for a tree of ``ShapeDtypeStruct``s, each device's shard made in place, without a program."""

    def one(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        shard = np.zeros(leaf.sharding.shard_shape(leaf.shape), leaf.dtype)
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda _: shard)

    return jax.tree.map(one, abstract)


def _cast_to_compute_dtype(config: OptConfig, params: Any) -> Any:
    """The parameters with the layers' matrices cast to the compute dtype.

    XLA makes that copy in any case, before the loop over the layers. Made here, the gradients of all layers
    are stored in that dtype as well, in which the matrix products compute them: half the memory, same values.
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
    """The sum of weighted token losses over the whole batch, and its gradient in float32.

    Args:
      batch: its weights as they enter the sum: for a mean, already divided.
      key: the dropout key.
      parts: number of micro-batches, computed one after the other. Row r goes to micro-batch r % parts, so
        that no row changes its device.
    """
    cast = _cast_to_compute_dtype(config, params)
    if parts == 1:
        loss, gradient = _loss_and_gradient(config, cast, batch, key)
        return loss, jax.tree.map(lambda grad, param: grad.astype(param.dtype), gradient, params)

    def split(field: jax.Array) -> jax.Array:
        micro = jnp.moveaxis(field.reshape(-1, parts, field.shape[1]), 1, 0)
        return constrain(micro, ("micro", "batch", "length"))

    def body(carry: tuple[jax.Array, Any], xs: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        loss, gradient = _loss_and_gradient(config, cast, *xs)
        return (carry[0] + loss, jax.tree.map(jnp.add, carry[1], gradient)), None

    zero = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params))
    pieces = (Batch(*(split(field) for field in batch)), jax.random.split(key, parts))
    return jax.lax.scan(body, zero, pieces)[0]


class TrainStep:
    """The train step of one model, optimizer and mesh, with everything that belongs to its state.

    Calling it does one update: (state, batch) -> (next state, metrics). The state that goes in is donated:
    it may not be used again. The loss is the sum of weighted token losses over the global batch divided by
    its weighted tokens, for any mesh, number of hosts and ``accumulation``.

    Metrics are float32 device scalars: ``loss`` (nats per loss token over the global batch),
    ``loss_tokens``, ``tokens`` (positions that are not padding), ``gradient_norm`` (before the clip) and
    ``learning_rate``. A batch without a loss token has loss 0 and leaves the state unchanged.

    Args:
      model, optimizer: the configurations.
      mesh: the devices; a ``jax.sharding.AbstractMesh`` serves for ``abstract_state`` alone.
      accumulation: number of micro-batches per update.

    Attributes:
      abstract_state: the TrainState as ``jax.ShapeDtypeStruct``s with shardings: what a restore needs. Adam's
        moments have the shardings of their parameters.
      batch_sharding: the sharding of every field of a Batch.

    Raises:
      UserError: a configuration is impossible, or a weight does not divide over the mesh.
    """

    def __init__(
        self, model: OptConfig, optimizer: OptimizerConfig, mesh: Mesh, accumulation: int = 1
    ) -> None:
        if accumulation < 1:
            raise UserError(f"Train.accumulation = {accumulation}: must be at least 1")
        self.model, self.mesh, self.accumulation = model.validate(), mesh, accumulation
        self.optimizer = make_optimizer(optimizer, model.vocab_tokens)
        self.rate = learning_rate(optimizer)
        self.batch_sharding = batch_sharding(mesh)
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self.abstract_state = self._abstract_state()

    def _abstract_state(self) -> TrainState:
        params = opt.abstract_params(self.model)
        moments = jax.eval_shape(self.optimizer.init, params)
        logical = opt.logical_axes(self.model)
        check_divisible(self.mesh, logical, params)
        weights = shardings(self.mesh, logical)
        moment_shardings = optax.tree.map_params(
            self.optimizer,
            lambda _, sharding: sharding,
            moments,
            weights,
            transform_non_params=lambda _: self._replicated,
        )

        def placed(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        step: Any = placed(jax.ShapeDtypeStruct((), jnp.int32), self._replicated)
        rng: Any = placed(jax.eval_shape(lambda: jax.random.key(0)), self._replicated)
        return TrainState(
            step, jax.tree.map(placed, params, weights), jax.tree.map(placed, moments, moment_shardings), rng
        )

    @functools.cached_property
    def _jitted(self) -> Any:
        state = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        rows = Batch(*(self.batch_sharding,) * len(Batch._fields))
        return jax.jit(
            self._update,
            in_shardings=(state, rows),
            out_shardings=(state, self._replicated),
            donate_argnums=0,
        )

    def init(self, seed: int, params: Any = None) -> TrainState:
        """The state before the first update; the same on any mesh, and a host makes only its devices' shards.

        Args:
          seed: of the random parameters and of dropout.
          params: the parameters to begin with, sharded as in ``abstract_state``; None draws random ones.
        """
        if params is None:
            weights_key = jax.random.fold_in(jax.random.key(seed), 0)  # as random.split's first
            weights = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state.params)
            params = initial.make_params(self.model, weights_key, weights)
        # Adam's moments and every counter of the chain begin at 0.
        opt_state = _zeros(self.abstract_state.opt_state)
        return TrainState(_zeros(self.abstract_state.step), params, opt_state, self.dropout_key(seed))

    def dropout_key(self, seed: int) -> jax.Array:
        """The dropout key of a run, as ``init`` derives it from the seed, replicated."""
        key = jax.random.fold_in(jax.random.key(seed), 1)  # as random.split's second
        words = np.asarray(jax.random.key_data(key))
        return jax.random.wrap_key_data(
            jax.make_array_from_callback(words.shape, self._replicated, lambda _: words)
        )

    def abstract_batch(self, rows: int, length: int) -> Batch:
        """A Batch of ``jax.ShapeDtypeStruct``s [rows, length] with shardings."""

        def field(name: str) -> Any:
            dtype = jnp.float32 if name == "loss_weights" else jnp.int32
            return jax.ShapeDtypeStruct((rows, length), dtype, sharding=self.batch_sharding)

        return Batch(**{name: field(name) for name in Batch._fields})

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
        # Without a loss token, momentum and weight decay would still move the weights.
        updated, before = (state.step + 1, params, opt_state), (state.step, state.params, state.opt_state)
        step, params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(loss_tokens > 0, new, old), updated, before
        )
        return TrainState(step, params, opt_state, state.rng), metrics

    def check_rows(self, rows: int, length: int) -> None:
        """Checks the shape of a batch.

        Raises:
          UserError: the rows do not divide over the mesh and the micro-batches, or are too long.
        """
        if rows % self.accumulation:
            raise UserError(
                f"Train.accumulation {self.accumulation} does not divide Loader.batch_size {rows}"
            )
        check_axis(self.mesh, "batch", rows // self.accumulation, "Loader.batch_size / Train.accumulation")
        if length > self.model.max_positions:
            raise UserError(f"rows of {length} tokens, but Model.max_positions is {self.model.max_positions}")

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One update.

        Raises:
          UserError: as ``check_rows``.
        """
        self.check_rows(*batch.inputs.shape)
        with jax.set_mesh(self.mesh):
            return self._jitted(state, batch)

    def lower(self, rows: int, length: int) -> Any:
        """``jax.jit(...).lower`` of the update for global batches of ``rows`` x ``length``.

        Raises:
          UserError: as ``check_rows``.
        """
        self.check_rows(rows, length)
        with jax.set_mesh(self.mesh):
            return self._jitted.lower(self.abstract_state, self.abstract_batch(rows, length))
