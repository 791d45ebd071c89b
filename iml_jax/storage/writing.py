"""Writing files atomically: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from iml_jax.errors import Fault


def write_atomically(path: Path, text: str) -> None:
    """Writes ``text`` (UTF-8) to ``path`` through a temporary name beside it.

    Raises:
      Fault: the file cannot be written (disk full, no permission); nothing half-written stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Fault(f"{path}: cannot be written: {error.strerror or error}") from error
