"""A model that can be computed with, as one object."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from iml_jax.models.sizes import OptConfig


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A configuration, its parameters, and the mesh that they are sharded over.

    Attributes:
      config: the sizes and how the model computes.
      params: the parameters' pytree on ``mesh``; nothing that takes a handle copies it.
      mesh: the device mesh.
    """

    config: OptConfig
    params: Any
    mesh: jax.sharding.Mesh
