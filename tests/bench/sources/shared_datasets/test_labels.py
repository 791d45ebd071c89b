"""Labels in every public spelling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from iml_jax.bench.sources.shared_datasets.labels import label_index

NAMES = (("no", "false"), ("yes", "true"))


@pytest.mark.parametrize(
    ("value", "first", "expected"),
    [
        *((value, 0, None) for value in (None, "", -1, "-1", -1.0, np.int64(-1))),
        *((value, 0, 1) for value in (True, "True", " YES ", 1, "1", 1.0, np.int64(1), np.float32(1))),
        *((value, 0, 0) for value in (False, "no", 0, "0", 0.0)),
        (1, 1, 0),
        ("2", 1, 1),
    ],
)
def test_every_spelling(value: object, first: int, expected: int | None) -> None:
    assert label_index(value, NAMES, first) == expected


@pytest.mark.parametrize("value", [2, "2", -2, "-2", 0.5, math.nan, math.inf, "maybe", [1], 10**400, "²"])
def test_what_is_no_label_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        label_index(value, NAMES)


def test_a_number_below_the_first_and_a_boolean_of_three_classes_are_refused() -> None:
    with pytest.raises(ValueError):
        label_index(0, NAMES, first=1)
    with pytest.raises(ValueError):
        label_index(True, [(), (), ()])


def test_names_precede_numbers() -> None:
    assert label_index("1", [("1",), ("2",)]) == 0
    assert label_index(1, [("1",), ("2",)]) == 1
