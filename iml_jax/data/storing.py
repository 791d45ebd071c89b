"""How much of a training example is stored: what a row of any length can use."""

from __future__ import annotations

import numpy as np

# Positions that a row may have (OPT has 2,048): of a longer example nothing before its last so many tokens is
# ever read, so that nothing before them is stored.
LONGEST_ROW = 16_384


def stored(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is kept on disk of a training example: its last ``LONGEST_ROW + 2`` tokens.

    ``packing.training_example`` makes the same of it for every length up to ``LONGEST_ROW``, and that it is
    cut shows as well (it still has more than ``LONGEST_ROW`` predictions).

    Args:
      inputs: int [source tokens].
      targets: int [target tokens].
    """
    targets = targets[-(LONGEST_ROW + 2) :]
    room = LONGEST_ROW + 2 - len(targets)
    return inputs[max(0, len(inputs) - room) :], targets
