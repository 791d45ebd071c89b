"""The settings that decide an evaluation's scores, by which results are told apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iml_jax.data.manifest import Manifest
from iml_jax.models.sizes import OptConfig
from iml_jax.storage.sealed import fingerprint_of

if TYPE_CHECKING:
    from iml_jax.evaluation.engine.runner import EvaluateConfig

# Fields that change no answer: they concern speed, memory or training only.
NOT_SETTINGS = {
    "Model": (
        *("dropout", "embedding_dropout", "attention_dropout", "reduce_dtype"),
        *("remat", "attention", "scan_layers"),
    ),
    "Evaluate": ("prepared_dir", "batch_size", "generate"),
    "Generate": ("batch_size", "prefix"),  # Evaluate.prefix is that of both kinds of questions
}
KEY = "settings"  # in a result's metadata


def settings_of(model: OptConfig, manifest: Manifest, config: EvaluateConfig) -> dict[str, Any]:
    """Parameter -> value (JSON-able) of everything but the weights that decides the answers and their scores.

    Args:
      model: as it computes, with the changes that were asked for.
      manifest: the prepared data, identified by its fingerprint.
      config: how.
    """
    found: dict[str, Any] = {"prepared data": manifest.fingerprint}
    for name, instance in (("Model", model), ("Evaluate", config), ("Generate", config.generate)):
        for field in dataclasses.fields(instance):
            if field.name not in NOT_SETTINGS[name]:
                found[f"{name}.{field.name}"] = getattr(instance, field.name)
    if config.normalisation != "unconditional":
        del found["Evaluate.neutral_prompt"]
    if config.generate.temperature == 0:  # greedy
        for field_name in ("top_k", "top_p", "seed"):
            del found[f"Generate.{field_name}"]
    return json.loads(json.dumps(found))


def label_of(settings: Mapping[str, Any]) -> str:
    """A short name for settings, the same everywhere: eight hexadecimal digits."""
    return fingerprint_of(dict(settings))[:8]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The differences as text: ``Generate.max_new_tokens 4 instead of 256, ...``; "" where nothing does."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(
        f"{name} {_shown(ours.get(name))} instead of {_shown(theirs.get(name))}" for name in names
    )


def _shown(value: Any) -> str:
    text = "unset" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:36]}..."
