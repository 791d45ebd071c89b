"""Reading traces of the JAX profiler."""

from __future__ import annotations

import jax

from iml_jax.training.profiling import STEP


def traced_steps(folder) -> list[int]:
    """Numbers of the steps in the one trace under ``folder``."""
    (file,) = folder.glob("plugins/profile/*/*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(file)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events]
    return sorted(dict(event.stats)["step_num"] for event in events if event.name == STEP)
