"""Datasets that TensorFlow Datasets prepared: ``BUILDER[/CONFIG]/VERSION/`` with its own metadata.

What there is to read is taken from ``dataset_info.json`` and ``features.json`` here, so that listing needs
no TensorFlow; rows are decoded by ``tensorflow_datasets`` itself.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.records import json_object
from iml_jax.foundation import extras
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries, is_there
from iml_jax.storage.reading import LINE_LIMIT

INFO, FEATURES = "dataset_info.json", "features.json"
VERSION = re.compile(r"\d+\.\d+\.\d+")
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_SHARDS = 1 << 16
_OWN = re.compile(r"tensorflow_datasets\.(core\.features\.[\w.]+|[A-Z]\w*)")  # or a message of its own
_GIVE = "prepare the dataset again with tensorflow_datasets"


def versions(folder: Path) -> tuple[str, ...]:
    """The versions prepared under a builder's or a config's folder, lowest first."""
    if not folder.is_dir():
        return ()
    found = [path.name for path in entries(folder) if VERSION.fullmatch(path.name) and is_version(path)]
    return tuple(sorted(found, key=lambda name: tuple(map(int, name.split(".")))))


def is_version(folder: Path) -> bool:
    """Whether the folder is one prepared version."""
    return is_there(folder / INFO) and not is_there(folder / "state.json") and bool(_info_like(folder))


def _info_like(folder: Path) -> bool:
    return is_there(folder / FEATURES) or VERSION.fullmatch(folder.name) is not None


def tfds_splits(folder: Path) -> tuple[dict[str, tuple[Path, ...]], tuple[Path, ...]]:
    """Split -> its record files, and the metadata files, of one version's folder.

    Raises:
      UserError: metadata missing or malformed, or a record file is not there.
    """
    if not is_there(folder / FEATURES):
        raise UserError(f"{folder}: no {FEATURES} (written by TFDS before 4.0, or not copied); {_GIVE}")
    info = json_object(folder / INFO)
    _check_features(folder / FEATURES)
    splits = {}
    for entry in info.get("splits") or ():
        try:
            name, lengths = str(entry["name"]), entry.get("shardLengths") or ()
            fields = {
                "DATASET": str(info["name"]),
                "SPLIT": name,
                "FILEFORMAT": str(info.get("fileFormat") or "tfrecord"),
            }
            if len(lengths) > _SHARDS:
                raise ValueError(f"more than {_SHARDS} shards")
            names = _shards(entry.get("filepathTemplate") or _TEMPLATE, fields, len(lengths))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder / INFO}: malformed 'splits' ({error}); {_GIVE}") from error
        for file in names:
            if not (folder / file).is_file():
                raise UserError(f"{folder / file}: named by {INFO} and not there; copy the whole folder")
        splits[name] = tuple(folder / file for file in names)
    if not splits:
        raise UserError(f"{folder / INFO}: no splits; {_GIVE}")
    labels = [path for path in entries(folder) if path.name.endswith(".txt")]
    return splits, (folder / INFO, folder / FEATURES, *labels)


def _shards(template: str, fields: Mapping[str, str], shards: int) -> list[str]:
    """The file names of a split, by TFDS's naming template.

    Raises:
      ValueError, KeyError, TypeError: the template gives no file names.
    """
    names = []
    for index in range(shards):
        numbers = {"SHARD_INDEX": f"{index:05d}", "NUM_SHARDS": f"{shards:05d}"}
        numbers["SHARD_X_OF_Y"] = f"{index:05d}-of-{shards:05d}"
        values = {**fields, **numbers}
        name = re.sub(r"\{(\w+)\}", lambda match, values=values: values[match[1]], template)  # type: ignore[misc]
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no file name")
        names.append(name)
    return names


def _check_features(path: Path) -> None:
    """TFDS imports the modules that the file names: only its own features are let through."""
    stack: list[Any] = [json_object(path)]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for key in ("pythonClassName", "python_class_name", "type", "proto_cls"):
                named = value.get(key)
                if isinstance(named, str) and "." in named and not _OWN.fullmatch(named):
                    raise UserError(f"{path}: {named!r} is no feature of tensorflow_datasets; {_GIVE}")
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


@contextlib.contextmanager
def _builder(folder: Path) -> Iterator[Any]:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        remedy = extras.remedy("tensorflow_datasets")
        raise UserError(f"{folder}: needs tensorflow_datasets; {remedy}") from error
    import tensorflow as tf

    try:
        yield tfds.builder_from_directory(str(folder))
    except (tf.errors.OpError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"{folder}: TFDS cannot read it ({reason}); copy it again or prepare it again"
        ) from error


def tfds_rows(folder: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Streams (row from 1, row) of one split in the order of its files; values are plain Python.

    Text is ``str``, numbers ``int``, ``float`` or ``bool``, tensors (nested) lists, features nested dicts; a
    sequence of dicts is a dict of lists, as TFDS and Hugging Face's ``datasets`` both give it.

    Raises:
      UserError: a record is damaged, the files hold fewer rows than the metadata say, or text is not UTF-8.
    """
    number = 0
    with _builder(folder) as builder:
        for record in _records(builder, split):
            number += 1
            try:
                row = _plain(record)
            except UnicodeDecodeError as error:
                raise UserError(f"{folder}: {split} row {number}: text is not UTF-8; {_GIVE}") from error
            yield number, row


def _records(builder: Any, split: str) -> Iterator[Any]:
    """Records as numpy; only array_record files offer random access and only they refuse ``tf.data``."""
    import tensorflow_datasets as tfds

    if builder.info.file_format.name == "ARRAY_RECORD":
        source = builder.as_data_source(split)
        yield from (source[index] for index in range(len(source)))
        return
    order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    yield from tfds.as_numpy(builder.as_dataset(split, shuffle_files=False, read_config=order))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "to_list"):  # a ragged tensor
        return _plain(value.to_list())
    if hasattr(value, "tolist"):  # an array or a number of numpy
        if getattr(value, "size", 1) > LINE_LIMIT:
            raise ValueError(f"a tensor of {value.size} items")
        return _plain(value.tolist())
    return value


def tfds_class_names(folder: Path, column: str) -> tuple[str, ...] | None:
    """The names of a ClassLabel feature, or of a sequence's; None for another feature.

    Raises:
      UserError: the folder cannot be read.
    """
    with _builder(folder) as builder:
        features = dict(builder.info.features.items())
        feature = features.get(column)
        while feature is not None and not hasattr(feature, "names") and hasattr(feature, "feature"):
            feature = feature.feature
        names = getattr(feature, "names", None)
        return tuple(names) if names else None
