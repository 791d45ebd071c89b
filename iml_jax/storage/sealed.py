"""JSON records that carry a checksum of themselves, so that a changed value is noticed when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_json
from iml_jax.storage.writing import write_atomically

CHECKSUM = "sha256"  # the key of a sealed record's checksum


def fingerprint_of(value: object) -> str:
    """SHA-256 (hex) of the canonical JSON of a JSON-able value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as JSON gives it back, with its checksum under ``sha256``.

    Raises:
      ValueError: it holds NaN or an infinity, which JSON has not.
    """
    plain = json.loads(json.dumps(record, allow_nan=False))
    return {**plain, CHECKSUM: fingerprint_of(plain)}


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a sealed record atomically.

    Raises:
      Fault: the file cannot be written.
    """
    write_atomically(path, json.dumps(seal(record), indent=1, ensure_ascii=False) + "\n")


def unseal(record: Any, path: Path, remedy: str) -> dict[str, Any]:
    """A record that was read from ``path``, without its checksum.

    A record without one is taken as it is: files of earlier versions have none.

    Args:
      record: the JSON value.
      path: where it comes from, for the message.
      remedy: what to do about a damaged file, for the message.

    Raises:
      UserError: it is no object, or its checksum is not that of its content.
    """
    if not isinstance(record, dict):
        raise UserError(f"{path}: damaged (a JSON object is expected); {remedy}")
    content = {key: value for key, value in record.items() if key != CHECKSUM}
    if CHECKSUM in record and record[CHECKSUM] != fingerprint_of(content):
        raise UserError(f"{path}: damaged (its checksum is not that of its content); {remedy}")
    return content


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The content of a sealed record.

    Raises:
      UserError: the file cannot be read, is not JSON, or its checksum is not that of its content.
    """
    return unseal(read_json(path), path, remedy)
