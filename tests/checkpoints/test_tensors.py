"""tensors.py: damaged, hostile and incomplete weight files are refused in one line, unread."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from iml_jax.checkpoints.tensors import TensorFiles, cast, write_safetensors
from iml_jax.foundation.errors import UserError

VALUES = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}


def refused(directory: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        TensorFiles(directory)
    assert "\n" not in str(error.value)


def write_index(directory: Path, weight_map: object, name: str = "model.safetensors.index.json") -> None:
    (directory / name).write_text(json.dumps({"weight_map": weight_map}))


def test_names_shapes_and_values(tmp_path):
    save_file(VALUES, tmp_path / "model.safetensors")
    files = TensorFiles(tmp_path)
    assert files.shapes == {"a": (2, 3), "b": (4,)}
    np.testing.assert_array_equal(files.read("a"), VALUES["a"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("limit", [1, 10**6])
def test_what_is_written_is_read_back(tmp_path, dtype, limit):
    shapes = {name: value.shape for name, value in VALUES.items()}
    files = write_safetensors(tmp_path, shapes, VALUES.items(), dtype=dtype, max_shard_bytes=limit)
    assert len(files) == (2 if limit == 1 else 1)
    found = TensorFiles(tmp_path)
    for name, value in VALUES.items():
        assert found.read(name).dtype.name == dtype
        np.testing.assert_array_equal(found.read(name).astype(np.float32), value)


def test_nothing_there(tmp_path):
    refused(tmp_path, r"has neither model\.safetensors nor pytorch_model\.bin")
    refused(tmp_path / "nowhere", "no such directory")


def test_damaged_safetensors(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(VALUES, file)
    for size in (file.stat().st_size - 1, 20, 3, 0):
        os.truncate(file, size)
        refused(tmp_path, r"model\.safetensors: no whole safetensors file")


def test_indices_that_do_not_hold(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    for text in ("{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'):
        index.write_text(text)
        refused(tmp_path, r"index\.json(:1: malformed|: not a JSON object|: a is in 3, which is no file)")
    write_index(tmp_path, {"a": "../secret.safetensors"})
    refused(tmp_path, "which is no file name")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    save_file({"a": VALUES["a"]}, tmp_path / "one.safetensors")
    refused(tmp_path, r"two\.safetensors: shard is missing")
    save_file({"c": VALUES["b"]}, tmp_path / "two.safetensors")
    refused(tmp_path, r"two\.safetensors: tensor b is listed for it in the index but missing")
    save_file(VALUES, tmp_path / "two.safetensors")
    refused(tmp_path, r"two\.safetensors: tensor a is not in the index")


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    file, mark = tmp_path / "pytorch_model.bin", tmp_path / "pwned"
    content = {"a": torch.zeros(2), "b": Bomb(mark)}
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    refused(tmp_path, r"pytorch_model\.bin: holds more than weights, refused")
    file.write_bytes(pickle.dumps(Bomb(mark)))
    refused(tmp_path, r"pytorch_model\.bin: (holds more than weights, refused|damaged)")
    assert not mark.exists()


def test_the_bomb_would_go_off_without_the_guard(tmp_path):
    """Otherwise the test above could not fail."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "pwned")))
    assert (tmp_path / "pwned").exists()


def test_other_contents_of_a_bin(tmp_path):
    torch = pytest.importorskip("torch")
    file = tmp_path / "pytorch_model.bin"
    for content, message in (
        ([torch.zeros(2)], "holds no named tensors"),
        ({"a": 3}, "a is no tensor but int"),
        ({1: torch.zeros(2)}, "holds no named tensors"),
    ):
        torch.save(content, file)
        refused(tmp_path, message)
    torch.save({"a": torch.zeros(2)}, file)
    os.truncate(file, file.stat().st_size // 2)
    refused(tmp_path, "damaged")
    file.write_bytes(b"")
    refused(tmp_path, "damaged")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("legacy", [False, True])
def test_bin_values_of_every_dtype_are_exact(tmp_path, dtype, legacy):
    torch = pytest.importorskip("torch")
    value = torch.randn(3, 5).to(getattr(torch, dtype))
    file = tmp_path / "pytorch_model.bin"
    torch.save({"a": value.T}, file, _use_new_zipfile_serialization=not legacy)
    found = TensorFiles(tmp_path).read("a")
    assert found.dtype.name == dtype
    np.testing.assert_array_equal(found.astype(np.float32), value.T.float().numpy())


def test_without_torch_a_bin_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(tmp_path, r"needs torch, which is not installed: pip install 'iml_jax\[torch\]', or convert")


def test_cast_rounds_to_nearest_and_refuses_overflow():
    value = np.array([1.0, 1.00390625, 65504.0, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(cast(value, "float16", "x"), value.astype(np.float16))
    assert cast(value, "bfloat16", "x").dtype == ml_dtypes.bfloat16
    assert cast(value, "float32", "x") is value
    with pytest.raises(UserError, match="x reaches 66000, beyond float16"):
        cast(np.array([66000.0], np.float32), "float16", "x")


def test_a_bit_of_pytorch_model_bin_is_found_by_its_own_checksums(tmp_path):
    torch = pytest.importorskip("torch")
    file = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.arange(1000.0)}, file)
    assert TensorFiles(tmp_path).shapes == {"x": (1000,)}
    content = bytearray(file.read_bytes())
    content[content.index(torch.tensor([500.0, 501.0]).numpy().tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"pytorch_model\.bin: damaged \(the checksum of .*data/0 differs\)"):
        TensorFiles(tmp_path)


def test_a_file_of_hugging_faces_cache_is_held_to_its_name(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "model").mkdir()
    save_file({"x": np.arange(100, dtype=np.float32)}, tmp_path / "made")
    content = bytearray((tmp_path / "made").read_bytes())
    blob = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (tmp_path / "model/model.safetensors").symlink_to(blob)
    assert TensorFiles(tmp_path / "model").shapes == {"x": (100,)}
    content[-7] ^= 1
    blob.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: damaged \(its SHA-256"):
        TensorFiles(tmp_path / "model")


def test_a_changed_header_of_safetensors_is_refused_or_harmless(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"x": np.arange(100, dtype=np.float32), "y": np.ones((2, 3), np.float32)}, file)
    whole = file.read_bytes()
    rng = np.random.default_rng()
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(300):
        content = bytearray(whole)
        content[rng.integers(header)] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        try:
            files = TensorFiles(tmp_path)
            values = {name: files.read(name) for name in files.shapes}
        except UserError as error:
            assert str(file) in str(error)
            continue
        assert (
            sum(value.nbytes for value in values.values()) == 424
        )  # another name, shape or dtype: see layout


@pytest.mark.parametrize(
    "text", ["[" * 10_000, "[]", '{"weight_map": NaN}', '{"weight_map": {"x": 3}}', "\xff"]
)
def test_an_index_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        TensorFiles(tmp_path)
