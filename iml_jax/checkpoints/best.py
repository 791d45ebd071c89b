"""Which checkpoint of a run did best on its evaluations: ``RUN/best.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import orbax.checkpoint as ocp

from iml_jax.foundation.errors import UserError
from iml_jax.storage import sealed

FILE = "best.json"
_AGAIN = "remove it, and the next evaluation writes another"


@dataclasses.dataclass(frozen=True)
class Best:
    """The step (updates done) with the highest selection score, in points 0..100."""

    step: int
    selection_score: float


def read(run_dir: Path) -> Best | None:
    """What the run knows; None where nothing was evaluated yet.

    Raises:
      UserError: the file is damaged.
    """
    path = run_dir / FILE
    if not path.exists():
        return None
    try:
        record = sealed.read_sealed(path, _AGAIN)
        step, score = record["step"], record["selection_score"]
        if type(step) is not int or step < 0 or type(score) not in (int, float):
            raise ValueError(f"step {step!r:.40}, selection_score {score!r:.40}")
        return Best(step, float(score))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: does not name the best checkpoint ({error}); {_AGAIN}") from None


def offer(run_dir: Path, step: int, selection_score: float) -> Best:
    """Makes ``step`` the best one if its score is higher than what was best; of equals the first stays.

    Args:
      run_dir: the run; only one process may call.
      step: updates done; its checkpoint must be committed.
      selection_score: points 0..100 (OPT-IML paper, section 4.1: mean over categories and shots).

    Returns:
      The best one now.

    Raises:
      UserError: the file there is damaged.
      Fault: the disk refuses.
    """
    known = read(run_dir)
    if known is not None and not selection_score > known.selection_score:
        return known
    best = Best(step, selection_score)
    if math.isfinite(selection_score):
        sealed.write_sealed(run_dir / FILE, dataclasses.asdict(best))
    return best


class KeepBest(ocp.checkpoint_managers.PreservationPolicy):
    """Orbax's rule of what stays on disk: the step that ``RUN/best.json`` names."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def should_preserve(
        self,
        checkpoints: Sequence[ocp.checkpoint_managers.PolicyCheckpointInfo],
        *,
        context: ocp.checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        """One answer a checkpoint. A damaged file preserves all: nothing is deleted on a guess."""
        try:
            best = read(self._run_dir)
        except UserError:
            return [True] * len(checkpoints)
        return [best is not None and one.step == best.step for one in checkpoints]
