"""What libtpu must be told on a machine without a TPU, before jax is imported; imports nothing heavy."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import MutableMapping
from pathlib import Path

_GOOGLE = "0x1ae0"  # PCI vendor
_CHIPS = frozenset(  # PCI devices, v2 to 7x; the same that jax._src.hardware_utils looks for
    ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")
)
# Without these libtpu asks a metadata server that is not there, and complains on stderr.
NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


def chips_on_bus(root: Path = Path("/sys/bus/pci/devices")) -> int:
    """How many TPU chips the PCI bus shows."""
    found = 0
    for vendor in root.glob("*/vendor"):
        try:
            if vendor.read_text().strip() == _GOOGLE:
                found += vendor.with_name("device").read_text().strip() in _CHIPS
        except OSError:
            continue  # a device that just left
    return found


def calm_libtpu(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets ``NO_TPU`` where libtpu is installed and no TPU is; what is set already stays."""
    if importlib.util.find_spec("libtpu") is not None and not chips_on_bus():
        for name, value in NO_TPU.items():
            environment.setdefault(name, value)


def of_worker() -> dict[str, str]:
    """The variables of a compiling process: no chip is looked for, and several may run at once."""
    return {
        **os.environ,
        **NO_TPU,
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "JAX_PLATFORMS": "cpu",  # the topology's client is made apart from the default backend
        "TF_CPP_MIN_LOG_LEVEL": "1",
    }
