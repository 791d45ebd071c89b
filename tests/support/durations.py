"""Files in the order of their durations: the last file of a run must not leave one of two workers alone.

``tests/durations.tsv`` has the seconds per test file as measured on two idle cores. Measured again with
``python -m pytest -n 2 --dist loadfile --junitxml=FILE`` and ``python tests/support/durations.py FILE``.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

TESTS = Path(__file__).parents[1]
TABLE = TESTS / "durations.tsv"


def load() -> dict[str, float]:
    """Test file below tests/ -> seconds; files of less than a second are left out."""
    lines = (line.split("\t") for line in TABLE.read_text().splitlines()[1:])
    return {file: float(seconds) for file, seconds in lines}


def longest_first(items: list[pytest.Item]) -> None:
    """Sorts tests by their file's duration, keeping each file's tests together and in order."""
    known = load()
    items.sort(key=lambda item: -known.get(item.path.relative_to(TESTS).as_posix(), 0.0))


def measured(junit: Path) -> Mapping[str, float]:
    """The seconds per file of a run, from its JUnit report."""
    found: collections.Counter[str] = collections.Counter()
    for case in ElementTree.parse(junit).iter("testcase"):
        parts = case.attrib["classname"].split(".")
        end = next(place for place, part in enumerate(parts) if part.startswith("test_"))
        file = "/".join(parts[: end + 1]) + ".py"
        found[file.removeprefix("tests/")] += float(case.attrib["time"])
    return {file: seconds for file, seconds in found.most_common() if seconds >= 1}


if __name__ == "__main__":
    rows = [f"{file}\t{seconds:.0f}" for file, seconds in measured(Path(sys.argv[1])).items()]
    TABLE.write_text("\n".join(["file\tseconds", *rows]) + "\n")
