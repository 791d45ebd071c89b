"""The table of FLAN's tasks against the schemas that TensorFlow Datasets declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.flan.fields import forms

# Columns that are computed (flan_rows) and not read.
_DERIVED = {
    "beginning",
    "choices",
    "context",
    "continued",
    "correct",
    "ending",
    "endings",
    "option",
    "rating",
    "sign",
}
# Their classes are numbers or truth values in TFDS, without names.
_NAMELESS = {"bool_q", "sentiment140", "stsb"}


def _feature(features: Any, column: str) -> Any:
    """The feature under a dotted name; None where there is none."""
    found = features
    for key in column.split("."):
        while not hasattr(found, "keys") and hasattr(found, "feature"):
            found = found.feature
        found = found[key] if hasattr(found, "keys") and key in found else None
    return found


@pytest.mark.slow  # TFDS makes 67 builders
def test_columns_and_classes_are_those_of_tfds(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    builders: dict[str, Any] = {}
    for task, form in forms().items():
        name = form.datasets[0]
        if name not in builders:
            builders[name] = tfds.builder(name, data_dir=str(tmp_path)).info.features
        features = builders[name]
        fields = [*form.inputs, form.references, form.option_field, form.label]
        fields += [form.target] if form.label is None else []
        for field in filter(None, fields):
            columns = field.columns if field is form.option_field else field.columns[:1]
            for column in columns:
                known = _feature(features, column) is not None
                assert known or column in _DERIVED, (task, column, list(features))
        if form.classes and task not in _NAMELESS:
            assert form.label is not None
            assert tuple(_feature(features, form.label.columns[0]).names) == form.classes, task
    assert len(builders) == 67
