"""What is compiled: one program of one configuration on one topology, as plain values."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.planning.topology import Topology

TRAIN, SCORE, PREFILL, DECODE = "train", "score", "prefill", "decode"
PROGRAMS = (TRAIN, SCORE, PREFILL, DECODE)
TITLES = {
    TRAIN: "train step",
    SCORE: "evaluation: scoring options",
    PREFILL: "evaluation: reading prompts",
    DECODE: "evaluation: writing answers",
}
# Parts of the package that no compiled step depends on.
_NOT_COMPILED = ("bench", "commands", "evaluation/metrics", "evaluation/pages")


@dataclasses.dataclass(frozen=True)
class Job:
    """One compilation.

    Attributes:
      program: one of ``PROGRAMS``.
      topology: the slice.
      model, optimizer, mesh: the fields of ``OptConfig``, ``OptimizerConfig``, ``MeshConfig``.
      rows, length: of the global batch.
      accumulation: micro-batches (train).
      options: the fields of ``EvaluateConfig`` and ``GenerateConfig`` that shapes depend on.
    """

    program: str
    topology: Topology
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    mesh: Mapping[str, Any]
    rows: int
    length: int
    accumulation: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``from_json``."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that ``to_json`` wrote."""
        fields = json.loads(text)
        place = fields.pop("topology")
        topology = Topology(place["kind"], tuple(place["shape"]), place["slices"])
        return cls(topology=topology, **fields)


def code_fingerprint(root: Path = Path(__file__).parent.parent) -> str:
    """sha256 over the package's (``root``) Python files that a compiled step or its analysis depends on."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not any(inside.is_relative_to(folder) for folder in _NOT_COMPILED):
            digest.update(str(inside).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The versions of the compiler and of what feeds it; libtpu may be missing."""
    found = {}
    for name in ("jax", "jaxlib", "libtpu", "flax", "optax"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def key(job: Job, fingerprint: str, known: Mapping[str, str]) -> str:
    """Stands for everything that decides a compilation's result."""
    text = json.dumps([job.to_json(), fingerprint, dict(known)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
