"""Category -> generalization level, computed from what is trained on (OPT-IML paper, section 2.2)."""

from __future__ import annotations

from collections.abc import Collection

from iml_jax.data.terms import FULLY_HELD_OUT, FULLY_SUPERVISED, PARTIALLY_SUPERVISED


def level(
    task: str, category: str, trained_tasks: Collection[str], trained_categories: Collection[str]
) -> str:
    """How far an evaluated task is from what the model was trained on.

    Args:
      task: its key, ``benchmark:task``.
      category: its one category.
      trained_tasks: the keys of every task trained on, over all benchmarks.
      trained_categories: the categories of ``trained_tasks``.

    Returns:
      ``fully_supervised``: the task itself is trained on, other examples of it are evaluated;
      ``partially_supervised``: its category is trained on, the task is not;
      ``fully_held_out``: nothing of its category is trained on.

    Raises:
      ValueError: the task is trained on but its category is not among ``trained_categories``.
    """
    if task in trained_tasks:
        if category not in trained_categories:
            raise ValueError(f"{task} is trained on, but its category {category!r} is not listed as trained")
        return FULLY_SUPERVISED
    return PARTIALLY_SUPERVISED if category in trained_categories else FULLY_HELD_OUT
