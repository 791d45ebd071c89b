"""Reading checkpoints: a training state onto any mesh, parameters alone, or parameters layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from iml_jax.checkpoints import layout, locate
from iml_jax.checkpoints.metadata import check_same_model, model_of
from iml_jax.checkpoints.quiet import silence_orbax
from iml_jax.checkpoints.verifying import read_newest
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.models.sizes import OptConfig

CACHE_BYTES = 1 << 28  # of decoded chunks, for parameters whose chunks hold several layers
silence_orbax()


def read_state(step_directory: Path, abstract: Any) -> Any:
    """Reads the part of the ``state`` item that ``abstract`` (see ``CheckpointStore.restore``) names.

    Raises:
      UserError: a leaf is not in the checkpoint or has another shape there.
      Fault: the arrays cannot be read.
    """
    directory = step_directory / "state"
    with reading(step_directory), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        saved = reader.metadata(directory).item_metadata
        if saved is None:  # Orbax's way to say that it could not be read
            raise Fault(f"{step_directory}: its list of arrays cannot be read; name another checkpoint")
        _check_tree(saved.tree, abstract, step_directory)
        arguments = ocp.args.PyTreeRestore(
            abstract,
            restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
            partial_restore=True,
        )
        return reader.restore(directory, args=arguments)


def restore_params(
    path: str | Path, config: OptConfig | None = None, shardings: Any = None
) -> tuple[OptConfig, Any, dict[str, Any]]:
    """``read_params`` of RUN (its newest undamaged checkpoint) or RUN/checkpoints/STEP, verified.

    Args:
      path: see ``locate.resolve``.
      config, shardings: as for ``read_params``.

    Raises:
      UserError: no such checkpoint, unfinished, damaged, or of another model.
      Fault: the arrays cannot be read.
    """
    return read_newest(path, lambda place: read_params(place, config, shardings))


def read_params(
    place: Path, config: OptConfig | None = None, shardings: Any = None
) -> tuple[OptConfig, Any, dict[str, Any]]:
    """Reads the parameters only (no optimizer state) of a checkpoint, whose checksums the caller compares.

    Args:
      place: the step directory.
      config: the model they must be; None takes the checkpoint's own.
      shardings: one ``jax.sharding.Sharding`` for all, or a tree of them like the parameters; None puts
        all on the first device.

    Returns:
      the config (``config`` if given), the parameter tree, the metadata.

    Raises:
      UserError: it is of another model.
      Fault: the arrays cannot be read.
    """
    metadata = locate.read_metadata(place)
    saved = model_of(metadata, str(place))
    if config is not None:
        check_same_model(saved, config, str(place))
    shapes = layout.parameter_shapes(saved)
    if shardings is None:
        shardings = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if isinstance(shardings, jax.sharding.Sharding):
        one = shardings
        shardings = jax.tree.map(lambda _: one, shapes)
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    return config or saved, read_state(place, {"params": abstract})["params"], metadata


class LazyParameter:
    """One parameter on disk; indexing reads that part only."""

    def __init__(self, array: Any, where: Path) -> None:
        self._array, self._where = array, where
        self.shape: tuple[int, ...] = tuple(array.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        with reading(self._where):
            return np.asarray(self._array[index].read().result())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[...].astype(dtype or np.float32, copy=False)


def open_params(place: Path) -> tuple[OptConfig, Any, dict[str, Any]]:
    """Opens the parameters of a checkpoint without reading them, for a streaming export.

    Orbax has no public call for this, so it goes to the storage underneath (TensorStore: zarr in OCDBT,
    one array named by its dotted path); a test holds the values equal to ``restore_params``'.

    Args:
      place: the step directory, whose checksums the caller compares.

    Returns:
      the model, the tree of ``LazyParameter``, the metadata.

    Raises:
      UserError: the arrays are not those of its model.
      Fault: it cannot be read.
    """
    metadata = locate.read_metadata(place)
    model = model_of(metadata, str(place))
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": CACHE_BYTES}})

    def open_one(keys: Any, leaf: Any) -> LazyParameter:
        base = {"driver": "file", "path": f"{place}/state/"}
        store = {"driver": "ocdbt", "base": base, "path": f"params.{leaf_name(keys)}/"}
        spec = {"driver": "zarr", "kvstore": store}
        with reading(place):
            array = tensorstore.open(spec, read=True, context=context).result()
        if tuple(array.shape) != leaf.shape:
            raise UserError(
                f"{place}: {leaf_name(keys)} has shape {array.shape}, its model says {leaf.shape}"
            )
        return LazyParameter(array, place)

    return model, jax.tree_util.tree_map_with_path(open_one, layout.parameter_shapes(model)), metadata


def leaf_name(path: Any) -> str:
    """Orbax's name of the leaf at a jax key path: its keys joined by dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _check_tree(saved: Any, abstract: Any, where: Path) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(saved, is_leaf=lambda node: hasattr(node, "shape"))
    found = {leaf_name(path): leaf for path, leaf in leaves}
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract):
        name = leaf_name(path)
        if name not in found:
            what = "it holds weights only" if "opt_state" in name else "it is of another model or optimizer"
            raise UserError(f"{where}: has no {name}; {what}")
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # saved as its raw words
        if not is_key and tuple(found[name].shape) != tuple(leaf.shape):
            shapes = f"{tuple(found[name].shape)} there, {tuple(leaf.shape)} here"
            raise UserError(f"{where}: {name} has another shape ({shapes}); it is of another model")


@contextlib.contextmanager
def reading(where: Path) -> Iterator[None]:
    """Turns what the storage driver raises (OSError, ValueError, ...) into a ``Fault`` naming ``where``."""
    try:
        yield
    except (Fault, UserError):
        raise
    except Exception as error:
        remedy = "damaged on disk? name another checkpoint"
        raise Fault(f"{where}: cannot be read ({remedy}): {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The message as one line; of a long one both ends, since storage names its cause last."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-145:]}"
