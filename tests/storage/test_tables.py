"""Tables that come with the package."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from iml_jax.storage import tables


@dataclasses.dataclass(frozen=True)
class City:
    name: str
    river: str


def test_the_rows_of_a_table_are_objects_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cities.tsv"
    path.write_text('name\triver\nWien\t"Donau", blue\nBasel\t\n', encoding="utf-8")
    assert tables.read(path, City) == (City("Wien", '"Donau", blue'), City("Basel", ""))
    assert tables.rows(path)[0] == {"name": "Wien", "river": '"Donau", blue'}


def test_a_column_that_the_row_has_no_field_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cities.tsv"
    path.write_text("name\triver\tsea\nWien\tDonau\t\n", encoding="utf-8")
    with pytest.raises(TypeError, match="sea"):
        tables.read(path, City)
