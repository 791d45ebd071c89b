"""What a checkpoint says of itself: model, updates done, and what it was trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import OptConfig

FORMAT = 1
# What two models must share to share weights; the rest (dropout, dtype, remat, scan) is a choice of the run.
SHAPE_FIELDS = (
    "vocab_rows",
    "vocab_tokens",
    "hidden",
    "layers",
    "heads",
    "ffn",
    "embed_dim",
    "max_positions",
    "pre_norm",
)


def make_metadata(
    model: OptConfig,
    updates: int,
    *,
    manifest_fingerprint: str,
    vocabulary_fingerprint: str,
    vocabulary_tokens: int,
    huggingface: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON-able ``metadata`` item of a checkpoint after ``updates`` updates.

    ``manifest_fingerprint`` is ``""`` for weights that were not trained here. ``huggingface`` is the content
    of the config.json that they came with, which an export gives back.
    """
    return {
        **({"huggingface": huggingface} if huggingface else {}),
        "format": FORMAT,
        "updates": updates,
        "model": dataclasses.asdict(model),
        "manifest": manifest_fingerprint,
        "vocabulary": {"fingerprint": vocabulary_fingerprint, "tokens": vocabulary_tokens},
    }


def check_metadata(metadata: Any, where: str) -> None:
    """Checks everything but the model.

    Raises:
      UserError: no object, another format version, or fields missing or of a wrong type.
    """
    version = metadata.get("format") if isinstance(metadata, dict) else None
    if version != FORMAT:
        raise UserError(
            f"{where}: metadata format {version!r}, this iml reads {FORMAT}; use the iml that wrote it"
        )
    vocabulary = metadata.get("vocabulary")
    fields: dict[str, tuple[Any, type]] = {
        "updates": (metadata.get("updates"), int),
        "manifest": (metadata.get("manifest"), str),
        "vocabulary": (vocabulary, dict),
        "huggingface": (metadata.get("huggingface", {}), dict),
    }
    if isinstance(vocabulary, dict):
        fields["vocabulary.fingerprint"] = (vocabulary.get("fingerprint"), str)
        fields["vocabulary.tokens"] = (vocabulary.get("tokens"), int)
    for name, (value, wanted) in fields.items():
        if type(value) is not wanted or (type(value) is int and value < 0):
            raise UserError(f"{where}: metadata has {name} = {value!r:.60}; use another checkpoint")


def model_of(metadata: Any, where: str) -> OptConfig:
    """The model that ``metadata`` describes.

    Raises:
      UserError: another format version, or fields of the model unknown, missing or of a wrong type.
    """
    check_metadata(metadata, where)
    model = metadata.get("model")
    if not isinstance(model, dict):
        raise UserError(f"{where}: metadata names no model")
    known = {field.name: field for field in dataclasses.fields(OptConfig)}
    for name, value in model.items():
        if name not in known:
            raise UserError(f"{where}: unknown model field {name!r}; use the iml that wrote it")
        wanted = type(known[name].default)
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise UserError(f"{where}: model field {name} = {value!r} is no {wanted.__name__}")
    for name in SHAPE_FIELDS:
        if name not in model:
            raise UserError(f"{where}: metadata lacks the model field {name}")
    return OptConfig(**model)


def check_same_model(saved: OptConfig, wanted: OptConfig, where: str) -> None:
    """Refuses weights of another model.

    Raises:
      UserError: names the first field that decides a weight's shape or meaning and differs.
    """
    for name in SHAPE_FIELDS:
        theirs, ours = getattr(saved, name), getattr(wanted, name)
        if theirs != ours:
            raise UserError(
                f"{where} is another model: Model.{name} = {theirs!r} there, {ours!r} here; "
                "bind the model of the checkpoint or name another checkpoint"
            )
