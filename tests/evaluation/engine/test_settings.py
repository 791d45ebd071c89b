"""The settings by which results are told apart hold every field that decides answers or scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.prepared_questions import make_questions
from support.random_opt import PRE_NORM

from iml_jax.data import manifest as manifests
from iml_jax.data.manifest import Manifest
from iml_jax.evaluation.engine import settings
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig

# Under these settings every field decides an answer that decides one at all.
CONFIG = EvaluateConfig(normalisation="unconditional", generate=GenerateConfig(temperature=1.0))
FIELDS = {
    name: [field.name for field in dataclasses.fields(kind)]
    for name, kind in (("Model", type(PRE_NORM)), ("Evaluate", EvaluateConfig), ("Generate", GenerateConfig))
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    directory = tmp_path_factory.mktemp("prepared")
    make_questions(directory)
    return manifests.load(directory)


def changed(instance: Any, name: str) -> Any:
    """The dataclass with another value in one field."""
    value = getattr(instance, name)
    others = {bool: lambda: not value, str: lambda: value + "x", tuple: lambda: (*value, "x")}
    return dataclasses.replace(instance, **{name: others.get(type(value), lambda: value + 1)()})


@pytest.mark.parametrize("base", [CONFIG, EvaluateConfig()], ids=["all decide", "default"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in FIELDS.items() for name in names if name != "generate"],
)
def test_every_field_is_a_setting_or_listed_as_none(
    owner: str, name: str, base: EvaluateConfig, manifest: Manifest
) -> None:
    """The default base, too: there another ``normalisation`` brings no ``neutral_prompt`` with it."""
    model, config = PRE_NORM, base
    if owner == "Model":
        model = changed(model, name)
    elif owner == "Evaluate":
        config = changed(config, name)
    else:
        config = dataclasses.replace(config, generate=changed(config.generate, name))
    found = settings.settings_of(model, manifest, config)
    without_effect = base is not CONFIG and name in ("neutral_prompt", "top_k", "top_p", "seed")
    decides = name not in settings.NOT_SETTINGS[owner] and not without_effect
    assert (found != settings.settings_of(PRE_NORM, manifest, base)) == decides


def test_what_is_no_setting() -> None:
    """The lists themselves: a field that is added to them must be added here, too."""
    assert {owner: set(names) for owner, names in settings.NOT_SETTINGS.items()} == {
        "Model": {
            "dropout", "embedding_dropout", "attention_dropout", "reduce_dtype", "remat", "attention",
            "scan_layers",
        },
        "Evaluate": {"prepared_dir", "batch_size", "generate"},
        "Generate": {"batch_size", "prefix"},
    }  # fmt: skip


def test_fields_without_effect_are_left_out(manifest: Manifest) -> None:
    found = settings.settings_of(PRE_NORM, manifest, EvaluateConfig())
    names = {"Evaluate.neutral_prompt", "Generate.top_k", "Generate.top_p", "Generate.seed"}
    assert not names & found.keys()
    assert names <= settings.settings_of(PRE_NORM, manifest, CONFIG).keys()
    other = dataclasses.replace(manifest, name="another")
    assert settings.settings_of(PRE_NORM, other, EvaluateConfig()) != found


def test_differences_are_named() -> None:
    ours, theirs = {"a": 1, "b": "x", "c": None}, {"a": 2, "b": "x", "d": "y" * 50}
    assert settings.differences(ours, ours) == ""
    assert settings.differences(ours, theirs) == ('a 1 instead of 2, d unset instead of "' + "y" * 35 + "...")
    assert settings.label_of(ours) != settings.label_of(theirs)
