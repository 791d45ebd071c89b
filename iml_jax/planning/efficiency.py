"""How long a training step is expected to take: the roofline, with the share of each peak that is reached.

    expected = max(compute / COMPUTE, HBM / HBM_SHARE, ICI / ICI_SHARE, DCN)

Compute, HBM, ICI and DCN are the roofline's seconds at full peak. The three constants are fitted on published
measured steps: ``benchmarks/plan_calibration.py`` has their table, the fit and its leave-one-out errors, and
a test holds the constants to it. No measured row spans slices: DCN counts at its full bandwidth.
"""

from __future__ import annotations

import dataclasses

from iml_jax.planning.roofline import Roofline

COMPUTE_SHARE = 0.725
HBM_SHARE = 0.519
ICI_SHARE = 0.317
RULE = f"expected = the longest of compute / {COMPUTE_SHARE}, HBM / {HBM_SHARE}, ICI / {ICI_SHARE} and DCN"
# Of the errors of expected against measured with the row left out of the fit: the mean size, the largest.
MEAN_ERROR = 0.07
LARGEST_ERROR = 0.17


@dataclasses.dataclass(frozen=True)
class Expected:
    """The forecast of one training step.

    Attributes:
      seconds: of a step.
      mfu: model FLOPs over (seconds x peak), recomputation not counted.
      bound: ``compute``, ``HBM``, ``ICI`` or ``DCN``: what takes that long.
    """

    seconds: float
    mfu: float
    bound: str


def expected(found: Roofline) -> Expected | None:
    """The forecast from a training step's roofline; None for a program without any work."""
    times = {
        "compute": found.compute / COMPUTE_SHARE,
        "HBM": found.hbm / HBM_SHARE,
        "ICI": found.ici / ICI_SHARE,
        "DCN": found.dcn,
    }
    bound = max(times, key=lambda name: times[name])
    seconds = times[bound]
    if not seconds:
        return None
    return Expected(seconds, found.mfu_overlapped * found.overlapped / seconds, bound)
