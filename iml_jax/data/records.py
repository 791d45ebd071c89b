"""Serialised ``tf.train.Example`` records, read and written without TensorFlow.

The message type is built at run time in a private descriptor pool, so it never collides with
TensorFlow's own registration in a process that has both. The protobuf runtime's C parser (upb) takes
about 10 us for a record of 150 ids.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from iml_jax.foundation.errors import UserError

Features = dict[str, np.ndarray | list[bytes]]

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "iml_jax.records"


def parse_example(serialised: bytes, *, file: str | Path = "", index: int = 0) -> Features:
    """The features of one serialised ``tf.train.Example`` (tensorflow/core/example/example.proto).

    Args:
      serialised: the record as stored.
      file: where it comes from, for the error message.
      index: its number in that file, from 0.

    Returns:
      By name: int64 [n] and float32 [n] arrays, lists of bytes; a feature without a value is an empty
      list. Packed and unpacked encodings are read alike.

    Raises:
      UserError: the bytes are no such message.
    """
    try:
        entries = _example_class().FromString(serialised).features.feature
    except message.DecodeError:
        raise UserError(
            f"{file}: record {index} is not a serialised tf.train.Example; run `iml prepare` again"
        ) from None
    features: Features = {}
    for name, feature in entries.items():
        kind = feature.WhichOneof("kind")
        if kind == "int64_list":
            features[name] = np.array(feature.int64_list.value[:], np.int64)
        elif kind == "float_list":
            features[name] = np.array(feature.float_list.value[:], np.float32)
        else:
            features[name] = list(feature.bytes_list.value)
    return features


def serialise_example(features: Mapping[str, np.ndarray | Sequence[int] | Sequence[bytes]]) -> bytes:
    """The ``tf.train.Example`` bytes of named features, as TensorFlow would write them.

    Args:
      features: integer or floating arrays [n], lists of ints, or lists of bytes; an empty list
        becomes an empty int64 list.
    """
    example = _example_class()()
    for name, values in features.items():
        feature = example.features.feature[name]
        if isinstance(values, np.ndarray) and values.dtype.kind in "iu":  # token ids: most of all there is
            feature.int64_list.SetInParent()
            feature.int64_list.value.extend(values.tolist())
        elif len(values) and isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif np.issubdtype(np.asarray(values).dtype, np.floating) and len(values):
            feature.float_list.value.extend(np.asarray(values).tolist())
        else:
            feature.int64_list.SetInParent()
            feature.int64_list.value.extend(np.asarray(values, np.int64).tolist())
    return example.SerializeToString(deterministic=True)


@functools.cache
def _example_class() -> Any:
    """The message class, described as in tensorflow/core/example/{example,feature}.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="iml_jax/records.proto", package=_PACKAGE, syntax="proto3")
    for name, kind in (
        ("BytesList", _FIELD.TYPE_BYTES),
        ("FloatList", _FIELD.TYPE_FLOAT),
        ("Int64List", _FIELD.TYPE_INT64),
    ):
        _add_field(file.message_type.add(name=name), "value", 1, kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, kind_name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        type_name = kind_name.split("_")[0].capitalize() + "List"
        field = _add_field(feature, kind_name, number, type_name)
        field.oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, _FIELD.TYPE_STRING)
    _add_field(entry, "value", 2, "Feature")
    _add_field(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    _add_field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add_field(
    parent: descriptor_pb2.DescriptorProto, name: str, number: int, kind: Any, *, repeated: bool = False
) -> descriptor_pb2.FieldDescriptorProto:
    """Adds a field whose ``kind`` is a scalar type or the name of a message of this package."""
    field = parent.field.add(name=name, number=number)
    field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = kind
    return field
