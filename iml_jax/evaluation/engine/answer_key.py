"""The key under which a task's partial results are kept: everything that decides its answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from iml_jax.data.manifest import TaskEntry
from iml_jax.evaluation.engine import answering
from iml_jax.foundation import versions
from iml_jax.models.sizes import OptConfig

if TYPE_CHECKING:
    from iml_jax.evaluation.engine.runner import EvaluateConfig

# The fields that are not part of the key, with the reason; every other field is.
NOT_IN_KEY = {
    "Evaluate": {
        "prepared_dir": "the checksums of the task's own files are in the key",
        "tasks": "the task's own name is in the key",
        "split": "the split of this task is in the key",
        "batch_size": "changes the rounding of sums only",
    },
    "Generate": {
        "batch_size": "changes the rounding of sums only",
        "prefix": "Evaluate.prefix replaces it",
    },
}
# Fields that decide an answer under another setting only.
IF_UNCONDITIONAL = ("neutral_prompt",)  # Evaluate.normalisation is "unconditional"
IF_SAMPLED = ("top_k", "top_p", "seed")  # Generate.temperature is above 0


@dataclasses.dataclass(frozen=True)
class AnsweringModel:
    """What answers: SHA-256 of the parameters and of the vocabulary, and the model's configuration."""

    weights: str
    vocabulary: str
    config: OptConfig


def answer_key(model: AnsweringModel, entry: TaskEntry, split: str, config: EvaluateConfig) -> str:
    """The key of one task's answers; neither the mesh nor the batch sizes enter it.

    The code that answers does: answers of an older version may have been computed or scored otherwise.
    """
    settings = dataclasses.asdict(config)
    generate = settings["generate"]
    for name in NOT_IN_KEY["Evaluate"]:
        del settings[name]
    for name in NOT_IN_KEY["Generate"]:
        del generate[name]
    for name in IF_UNCONDITIONAL if config.normalisation != "unconditional" else ():
        del settings[name]
    for name in IF_SAMPLED if config.generate.temperature == 0 else ():
        del generate[name]
    program = versions.code_hashes(*answering.DECIDING)
    records = dataclasses.asdict(entry.splits[split])
    return key_of([program, dataclasses.asdict(model), entry.name, entry.metric, split, records, settings])


def key_of(parts: Iterable[object]) -> str:
    """SHA-256 (hex) of JSON-able facts that decide a task's answers."""
    text = json.dumps(list(parts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
