"""What all hosts of a job must have in common, as short texts."""

from __future__ import annotations

from collections.abc import Callable

import jax

from iml_jax.foundation import versions
from iml_jax.parallel.hosts import agree, runtime


def check_hosts(resolved: Callable[[], str]) -> None:
    """Checks that all hosts run the same code and versions with the same settings; free for one process.

    Args:
      resolved: gives the resolved gin text of what must agree.

    Raises:
      HostsDiffer, Fault: as ``hosts.agree``.
    """
    if runtime().client is None:
        return
    installed = {"python": versions.python_version(), **versions.package_versions(versions.TRAINING)}
    agree({"file": versions.code_hashes(), "version of": installed, "setting": settings(resolved())})


def settings(resolved: str) -> dict[str, str]:
    """Parameter -> value of a resolved gin text, a line each."""
    pairs = (line.partition(" = ") for line in resolved.splitlines() if " = " in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def devices() -> dict[str, str]:
    """Number and kind of this host's devices. Starts the backend."""
    local = jax.local_devices()
    return {"number": str(len(local)), "kind": ", ".join(sorted({device.device_kind for device in local}))}
