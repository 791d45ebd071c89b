"""Writes tiny files in the formats of ExMix's datasets, and reads them through the source."""

from __future__ import annotations

import collections
import gzip
import json
from pathlib import Path
from typing import Any

from iml_jax.bench.example import Example
from iml_jax.bench.sources.exmix.source import ExMix


def write(path: Path, content: Any) -> None:
    """JSON lines for a ``.jsonl``, JSON for what is no text, and text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".jsonl" in path.name:
        content = "".join(json.dumps(row) + "\n" for row in content)
    elif not isinstance(content, str):
        content = json.dumps(content)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def examples_of(data_dir: Path, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    source = ExMix(str(data_dir))
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, split, skipped)), dict(skipped)
