"""iml_jax/data/records.py against TensorFlow's own encoding."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.data.records import parse_example, serialise_example
from iml_jax.foundation.errors import UserError

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(st.lists(INT64), st.lists(FLOAT, min_size=1), st.lists(st.binary(max_size=20), min_size=1))
FEATURES = st.dictionaries(st.text(max_size=8), VALUES, max_size=5)


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def tensorflow_bytes(tf, features):
    kinds = {int: "int64_list", float: "float_list", bytes: "bytes_list"}
    example = tf.train.Example()
    for name, values in features.items():
        kind = kinds[type(values[0])] if values else "int64_list"
        part = getattr(example.features.feature[name], kind)
        part.SetInParent()
        part.value.extend(values)
    return example.SerializeToString()


def same(parsed, features):
    assert parsed.keys() == features.keys()
    for name, values in features.items():
        if values and isinstance(values[0], bytes):
            assert parsed[name] == values
        else:
            dtype = np.float32 if values and isinstance(values[0], float) else np.int64
            assert parsed[name].dtype == dtype
            np.testing.assert_array_equal(parsed[name], np.array(values, dtype))


@settings(max_examples=150, deadline=None)
@given(features=FEATURES)
def test_parses_what_tensorflow_writes(tf, features):
    same(parse_example(tensorflow_bytes(tf, features)), features)


@settings(max_examples=150, deadline=None)
@given(features=FEATURES)
def test_tensorflow_parses_what_we_write(tf, features):
    example = tf.train.Example.FromString(serialise_example(features))
    assert example == tf.train.Example.FromString(tensorflow_bytes(tf, features))


def varint(value):
    value %= 2**64
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out) + bytes([value])


def field(number, content):
    return varint(number * 8 + 2) + varint(len(content)) + content


@settings(max_examples=50, deadline=None)
@given(values=st.lists(INT64, max_size=30), packed=st.booleans())
def test_packed_and_unpacked_int64_lists_are_read_alike(tf, values, packed):
    """The wire format by hand: repeated int64 may come as one blob or one key a value."""
    if packed:
        numbers = field(1, b"".join(varint(value) for value in values))
    else:
        numbers = b"".join(varint(1 * 8 + 0) + varint(value) for value in values)
    entry = field(1, b"ids") + field(2, field(3, numbers))
    serialised = field(1, field(1, entry))
    np.testing.assert_array_equal(parse_example(serialised)["ids"], np.array(values, np.int64))
    assert list(tf.train.Example.FromString(serialised).features.feature["ids"].int64_list.value) == values


def test_a_feature_without_value_is_an_empty_list(tf):
    example = tf.train.Example()
    example.features.feature["nothing"].SetInParent()
    assert parse_example(example.SerializeToString()) == {"nothing": []}


@pytest.mark.parametrize("damaged", [b"\xff", b"\x0a\x05abc", b"not a record"])
def test_malformed_bytes_name_file_and_record(damaged):
    with pytest.raises(UserError, match=r"^cache/x\.array_record: record 17 is not a serialised .*prepare"):
        parse_example(damaged, file="cache/x.array_record", index=17)


def test_cut_records_never_escape_as_another_error():
    whole = serialise_example({"inputs": np.arange(300), "example_id": [b"abc"]})
    failures = 0
    for end in range(1, len(whole)):
        try:
            parse_example(whole[:end])
        except UserError:
            failures += 1
    assert failures == len(whole) - 1


def test_leaves_tensorflow_out():
    code = (
        "import sys; from iml_jax.data.records import parse_example, serialise_example;"
        "parse_example(serialise_example({'a': [1]}));"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'seqio', 't5')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
