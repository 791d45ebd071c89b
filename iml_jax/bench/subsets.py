"""Parts of the training tasks, each inside the next larger: OPT-IML's scaling studies (tables 16 and 17)."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Sequence

from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.base import TaskInfo
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.seeds import check_seed


@dataclasses.dataclass(frozen=True)
class Subset:
    """Trains on a part of the tasks; benchmarks with a fixed share (``Mixture.shares``) are not touched.

    With the same seed, the 16 tasks are among the 64, and the 4 categories among the 16.
    """

    tasks: int = dataclasses.field(
        default=0, metadata={"help": "tasks to train on, those of ``always`` among them; 0 takes all."}
    )
    categories: int = dataclasses.field(default=0, metadata={"help": "categories to train on; 0 takes all."})
    always: tuple[str, ...] = dataclasses.field(
        default=(), metadata={"help": "patterns of ``benchmark:task`` that every subset holds."}
    )
    first_categories: tuple[str, ...] = dataclasses.field(
        default=("Question Answering", "Summarization", "Dialogue Generation"),
        metadata={
            "help": "come before all others, as far as the mixture has them; these follow by "
            "decreasing number of tasks."
        },
    )
    seed: int = dataclasses.field(
        default=0, metadata={"help": "another seed makes another order of the tasks."}
    )

    def __post_init__(self) -> None:
        for field in ("tasks", "categories"):
            if getattr(self, field) < 0:
                raise UserError(f"Subset.{field} = {getattr(self, field)}: must be at least 0")
        check_seed("Subset.seed", self.seed)

    def choose(self, infos: Sequence[TaskInfo], always: Collection[str]) -> set[str]:
        """The keys of the tasks to train on.

        Args:
          infos: the tasks that would be trained on.
          always: keys of those that every subset of tasks holds.

        Raises:
          UserError: more are asked for than there are, or fewer than ``always`` holds.
        """
        kept = list(infos)
        if self.categories:
            order = category_order(infos, self.first_categories)
            if self.categories > len(order):
                raise UserError(
                    f"Subset.categories = {self.categories}: the mixture trains on {len(order)} categories"
                )
            names = set(order[: self.categories])
            kept = [info for info in infos if info.category in names]
        if self.tasks:
            order = task_order([info.key for info in kept], always, self.seed)
            least = len(set(order) & set(always))
            if not least <= self.tasks <= len(order):
                raise UserError(
                    f"Subset.tasks = {self.tasks}: must lie between {least} (those that are always held) and "
                    f"{len(order)} (those that the mixture trains on)"
                )
            return set(order[: self.tasks])
        return {info.key for info in kept}


def task_order(keys: Sequence[str], always: Collection[str], seed: int) -> list[str]:
    """The tasks in the order in which subsets take them: ``always`` first, then drawn by a hash."""
    return sorted(keys, key=lambda key: (key not in always, stable_hash("subset", seed, key), key))


def category_order(infos: Sequence[TaskInfo], first: Sequence[str]) -> list[str]:
    """The categories in the order in which subsets take them: ``first``, then by decreasing size and name."""
    sizes = collections.Counter(info.category for info in infos)
    rank = {name: place for place, name in enumerate(first)}
    return sorted(sizes, key=lambda name: (rank.get(name, len(rank)), -sizes[name], name))
