"""A sample of the shared examples with every model's answer, for the page of ``iml report``."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from iml_jax.data.terms import LEVELS
from iml_jax.evaluation.pages.compare import Comparison, SharedExample
from iml_jax.evaluation.results import Prediction

MOST_EXAMPLES = 1500  # on one page: a few megabytes, however many tasks there are
PROMPT, ANSWER, OPTION = 900, 600, 160  # characters shown
OPTIONS = 12  # options shown


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of an example.

    Attributes:
      right: it is one of the references.
      log_likelihoods: per evaluation, in nats as text ("–" for none), and whether it chose this option.
    """

    text: str
    right: bool
    log_likelihoods: tuple[tuple[str, bool], ...]


@dataclasses.dataclass(frozen=True)
class Example:
    """One example as it is shown.

    Attributes:
      prompts: the different ones, usually one.
      options: the right ones first, then the likeliest; empty unless all evaluations have the same.
      more_options: how many are not shown.
    """

    shared: SharedExample
    prompts: tuple[str, ...]
    options: tuple[Option, ...]
    more_options: int


@dataclasses.dataclass(frozen=True)
class TaskSample:
    """The sample of one task.

    Attributes:
      shared: how many examples all evaluations answered; answered_otherwise: of these, not all alike.
    """

    name: str
    examples: tuple[Example, ...]
    shared: int
    answered_otherwise: int

    @property
    def differs(self) -> bool:
        """Whether evaluations differ on any example of the sample."""
        return any(one.shared.differs for one in self.examples)


@dataclasses.dataclass(frozen=True)
class Samples:
    """The samples of all tasks that are shown, by level, and how many tasks are left out."""

    per_task: int
    levels: tuple[tuple[str, tuple[TaskSample, ...]], ...]
    tasks_left_out: int


def samples(found: Comparison, per_task: int) -> Samples:
    """A sample of each task, at most ``MOST_EXAMPLES`` examples in all."""
    per_task = max(1, min(per_task, MOST_EXAMPLES // len(found.shared)))
    order = sorted(
        found.shared, key=lambda name: (LEVELS.index(found.groups[name][0]), found.groups[name][1])
    )
    by_level: dict[str, list[TaskSample]] = {}
    for name in order[:MOST_EXAMPLES]:
        shared = found.shared[name]
        examples = tuple(_example(one) for one in sample(shared, per_task, name))
        otherwise = sum(one.differs for one in shared)
        by_level.setdefault(found.groups[name][0], []).append(
            TaskSample(name, examples, len(shared), otherwise)
        )
    levels = tuple((level, tuple(tasks)) for level, tasks in by_level.items())
    return Samples(per_task, levels, max(0, len(order) - MOST_EXAMPLES))


def sample(shared: Sequence[SharedExample], count: int, seed: str) -> list[SharedExample]:
    """Half from the examples whose points differ, the rest from all others; in their order; repeatable."""
    generator = random.Random(seed)
    other_points = [i for i, one in enumerate(shared) if len({answer.score for answer in one.answers}) > 1]
    chosen = set(generator.sample(other_points, min(len(other_points), (count + 1) // 2)))
    rest = [i for i in range(len(shared)) if i not in chosen]
    chosen.update(generator.sample(rest, min(len(rest), count - len(chosen))))
    return [shared[i] for i in sorted(chosen)]


def _example(shared: SharedExample) -> Example:
    prompts = tuple(dict.fromkeys(one.prompt for one in shared.answers))
    options = shared.answers[0].options
    if any(one.options != options for one in shared.answers):
        options = ()
    right = set(shared.answers[0].references)
    order = sorted(range(len(options)), key=lambda i: (options[i] not in right, -_best(shared.answers, i)))
    shown = tuple(_option(shared.answers, i, options[i] in right) for i in order[:OPTIONS])
    return Example(shared, prompts, shown, max(0, len(options) - OPTIONS))


def _option(answers: Sequence[Prediction], index: int, right: bool) -> Option:
    text = answers[0].options[index]
    values = (
        (f"{one.log_likelihoods[index]:.2f}", one.prediction == text)
        if index < len(one.log_likelihoods)
        else ("–", False)
        for one in answers
    )
    return Option(text, right, tuple(values))


def _best(answers: Sequence[Prediction], option: int) -> float:
    return max(
        (one.log_likelihoods[option] for one in answers if option < len(one.log_likelihoods)), default=0
    )
