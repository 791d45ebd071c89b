"""Finds a saved model and loads it onto a mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from iml_jax.checkpoints import locate
from iml_jax.checkpoints.metadata import model_of
from iml_jax.checkpoints.restore import read_params
from iml_jax.checkpoints.verifying import read_newest
from iml_jax.config import Config
from iml_jax.models import opt
from iml_jax.models.handle import Model
from iml_jax.parallel import mesh as meshes
from iml_jax.parallel import rules


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A checkpoint whose parameters are on the mesh.

    Attributes:
      model: the model.
      metadata: the checkpoint's.
      path: the step directory.
      run: the directory that holds ``checkpoints/``; None for a checkpoint without a run.
    """

    model: Model
    metadata: dict[str, Any]
    path: Path
    run: Path | None

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.metadata["updates"])


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """A checkpoint on disk, before its arrays are read: ``LoadedModel`` without them."""

    metadata: dict[str, Any]
    path: Path
    run: Path | None

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.metadata["updates"])


def make_mesh(config: Config) -> jax.sharding.Mesh:
    """``Mesh`` as bound; where it is unbound, parameters and rows are sharded over all devices."""
    return meshes.make_mesh(
        config.build("Mesh") if config.bound("Mesh") else meshes.MeshConfig(data=1, fsdp=-1, tensor=1)
    )


def model_changes(config: Config) -> dict[str, Any]:
    """The fields of ``Model`` that are bound; a vocabulary size of 0 leaves the checkpoint's."""
    model = config.build("Model")
    changes = {name: getattr(model, name) for name in config.bound("Model")}
    return {name: value for name, value in changes.items() if value != 0 or not name.startswith("vocab_")}


def find_model(path: str | Path) -> SavedModel:
    """Which checkpoint ``load_model`` will read, and its metadata; reads no parameters.

    Raises:
      UserError: no such checkpoint, or damaged.
      Fault: its metadata cannot be read.
    """
    found = locate.resolve(path)
    return SavedModel(locate.read_metadata(found), found, _run_of(found))


def load_model(path: str | Path, mesh: jax.sharding.Mesh, changes: Mapping[str, Any]) -> LoadedModel:
    """Reads the parameters of RUN or of a checkpoint, sharded over the mesh as they are read.

    Args:
      path: RUN (its newest checkpoint) or RUN/checkpoints/STEP; also what ``iml convert --to orbax`` wrote.
      mesh: the mesh to load onto.
      changes: model fields that differ from the checkpoint's own (``compute_dtype``, say).

    Where the newest checkpoint of RUN is damaged, the one before it is read, and a line says so.

    Raises:
      UserError: there is no such checkpoint, it is damaged, its shapes are not those of ``changes``, or they
        cannot be sharded over the mesh.
      Fault: it cannot be read.
    """

    def read(step: Path) -> LoadedModel:
        saved = model_of(locate.read_metadata(step), str(step))
        config = dataclasses.replace(saved, **changes).validate()
        logical = opt.logical_axes(saved)
        rules.check_divisible(mesh, logical, opt.abstract_params(saved))
        _, params, metadata = read_params(step, config, rules.shardings(mesh, logical))
        return LoadedModel(Model(config, params, mesh), metadata, step, _run_of(step))

    return read_newest(path, read)


def _run_of(step: Path) -> Path | None:
    return step.parent.parent if step.parent.name == locate.FOLDER else None
