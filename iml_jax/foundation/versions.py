"""Versions of the installed packages and hashes of this package's code: the one place that reads either."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

NOT_INSTALLED = "not installed"
# What decides a compiled program.
COMPILER = ("jax", "jaxlib", "libtpu", "flax", "optax")
# What decides a training run: all hosts must have the same.
TRAINING = (*COMPILER, "orbax-checkpoint", "grain", "numpy", "tokenizers", "iml_jax")
# What decides a score.
SCORING = (*TRAINING, "rouge-score", "sacrebleu", "scikit-learn", "scipy")
PACKAGE = Path(__file__).parent.parent


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Distribution name -> its version, or ``NOT_INSTALLED``."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = NOT_INSTALLED
    return found


def python_version() -> str:
    """The interpreter's version, such as ``3.11.7``."""
    return platform.python_version()


def code_hashes(*parts: str, without: tuple[str, ...] = (), package: Path = PACKAGE) -> dict[str, str]:
    """File of the package -> the first 12 hex digits of its SHA-256.

    This package's files are read once per process: what somebody edits meanwhile is not the code that runs.

    Args:
      parts: folders and files of the package; all of it without any.
      without: folders and files that are left out.
      package: the package's folder.
    """
    hashes = _own_hashes() if package == PACKAGE else _hashes(package)
    return {
        name: digest
        for name, digest in hashes.items()
        if (not parts or _in(name, parts)) and not _in(name, without)
    }


def _in(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}/") for part in parts)


@functools.cache
def _own_hashes() -> Mapping[str, str]:
    return MappingProxyType(_hashes(PACKAGE))


def _hashes(package: Path) -> dict[str, str]:
    files = sorted(file.relative_to(package).as_posix() for file in package.rglob("*.py"))
    return {file: hashlib.sha256((package / file).read_bytes()).hexdigest()[:12] for file in files}
