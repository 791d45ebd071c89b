"""Source -> prompted examples of a planned task, with every dropped row counted (no TensorFlow)."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator

from iml_jax.bench.demonstrations import Demonstrator
from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.prompting import PromptedExample, prompt
from iml_jax.bench.sampling import sampled
from iml_jax.bench.sources.formats.bounds import usable
from iml_jax.bench.variants import MetaICL, Variant

NO_PROMPT = "empty prompt or no reference"
NO_LOSS = "no loss token (empty target)"
NO_SHOTS = "no demonstration (the task has no rows to show)"
# The demonstrations that a split's prompts were to show, by outcome.
SHOWN = "shown"
CUT = "left out to fit the row"
MISSING = "missing (the task has too few)"


@dataclasses.dataclass(frozen=True)
class TokenBudget:
    """The length that a prompt with demonstrations must not exceed.

    Attributes:
      count: gives the number of tokens of a text.
      length: positions of a row.
    """

    count: Callable[[str], int]
    length: int


class Prompter:
    """Renders the examples of one split of a planned task.

    The prompt of an example depends on the example, the seed and the task's demonstrations only, so the
    examples may be rendered in any order and by any number of processes.

    Attributes:
      dropped: examples that became no prompt, by reason.
      demonstrations: how many demonstrations were ``SHOWN``, ``CUT`` and ``MISSING``.
    """

    def __init__(
        self, planned: PlannedTask, split: str, seed: int, budget: TokenBudget | None = None
    ) -> None:
        """Nothing is read yet.

        Args:
          planned: the task.
          split: one of its planned splits.
          seed: decides delimiters and demonstrations.
          budget: demonstrations are left out of longer prompts, the first ones first; None keeps all.
        """
        self._planned, self._seed, self._budget = planned, seed, budget
        self._demonstrator = Demonstrator(
            lambda: _solved(planned, split), seed, own_in_order=not isinstance(planned.variant, MetaICL)
        )
        self.dropped: collections.Counter[str] = collections.Counter()
        self.demonstrations: collections.Counter[str] = collections.Counter()

    def prompt(self, example: Example) -> PromptedExample | None:
        """The prompt of an example; None (counted in ``dropped``) where it has none.

        Raises:
          UserError: a source file with demonstrations is malformed.
        """
        variant = self._planned.variant
        wanted = variant.shots_of(example, self._seed) if example.source.strip() else 0
        if wanted and variant.demanding and not self._demonstrator.can_show(example):
            self.dropped[NO_SHOTS] += 1
            return None
        shown = self._demonstrator.draw(example, wanted)
        try:
            prompted, kept = _fitted(self._planned, example, self._seed, shown, self._budget)
        except ValueError:
            self.dropped[NO_PROMPT] += 1
            return None
        if not prompted.target_text.rstrip():
            self.dropped[NO_LOSS] += 1
            return None
        for outcome, count in ((SHOWN, kept), (CUT, len(shown) - kept), (MISSING, wanted - len(shown))):
            if count:
                self.demonstrations[outcome] += count
        return prompted


def sampled_examples(
    planned: PlannedTask, split: str, seed: int, dropped: collections.Counter[str]
) -> Iterator[Example]:
    """The examples of a split that the caps and the pooling of templates leave, in the order of the files.

    Args:
      planned: the task.
      split: one of its planned splits.
      seed: decides which are sampled.
      dropped: receives one count, by reason, for each row or prompt that is left out.

    Raises:
      UserError: a source file is malformed.
    """
    return sampled(
        lambda skipped: planned.source.examples(planned.info, split, skipped),
        planned.caps[split],
        seed,
        dropped,
        pooled=split in planned.pooled,
    )


def prompted_examples(
    planned: PlannedTask,
    split: str,
    seed: int,
    dropped: collections.Counter[str],
    *,
    budget: TokenBudget | None = None,
    demonstrations: collections.Counter[str] | None = None,
) -> Iterator[PromptedExample]:
    """The prompted examples of a split, in the order of the files.

    Args:
      planned: the task.
      split: one of its planned splits.
      seed: decides delimiters, demonstrations and the examples sampled.
      dropped: receives one count, by reason, for each row that yields no example.
      budget: as ``Prompter``.
      demonstrations: receives how many were ``SHOWN``, ``CUT`` and ``MISSING``.

    Raises:
      UserError: a source file is malformed.
    """
    prompter = Prompter(planned, split, seed, budget)
    prompter.dropped = dropped
    if demonstrations is not None:
        prompter.demonstrations = demonstrations
    for example in sampled_examples(planned, split, seed, dropped):
        prompted = prompter.prompt(example)
        if prompted is not None:
            yield prompted


def _solved(planned: PlannedTask, split: str) -> Iterator[Example]:
    """What prompts of a split may show: training rows, else validation rows, else, if asked, its own."""
    source, info = planned.source, planned.info
    found = False
    unseen = collections.Counter[str]()
    for example in usable(source.demonstrations(info, unseen), unseen):
        found = True
        yield example
    if found or split == "train":
        return
    other = "validation" if "validation" in info.splits and split != "validation" else ""
    if own := other or (split if planned.variant.evaluated_rows else ""):
        yield from source.examples(info, own, unseen)


def _fitted(
    planned: PlannedTask, example: Example, seed: int, shown: list[Example], budget: TokenBudget | None
) -> tuple[PromptedExample, int]:
    """The prompt with as many of the last demonstrations as fit, and how many these are.

    Every demonstration lengthens the prompt, so the first one to keep is found by bisection: of 32 that are
    longer than the row together, six prompts are rendered and tokenised, not all.
    """

    def rendered(first: int) -> PromptedExample:
        prompted = _valid(prompt(example, seed, planned.variant, shown[first:]))
        generated = planned.generated and example.split != "train"
        return dataclasses.replace(prompted, options=()) if generated else prompted

    prompted = rendered(0)
    if budget is None or not shown or _fits(prompted, planned.variant, example.split, budget):
        return prompted, len(shown)
    too_many, first = 0, len(shown)  # without demonstrations the prompt is taken whatever its length
    while first - too_many > 1:
        middle = (too_many + first) // 2
        if _fits(rendered(middle), planned.variant, example.split, budget):
            first = middle
        else:
            too_many = middle
    return rendered(first), len(shown) - first


def _fits(prompted: PromptedExample, variant: Variant, split: str, budget: TokenBudget) -> bool:
    """Whether prompt and answer have a position each; the last token of an answer needs none."""
    answers = (prompted.target_text,) if split == "train" else prompted.options
    # A token is at least one byte, so most prompts need not be tokenised.
    longest = max((len(f" {answer}".encode()) for answer in answers), default=variant.answer_tokens)
    if len(prompted.prompt_text.encode()) + longest <= budget.length:
        return True
    needed = max((budget.count(f" {answer}") for answer in answers), default=variant.answer_tokens)
    return budget.count(prompted.prompt_text) + needed <= budget.length


def _valid(prompted: PromptedExample) -> PromptedExample:
    """The example with ``?`` for each lone surrogate, which UTF-8 cannot encode."""
    try:
        for text in _texts(prompted):
            text.encode()
    except UnicodeEncodeError:
        return PromptedExample(
            _replaced(prompted.prompt_text),
            _replaced(prompted.target_text),
            tuple(map(_replaced, prompted.references)),
            tuple(map(_replaced, prompted.options)),
            _replaced(prompted.example_id),
            _replaced(prompted.template),
        )
    return prompted


def _texts(prompted: PromptedExample) -> Iterator[str]:
    yield from (prompted.prompt_text, prompted.target_text, prompted.example_id, prompted.template)
    yield from prompted.references
    yield from prompted.options


def _replaced(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
