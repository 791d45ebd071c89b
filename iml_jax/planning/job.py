"""What is compiled: one program of one configuration on one topology, as plain values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.foundation import versions
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


def code_fingerprint(package: Path = versions.PACKAGE) -> str:
    """sha256 over the package's Python files that a compiled step or its analysis depends on."""
    hashes = versions.code_hashes(without=_NOT_COMPILED, package=package)
    return hashlib.sha256(json.dumps(dict(hashes)).encode()).hexdigest()


def compiler_versions() -> dict[str, str]:
    """The versions of the compiler and of what feeds it; libtpu may be missing."""
    return versions.package_versions(versions.COMPILER)


def key(job: Job, fingerprint: str, known: Mapping[str, str]) -> str:
    """Stands for everything that decides a compilation's result."""
    text = json.dumps([job.to_json(), fingerprint, dict(known)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
