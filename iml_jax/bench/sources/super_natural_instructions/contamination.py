"""Tasks of Super-NaturalInstructions that hold the questions of an evaluation benchmark."""

from __future__ import annotations

import functools
from pathlib import Path

from iml_jax.storage import tables

TABLE = Path(__file__).with_name("contamination.tsv")


@functools.cache
def contaminated() -> dict[str, str]:
    """Task -> the evaluation task whose questions it holds, as ``benchmark:task``.

    The 57 subjects of MMLU and one task of BIG-bench are in the benchmark's own train split: a model
    trained on them cannot be evaluated on MMLU or BIG-bench (OPT-IML section 2.3 asks for no shared data
    source). They are what the names of its split lists say; other overlaps are found by an n-gram search.
    """
    return {row["task"]: row["holds"] for row in tables.rows(TABLE)}
