"""Sealed records: every changed value is noticed, and files without a checksum are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.storage import sealed

RECORD = {"b": [1, 2.5, None, {"x": "ü\u2028\x1b"}], "a": True, 3: "three"}


def test_what_is_written_is_read(tmp_path: Path):
    path = tmp_path / "record.json"
    sealed.write_sealed(path, RECORD)
    assert sealed.read_sealed(path, "again") == {"b": RECORD["b"], "a": True, "3": "three"}


def test_every_changed_value_is_noticed(tmp_path: Path):
    path = tmp_path / "record.json"
    for change in ({"a": False}, {"b": []}, {"new": 1}, {"sha256": "0"}, {"b": [1, 2.5000000000000004]}):
        path.write_text(json.dumps({**sealed.seal(RECORD), **change}))
        with pytest.raises(UserError, match=r"record\.json: damaged \(its checksum .*; run it again"):
            sealed.read_sealed(path, "run it again")
    shorter = sealed.seal(RECORD)
    del shorter["a"]
    path.write_text(json.dumps(shorter))
    with pytest.raises(UserError, match="damaged"):
        sealed.read_sealed(path, "run it again")


def test_files_without_a_checksum_are_read_and_other_values_are_not(tmp_path: Path):
    path = tmp_path / "record.json"
    path.write_text('{"a": 1}')
    assert sealed.read_sealed(path, "again") == {"a": 1}
    path.write_text("[1]")
    with pytest.raises(UserError, match="a JSON object is expected"):
        sealed.read_sealed(path, "again")


def test_what_json_has_not_cannot_be_sealed():
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed.seal({"a": float("nan")})
