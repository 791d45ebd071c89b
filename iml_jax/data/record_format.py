"""The records of a prepared directory: names of their features, and how much of an example is stored.

A record of a training split has ``PROMPT_IDS``, ``TARGET_IDS``, ``EXAMPLE_ID`` and ``TEMPLATE``. A record of
any other split has the texts and the options as well, since no other process tokenises or renders again.
"""

from __future__ import annotations

import numpy as np

PROMPT_IDS = "prompt_ids"  # int64 [n]: without </s>; empty for a text without a prompt (a corpus)
TARGET_IDS = "target_ids"  # int64 [n]: what bears loss in training, </s> included
PROMPT_TEXT = "prompt_text"  # one text
TARGET_TEXT = "target_text"  # one text
REFERENCES = "references"  # one or more texts
OPTIONS = "options"  # texts; none where an answer is generated
OPTION_IDS = "option_ids"  # int64 [n]: of all options, one after the other, each with its </s>
OPTION_LENGTHS = "option_lengths"  # int64 [options]: the number of ids of each option
EXAMPLE_ID = "example_id"  # one text
TEMPLATE = "template"  # one text, empty where the task has one template
PROMPT_TOKENS_CUT = "prompt_tokens_cut"  # int64 [1]: prompt ids that are not stored; absent if all are

# Maximum positions of a row (OPT has 2,048). Of a longer example only the last ids can be used, so only these
# are stored.
LONGEST_ROW = 16_384


def truncate_example(prompt_ids: np.ndarray, target_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is stored of a training example: its last ``LONGEST_ROW + 2`` tokens.

    ``packing.training_example`` gives the same for either, for every length up to ``LONGEST_ROW``, and a
    truncated example is still recognised as longer than a row (it has more than ``LONGEST_ROW`` predictions).

    Args:
      prompt_ids: int [prompt tokens].
      target_ids: int [target tokens].
    """
    target_ids = target_ids[-(LONGEST_ROW + 2) :]
    capacity = LONGEST_ROW + 2 - len(target_ids)
    return prompt_ids[max(0, len(prompt_ids) - capacity) :], target_ids


def truncate_question(prompt_ids: np.ndarray, target_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """What is stored of an evaluation example: the last ``LONGEST_ROW + 2`` tokens of prompt and target.

    A prompt that is too long for the model is truncated on the left, whether options are scored after it or
    an answer is generated: a model of at most ``LONGEST_ROW`` positions reads no token before these. Options
    are scored and stored in full.

    Args:
      prompt_ids: int [prompt tokens].
      target_ids: int [target tokens].

    Returns:
      The stored part of both, and the number of prompt tokens that are not stored.
    """
    cut = max(0, len(prompt_ids) - (LONGEST_ROW + 2))
    return prompt_ids[cut:], target_ids[-(LONGEST_ROW + 2) :], cut
