"""Lowers the real programs of a configuration, train step and evaluation steps, for a topology's devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from iml_jax.evaluation.engine import batching, generation, scoring
from iml_jax.evaluation.engine.sampling import Sampling
from iml_jax.models import decoding
from iml_jax.models.decoding import RingCache
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.planning.job import DECODE, PREFILL, SCORE, TRAIN, Job
from iml_jax.planning.topology import KINDS, Topology
from iml_jax.training.optimizer import OptimizerConfig
from iml_jax.training.state import TrainState
from iml_jax.training.step import TrainStep, batch_sharding

SCORED = 512  # scored tokens of a row that the scoring step is compiled for; logits go in blocks


def devices(topology: Topology) -> Sequence[jax.Device]:
    """The devices of a topology; none of them need exist, but those of ``cpu:N`` do.

    Raises:
      RuntimeError: libtpu refuses the topology.
    """
    if topology.kind == "cpu":
        return jax.devices("cpu")[: topology.devices]
    kind = KINDS[topology.kind]
    options: dict[str, Any] = {"chip_config_name": kind.config}
    shape = [*topology.shape, 1][:3]
    if np.prod(topology.shape) < 4 or shape[0] < 2 or shape[1] < 2:
        options["chips_per_host_bounds"] = tuple(shape)
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    name = f"{kind.libtpu}:{'x'.join(map(str, topology.shape))}"
    found = topologies.get_topology_desc(topology_name=name, platform="tpu", **options)
    return list(found.devices)


def configs(job: Job) -> tuple[OptConfig, OptimizerConfig, MeshConfig]:
    """The dataclasses of a job."""
    return OptConfig(**job.model), OptimizerConfig(**job.optimizer), MeshConfig(**job.mesh)


def mesh_of(job: Job) -> jax.sharding.Mesh:
    """The mesh that training and evaluation would make on the topology."""
    return make_mesh(configs(job)[2], devices(job.topology))


def state_of(job: Job, mesh: jax.sharding.Mesh) -> TrainState:
    """The train state's shapes, dtypes and shardings."""
    model, optimizer, _ = configs(job)
    return TrainStep(model, optimizer, mesh).abstract_state


def lower(job: Job, mesh: jax.sharding.Mesh) -> Any:
    """``jax.stages.Lowered`` of the job's program.

    Raises:
      UserError: configuration and mesh do not go together.
    """
    makers = {TRAIN: _train, SCORE: _score, PREFILL: _prefill, DECODE: _decode}
    return makers[job.program](job, mesh)


def _train(job: Job, mesh: jax.sharding.Mesh) -> Any:
    model, optimizer, _ = configs(job)
    return TrainStep(model, optimizer, mesh, job.accumulation).lower(job.rows, job.length)


def _rows(mesh: jax.sharding.Mesh, *shape: int) -> jax.ShapeDtypeStruct:
    """int32, cut as ``batching.on_mesh`` cuts it."""
    return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=batch_sharding(mesh))


def _score(job: Job, mesh: jax.sharding.Mesh) -> Any:
    model = configs(job)[0]
    rows, length = scoring_shape(job, mesh)
    count = min(SCORED, length)
    slots, wanted = _rows(mesh, rows, length), _rows(mesh, rows, count)
    weights = state_of(job, mesh).params  # before the mesh is set, whose devices can run nothing
    with jax.set_mesh(mesh):
        function: Any = scoring.compiled_scorer(model, mesh)
        return function.lower(weights, (slots,) * 4 + (wanted,) * 2)


def scoring_shape(job: Job, mesh: jax.sharding.Mesh) -> tuple[int, int]:
    """(rows, slots) of the largest call of the scoring step."""
    return batching.row_count(mesh, job.options["score_rows"]), configs(job)[0].max_positions


def writing_shape(job: Job, mesh: jax.sharding.Mesh) -> tuple[int, int, int]:
    """(rows, longest prompt, slots of the cache) of the largest call of the generation steps."""
    model, new = configs(job)[0], job.options["max_new_tokens"]
    rows = batching.row_count(mesh, job.options["write_rows"])
    prompt = model.max_positions - new
    chunks = -(-new // generation.CHUNK) * generation.CHUNK
    return rows, prompt, prompt + chunks


def _functions(job: Job, mesh: jax.sharding.Mesh) -> Any:
    sampling = Sampling(job.options["temperature"], job.options["top_k"], job.options["top_p"])
    new = job.options["max_new_tokens"]
    return generation.compiled_functions(configs(job)[0], mesh, sampling, new)


def _prefill(job: Job, mesh: jax.sharding.Mesh) -> Any:
    rows, prompt, _ = writing_shape(job, mesh)
    weights = state_of(job, mesh).params
    with jax.set_mesh(mesh):
        function = _functions(job, mesh).prefill
        return function.lower(
            weights,
            (_rows(mesh, rows, prompt),) * 3,
            jax.ShapeDtypeStruct((rows,), jnp.int32),
            jax.ShapeDtypeStruct((), jnp.uint32),
        )


def _decode(job: Job, mesh: jax.sharding.Mesh) -> Any:
    rows, _, slots = writing_shape(job, mesh)
    weights = state_of(job, mesh).params
    with jax.set_mesh(mesh):
        functions = _functions(job, mesh)
        made = functions.empty_cache.lower(rows, slots).compile()
        shapes: RingCache = jax.eval_shape(lambda: functions.empty_cache(rows, slots))
        cache = jax.tree.map(
            lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place),
            shapes,
            made.output_shardings,
        )
        if decoding.copies_params():
            weights = jax.eval_shape(functions.prepare, weights)
        return functions.chunk.lower(
            weights,
            cache,
            jax.ShapeDtypeStruct((4, rows), jnp.int32),
            jax.ShapeDtypeStruct((rows,), jnp.bool_),
            jax.ShapeDtypeStruct((), jnp.uint32),
        )


def bytes_a_device(tree: Any) -> int:
    """Bytes of a device's part of a tree of abstract arrays."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
        if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
    )
