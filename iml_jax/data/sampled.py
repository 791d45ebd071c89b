"""How many examples of each task a run has trained on: counted by the loader, saved with every checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.data.manifest import Manifest
from iml_jax.foundation.errors import UserError
from iml_jax.storage import sealed

FILE_NAME = "sampled_counts.json"


@dataclasses.dataclass(frozen=True)
class SampledCounts:
    """Examples by task (``benchmark:task:variant``) in the batches of the first ``step`` updates."""

    step: int
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """Examples of all tasks."""
        return sum(self.counts.values())


def counts_of(state: Mapping[str, Any], manifest: Manifest) -> dict[str, int]:
    """Examples by task up to a data state, exactly; no record is read.

    Args:
      state: of a ``Loader`` on a single host, or ``merge_states`` of all hosts.
      manifest: the one that the loader was made from.

    Raises:
      UserError: the state is of another manifest.
    """
    if state["manifest"] != manifest.fingerprint:
        raise UserError(f"the data state is not of the manifest {manifest.name!r}; give the run's own")
    names = [task.name for task in manifest.trained if task.rate > 0]
    both = zip(state["sampled_before"], state["sampled_since"], strict=True)
    return {name: before + since for name, (before, since) in zip(names, both, strict=True)}


def save(run_dir: Path, step: int, state: Mapping[str, Any], manifest: Manifest) -> None:
    """Writes the counts up to ``step`` into a run directory, in the place of older ones.

    Raises:
      Fault: the file cannot be written.
    """
    record = {"step": step, "manifest": manifest.fingerprint, "counts": counts_of(state, manifest)}
    sealed.write_sealed(run_dir / FILE_NAME, record)


def load(run_dir: str | Path) -> SampledCounts:
    """The counts of a run directory, as of its last checkpoint.

    Raises:
      UserError: there are none (no checkpoint yet, or no run), or the file is damaged.
    """
    path = Path(run_dir, FILE_NAME)
    if not path.exists():
        raise UserError(f"{path}: no such file; a run writes it with its first checkpoint")
    try:
        record = sealed.read_sealed(path, "the run's next checkpoint writes it again")
        counts = {str(name): int(count) for name, count in record["counts"].items()}
        return SampledCounts(int(record["step"]), counts)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); the run's next checkpoint writes it again"
        ) from None
