"""Parquet files: whatever is wrong with one is an error that names it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import FILE_LIMIT, open_binary, regular_file

_BATCH_BYTES = 1 << 25


@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``, of a plain file or of one in ``.gz``.

    Raises:
      UserError: it is no Parquet file or is damaged, also where that is noticed while it is read.
    """
    import pyarrow
    from pyarrow import parquet

    content = b""
    if path.suffix == ".gz":
        with open_binary(path) as stream:
            content = stream.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise UserError(
            f"{path}: more than {FILE_LIMIT} bytes; give it without .gz, Parquet compresses itself"
        )
    try:
        with parquet.ParquetFile(io.BytesIO(content) if content else regular_file(path)) as file:
            yield file
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: no readable Parquet file ({reason}); fetch it again") from error


def parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Streams (row from 1, row).

    Raises:
      UserError: as ``open_parquet``.
    """
    with open_parquet(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=rows_at_once(file.metadata)):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def rows_at_once(metadata: Any) -> int:
    """How many rows of a Parquet file to hold at a time: 256, fewer where a row is larger than usual."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(256, _BATCH_BYTES * metadata.num_rows // max(1, size)))
