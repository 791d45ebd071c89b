"""Folders that ``datasets.save_to_disk`` wrote, read with pyarrow alone.

``dataset_dict.json`` lists the splits, each a folder with ``state.json`` (the names of its Arrow stream
files) and ``dataset_info.json`` (features); a single split has these two in the folder itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.parquet import open_parquet
from iml_jax.bench.sources.formats.records import json_object
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import is_there
from iml_jax.storage.reading import open_binary, parse_json

DICT, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_BATCH = 256  # rows made into Python objects at a time
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # how an Arrow stream ends


def is_arrow_folder(folder: Path) -> bool:
    """Whether ``datasets.save_to_disk`` wrote the folder."""
    return is_there(folder / DICT) or is_there(folder / STATE)


def arrow_splits(folder: Path) -> tuple[dict[str, tuple[Path, ...]], tuple[Path, ...]]:
    """Split -> its Arrow files, and the JSON files that describe them.

    Raises:
      UserError: a JSON file is malformed, or a file that it names is not there.
    """
    if not is_there(folder / DICT):
        state = json_object(folder / STATE)
        split = state.get("_split") or "train"
        return {str(split): _files(folder, state)}, _described(folder)
    names = json_object(folder / DICT).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) and _plain(name) for name in names):
        raise UserError(f"{folder / DICT}: no list 'splits' of names; save the dataset again")
    splits = {name: _files(folder / name, json_object(folder / name / STATE)) for name in names}
    described = (path for name in names for path in _described(folder / name))
    return splits, (folder / DICT, *described)


def _files(folder: Path, state: Mapping[str, Any]) -> tuple[Path, ...]:
    listed = state.get("_data_files")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise UserError(f"{folder / STATE}: no list '_data_files'; save the dataset again")
    names = [entry.get("filename") for entry in listed]
    if state.get("_indices_data_files"):
        raise UserError(f"{folder / STATE}: rows behind an index; call flatten_indices() and save again")
    files = []
    for name in names:
        if not isinstance(name, str) or not _plain(name):
            raise UserError(f"{folder / STATE}: {name!r} is no file name; save the dataset again")
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: named by {STATE} and not there; copy the whole folder")
        files.append(folder / name)
    return tuple(files)


def _plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and Path(name).name == name


def _described(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in (folder / STATE, folder / INFO) if is_there(path))


def arrow_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Streams (row from 1, row) of an Arrow stream file, which is mapped and never held whole.

    Raises:
      UserError: damaged, cut short, or not an Arrow stream.
    """
    import pyarrow

    number = 0
    try:
        with open_binary(path) as end:
            end.seek(-min(len(_END), end.seek(0, 2)), 2)
            if end.read() != _END:
                raise UserError(f"{path}: no Arrow stream, or cut short; copy the file again")
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
            for batch in stream:
                batch.validate(full=True)  # offsets out of bounds would crash the process
                for start in range(0, batch.num_rows, _BATCH):
                    for row in batch.slice(start, _BATCH).to_pylist():
                        number += 1
                        yield number, row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: unreadable after row {number} ({reason}); copy the file again") from error


def arrow_features(folder: Path, split: str) -> Mapping[str, Any]:
    """The features (column -> its type, in the JSON of ``datasets``) of one split; empty where not saved.

    Raises:
      UserError: ``dataset_info.json`` is malformed.
    """
    own = folder / split / INFO if is_there(folder / DICT) else folder / INFO
    features = json_object(own).get("features") if is_there(own) else None
    return features if isinstance(features, dict) else {}


def parquet_features(path: Path) -> Mapping[str, Any]:
    """The features that ``datasets`` left in the schema of a Parquet file; empty where there are none.

    Raises:
      UserError: it is no Parquet file.
    """
    with open_parquet(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        described = metadata.get(b"huggingface", b"{}").decode("utf-8")
        features = parse_json(described, path, halves=True)["info"]["features"]
    except (UserError, UnicodeDecodeError, LookupError, TypeError):  # of another writer
        return {}
    return features if isinstance(features, dict) else {}


def class_names(feature: Any) -> tuple[str, ...] | None:
    """The names of a ClassLabel feature, or of a list's; None for another feature."""
    while isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    while isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        feature = feature.get("feature")
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return tuple(map(str, names)) if isinstance(names, list) else None
