"""How much of an example is stored: what a row of any length can use."""

from __future__ import annotations

import numpy as np

# Positions that a row may have (OPT has 2,048): of a longer example nothing before its last so many tokens is
# ever read, so that nothing before them is stored.
LONGEST_ROW = 16_384
# Of a record of an evaluation split: how many tokens of its prompt are not stored; missing where all are.
CUT = "inputs_cut"


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


def stored_question(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """What is kept on disk of an evaluation example: the last ``LONGEST_ROW + 2`` tokens of each.

    A prompt too long for the model loses tokens on the left, whether options are scored after it or an answer
    is written: of a model of at most ``LONGEST_ROW`` positions no token before the last so many is read.
    Options are scored whole, and stored so.

    Args:
      inputs: int [prompt tokens].
      targets: int [target tokens].

    Returns:
      What is kept of both, and how many tokens of the prompt are not.
    """
    cut = max(0, len(inputs) - (LONGEST_ROW + 2))
    return inputs[cut:], targets[-(LONGEST_ROW + 2) :], cut
