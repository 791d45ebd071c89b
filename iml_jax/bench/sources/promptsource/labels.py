"""Which rows and which published splits have labels: many test sets of the hub are public without theirs."""

from __future__ import annotations

import itertools

from iml_jax.bench.sources.formats.datasets import LocalDataset
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.promptsource.roles import split_of
from iml_jax.foundation.errors import UserError

UNLABELLED = "unlabelled row"
UNLABELLED_SPLIT = "a split that is published without labels"
UNNAMED_SPLIT = "its name says no split"
_LOOKED_AT = 50  # rows; a split has labels throughout or not at all


def unlabelled(row: Row) -> bool:
    """Whether a row's label is kept back.

    Templates render such a row: Python takes the last of the answer choices for -1, Jinja's ``int`` makes
    0 of an empty text, and ``{% if answer == '1' %}`` says option 2 (WinoGrande).
    """
    if any(key.endswith("label") and value in (-1, "-1") for key, value in row.items()):
        return True
    return any(key in row and row[key] in ("", None) for key in ("label", "answerKey", "answer"))


def labelled_splits(dataset: LocalDataset) -> list[str]:
    """The published splits less those without labels; all of them where nothing else is left.

    Training splits are not looked at. A malformed file counts as labelled: it is refused when it is read.
    """
    published = list(dataset.splits)
    kept = [name for name in published if split_of(name) in ("", "train") or _has_labels(dataset, name)]
    return kept if set(map(split_of, kept)) - {""} else published


def _has_labels(dataset: LocalDataset, published: str) -> bool:
    seen = False
    try:
        for row in itertools.islice(dataset.records(published), _LOOKED_AT):
            if not unlabelled(row.values):
                return True
            seen = True
    except UserError:
        return True
    return not seen
