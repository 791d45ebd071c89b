"""The provenance of results: model, mesh, prepared data, policies and versions."""

from __future__ import annotations

import dataclasses
from typing import Any

from iml_jax.data.manifest import Manifest
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.foundation import versions
from iml_jax.models.handle import Model

PREFIX_POLICY = {
    "none": "none: prompts start without </s>, as in training",
    "eos": "eos: a </s> before every prompt, as in OPT's pre-training and transformers' tokenizer",
}
SCORING_POLICY = {
    "none": "sum of log-likelihoods over a candidate's tokens and </s>, not normalised by length",
    "per_token": "mean log-likelihood of a candidate's tokens and </s>",
    "per_byte": "log-likelihood of a candidate's tokens and </s> by byte of its text",
    "unconditional": "log-likelihood of a candidate's tokens and </s> less that after a neutral prompt",
}


def of_evaluation(
    model: Model,
    manifest: Manifest,
    generate: GenerateConfig,
    prefix: str,
    normalisation: str,
) -> dict[str, Any]:
    """JSON-able facts: model, mesh, prepared data, tokenizer, policies and versions.

    Args:
      model: what answered.
      manifest: what was asked.
      generate: how answers were written.
      prefix, normalisation: keys of the policies above.
    """
    return {
        "model": dataclasses.asdict(model.config),
        "mesh": dict(model.mesh.shape),
        "device": model.mesh.devices.flat[0].device_kind,
        "manifest": manifest.name,
        "vocabulary": {"fingerprint": manifest.vocabulary.fingerprint, "tokens": manifest.vocabulary.tokens},
        "generate": {**dataclasses.asdict(generate), "stop": list(generate.stop)},
        **of_measurement(manifest, generate, prefix, normalisation),
        "versions": versions.package_versions(versions.SCORING),
    }


def of_measurement(
    manifest: Manifest, generate: GenerateConfig, prefix: str, normalisation: str
) -> dict[str, Any]:
    """The facts that two evaluations must share to be compared; known before the model is loaded."""
    return {
        "manifest_fingerprint": manifest.fingerprint,
        "max_new_tokens": generate.max_new_tokens,
        "prefix": PREFIX_POLICY[prefix],
        "option_scoring": SCORING_POLICY[normalisation],
    }
