"""The values that the fields of a task may have, in sources, manifests and results alike."""

from __future__ import annotations

SPLITS = ("train", "validation", "test")
# What a task is used for in a mixture.
ROLES = ("train", "evaluation", "excluded")
# How answers are scored (``evaluation/metrics/answer_metrics.py``).
METRICS = (
    *("accuracy", "exact_match", "rouge_l", "rouge_l_stemmed"),
    *("question_accuracy", "stated_answer"),
)
# How far an evaluation task is from the training tasks (OPT-IML paper, section 2.2), the farthest first.
FULLY_HELD_OUT = "fully_held_out"
PARTIALLY_SUPERVISED = "partially_supervised"
FULLY_SUPERVISED = "fully_supervised"
LEVELS = (FULLY_HELD_OUT, PARTIALLY_SUPERVISED, FULLY_SUPERVISED)
