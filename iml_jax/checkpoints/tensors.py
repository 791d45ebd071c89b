"""Named tensors in Hugging Face's files: safetensors and ``pytorch_model.bin``, whole or sharded."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save_file

from iml_jax.foundation import extras
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.reading import open_binary, read_json
from iml_jax.storage.writing import write_atomically

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
DTYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

Shape = tuple[int, ...]


class TensorFiles:
    """The tensors of one model directory: ``shapes`` by name at once, values one by one through ``read``.

    ``place`` is the one file with all of them, else the directory: for messages.
    """

    def __init__(self, directory: str | Path) -> None:
        """Opens every file and reads names and shapes.

        Raises:
          UserError: no weights there, a shard missing or damaged, a name twice or not where the index
            says, a pickle with anything but tensors in it, or torch missing for ``.bin``.
        """
        self.shapes: dict[str, Shape] = {}
        self._readers: dict[str, Callable[[], np.ndarray]] = {}
        files = list(_files(Path(directory)))
        self.place = files[0][0] if len(files) == 1 else Path(directory)
        for file, expected in files:
            found = _open_safetensors(file) if file.suffix == ".safetensors" else _open_pickled(file)
            if expected is not None and expected != found.keys():
                name = min(expected ^ found.keys())
                what = (
                    "is listed for it in the index but missing" if name in expected else "is not in the index"
                )
                raise UserError(f"{file}: tensor {name} {what}")
            for name, (shape, reader) in found.items():
                self.shapes[name] = shape
                self._readers[name] = reader

    def read(self, name: str) -> np.ndarray:
        """One tensor; bfloat16 as ``ml_dtypes.bfloat16``."""
        return self._readers[name]()


def _files(directory: Path) -> Iterable[tuple[Path, set[str] | None]]:
    """Weight files with the names that an index promises for each (None without an index)."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory")
    for name in (SAFETENSORS, PICKLED):
        if (directory / name).is_file():
            return [(directory / name, None)]
        if (directory / (name + INDEX)).is_file():
            return _indexed(directory / (name + INDEX))
    raise UserError(f"{directory}: has neither {SAFETENSORS} nor {PICKLED} (nor an index of shards)")


def _indexed(index: Path) -> list[tuple[Path, set[str] | None]]:
    try:
        weight_map = read_json(index)["weight_map"]
        shards: dict[str, set[str] | None] = {}
        for tensor, shard in weight_map.items():
            if not isinstance(shard, str) or Path(shard).name != shard:
                raise UserError(f"{index}: {tensor} is in {shard!r}, which is no file name")
            shards.setdefault(shard, set()).add(tensor)  # type: ignore[union-attr]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: not a JSON object with a weight_map; download it again") from error
    for shard in shards:
        if not (index.parent / shard).is_file():
            raise UserError(f"{index.parent / shard}: shard is missing; {index.name} lists it")
    return [(index.parent / shard, names) for shard, names in sorted(shards.items())]


def _open_safetensors(file: Path) -> dict[str, tuple[Shape, Callable[[], np.ndarray]]]:
    _check_blob(file)
    try:
        content = safetensors.safe_open(file, framework="np")
        names = list(content.keys())
        shapes = {name: tuple(content.get_slice(name).get_shape()) for name in names}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: no whole safetensors file ({error}); download it again") from error
    return {name: (shape, functools.partial(content.get_tensor, name)) for name, shape in shapes.items()}


def _open_pickled(file: Path) -> dict[str, tuple[Shape, Callable[[], np.ndarray]]]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{file}: needs torch, which is not installed: {extras.remedy('torch')}, or convert the file to "
            "safetensors"
        ) from error
    _check_blob(file)
    _check_zip(file)
    try:
        # weights_only admits tensors and plain containers; anything else is refused before it runs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of odd pickle protocols
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, ... as the file pleases
        unsafe = "weights only" in str(error).lower()
        what = "holds more than weights, refused" if unsafe else "damaged"
        raise UserError(f"{file}: {what}; use a safetensors file of this model") from error
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{file}: holds no named tensors")
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise UserError(f"{file}: {name} is no tensor but {type(value).__name__}")
    return {
        name: (tuple(value.shape), functools.partial(_to_numpy, value)) for name, value in content.items()
    }


def _check_blob(file: Path) -> None:
    """Compares a file of Hugging Face's cache with its SHA-256, which is the name it has there.

    safetensors files hold no checksum of their own.
    """
    name = file.resolve().name
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        return
    digest = hashlib.sha256()
    with open_binary(file) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != name:
        raise UserError(
            f"{file}: damaged (its SHA-256 is not that of Hugging Face's cache); download it again"
        )


def _check_zip(file: Path) -> None:
    """Compares the CRC-32 of every member of what ``torch.save`` wrote, which ``torch.load`` does not."""
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as content:
            damaged = content.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{file}: damaged ({error}); download it again") from error
    if damaged:
        raise UserError(f"{file}: damaged (the checksum of {damaged} differs); download it again")


def _to_numpy(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # numpy has no such dtype: carry the bits over
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def cast(tensor: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """``tensor`` in ``dtype``, round to nearest.

    Raises:
      UserError: a finite value is beyond the range of ``dtype``.
    """
    target = DTYPES[dtype]
    if tensor.dtype == target:
        return tensor
    with np.errstate(over="ignore"):
        result = tensor.astype(target)
    if not np.array_equal(np.isfinite(result), np.isfinite(tensor)):
        largest = float(np.max(np.abs(tensor[np.isfinite(tensor)])))
        raise UserError(f"{name} reaches {largest:g}, beyond {dtype}; choose bfloat16 or float32")
    return result


def write_safetensors(
    directory: Path,
    shapes: Mapping[str, Shape],
    tensors: Iterable[tuple[str, np.ndarray]],
    *,
    dtype: str,
    max_shard_bytes: int,
) -> list[str]:
    """Writes model.safetensors, or shards of at most ``max_shard_bytes`` (or one tensor) and their index.

    Args:
      directory: exists already.
      shapes: what ``tensors`` will yield, in the same order.
      tensors: names and values; never more than one shard of them is in memory.
      dtype: ``float32``, ``float16`` or ``bfloat16``.
      max_shard_bytes: 5e9 is Hugging Face's habit.

    Returns:
      the names of the weight files.

    Raises:
      UserError: a value is beyond the range of ``dtype``.
      Fault: a file cannot be written.
    """
    plan = _plan(
        {name: int(np.prod(shape)) * DTYPES[dtype].itemsize for name, shape in shapes.items()},
        max_shard_bytes,
    )
    files = [SAFETENSORS]
    if len(plan) > 1:
        files = [f"model-{i:05d}-of-{len(plan):05d}.safetensors" for i in range(1, len(plan) + 1)]
    stream = iter(tensors)
    for file, names in zip(files, plan, strict=True):
        shard = {}
        for _ in names:
            name, tensor = next(stream)
            shard[name] = np.ascontiguousarray(cast(tensor, dtype, name))
        if list(shard) != names:
            raise ValueError(f"tensors out of the announced order at {file}")
        try:
            save_file(shard, directory / file, metadata={"format": "pt"})
        except (OSError, safetensors.SafetensorError) as error:
            raise Fault(f"{directory / file}: cannot be written: {error}") from error
    if len(plan) > 1:
        weight_map = {name: file for file, names in zip(files, plan, strict=True) for name in names}
        total = sum(int(np.prod(shape)) for shape in shapes.values()) * DTYPES[dtype].itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_atomically(directory / (SAFETENSORS + INDEX), json.dumps(index, indent=2) + "\n")
    return files


def _plan(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards
