"""What all hosts of a job must have in common, as short texts."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import jax

from iml_jax.parallel.hosts import agree, runtime

_PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tokenizers")


def check_hosts(resolved: Callable[[], str]) -> None:
    """Checks that all hosts run the same code and versions with the same settings; free for one process.

    Args:
      resolved: gives the resolved gin text of what must agree.

    Raises:
      HostsDiffer, Fault: as ``hosts.agree``.
    """
    if runtime().client is None:
        return
    agree({"file": dict(code()), "version of": versions(), "setting": settings(resolved())})


@functools.cache
def code(*folders: str) -> Mapping[str, str]:
    """File of this package -> the first 12 hex digits of its SHA-256.

    Args:
      folders: folders and files of the package; all of it without any.
    """
    root = Path(__file__).parent.parent
    places = [root / folder for folder in folders or (".",)]
    files = sorted(file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))
    return MappingProxyType(
        {
            file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            for file in files
        }
    )


def versions() -> dict[str, str]:
    """Python and the libraries that compute, save and read."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def settings(resolved: str) -> dict[str, str]:
    """Parameter -> value of a resolved gin text, a line each."""
    pairs = (line.partition(" = ") for line in resolved.splitlines() if " = " in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def devices() -> dict[str, str]:
    """Number and kind of this host's devices. Starts the backend."""
    local = jax.local_devices()
    return {"number": str(len(local)), "kind": ", ".join(sorted({device.device_kind for device in local}))}
