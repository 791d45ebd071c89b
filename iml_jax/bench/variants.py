"""Prompt variants: how many demonstrations, what sets them apart, what bears loss (OPT-IML section 2.4).

A variant is part of a SeqIO task's name: ``benchmark:task:zero_shot``, ``:five_shot``, ``:metaicl_a2``.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

from iml_jax.bench.example import Example
from iml_jax.bench.hashing import draw, stable_hash
from iml_jax.foundation.errors import UserError

DEFAULT_SEPARATORS = ("\n\n\n",)
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Variant(abc.ABC):
    """How an example becomes a prompt. Subclasses are frozen dataclasses: picklable, part of fingerprints.

    Attributes:
      options_block: list the options of a classification task where its input does not.
      suffix_loss: the loss begins at the first demonstration's label, not at the target.
      answer_tokens: positions that demonstrations leave to an answer that is generated.
      demanding: an example of a task that has no demonstration at all has no prompt.
      evaluated_rows: other examples of the split that is evaluated may be shown.
    """

    options_block: bool = False
    suffix_loss: bool = False
    answer_tokens: int = 0
    demanding: ClassVar[bool] = False
    evaluated_rows: bool = False

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The last part of the task's SeqIO name."""

    @property
    def most(self) -> int:
        """Demonstrations that a prompt shows at most."""
        return 0

    def shots_of(self, example: Example, seed: int) -> int:
        """How many demonstrations this example's prompt should show."""
        del example, seed
        return 0

    def separator_of(self, example: Example, seed: int) -> str:
        """What stands between two demonstrations, and between the last one and the example."""
        del example, seed
        return DEFAULT_SEPARATORS[0]


@dataclasses.dataclass(frozen=True)
class ZeroShot(Variant):
    """No demonstrations."""

    options_block: bool = dataclasses.field(
        default=False,
        metadata={"help": "list the options of a classification task after its input, where that does not."},
    )

    @property
    def name(self) -> str:
        """``zero_shot``."""
        return "zero_shot" + _block(self)


@dataclasses.dataclass(frozen=True)
class FewShot(Variant):
    """The same number of demonstrations in every prompt (OPT-IML section 4.1)."""

    shots: int = dataclasses.field(default=5, metadata={"help": "demonstrations a prompt."})
    separators: tuple[str, ...] = dataclasses.field(
        default=DEFAULT_SEPARATORS,
        metadata={
            "help": "what may stand between demonstrations; of several, one is drawn for each example."
        },
    )
    answer_tokens: int = dataclasses.field(
        default=256, metadata={"help": "positions that demonstrations leave to an answer that is generated."}
    )
    options_block: bool = dataclasses.field(
        default=False, metadata={"help": "as ``ZeroShot.options_block``, in the demonstrations too."}
    )
    evaluated_rows: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "a task without rows of its own to show (none to train on, no positive examples, "
            "no validation split beside the one evaluated) shows other examples of the "
            "evaluated split, never the example itself; else it is not evaluated in this "
            "variant."
        },
    )

    demanding: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise UserError(f"FewShot.shots = {self.shots}: must be at least 1; @ZeroShot() shows none")
        if self.answer_tokens < 0:
            raise UserError(f"FewShot.answer_tokens = {self.answer_tokens}: must be at least 0")
        _check_separators(self)

    @property
    def name(self) -> str:
        """``five_shot``; from eleven on in figures, ``32_shot``."""
        word = _WORDS[self.shots - 1] if self.shots <= len(_WORDS) else str(self.shots)
        return f"{word}_shot" + _parted(self.separators) + _block(self)

    @property
    def most(self) -> int:
        """As asked."""
        return self.shots

    def shots_of(self, example: Example, seed: int) -> int:
        """As asked."""
        del example, seed
        return self.shots

    def separator_of(self, example: Example, seed: int) -> str:
        """One of ``separators``, drawn for each example."""
        return draw(self.separators, "separator", *identity(example, seed))


@dataclasses.dataclass(frozen=True)
class MetaICL(Variant):
    """Training with a random number of demonstrations (OPT-IML tables 8 and 20).

    Each example draws k of 0..``most_shots`` with P(k) proportional to (k + 1) ** -``exponent``: with the
    paper's K = 5, exponent 4 leaves 92.5% of the examples without demonstrations and exponent 2 67.1%.
    """

    exponent: float = dataclasses.field(
        default=2.0, metadata={"help": "a of the distribution; the larger, the fewer demonstrations."}
    )
    most_shots: int = dataclasses.field(default=5, metadata={"help": "K of the distribution."})
    suffix_loss: bool = dataclasses.field(
        default=False,
        metadata={"help": "loss on the first demonstration's label and on everything after it."},
    )
    separators: tuple[str, ...] = dataclasses.field(
        default=DEFAULT_SEPARATORS,
        metadata={
            "help": "what may stand between demonstrations; of several, one is drawn for each example."
        },
    )
    options_block: bool = dataclasses.field(
        default=False, metadata={"help": "as ``ZeroShot.options_block``, in the demonstrations too."}
    )

    def __post_init__(self) -> None:
        if self.most_shots < 1:
            raise UserError(f"MetaICL.most_shots = {self.most_shots}: must be at least 1")
        if not 0 <= self.exponent <= 100:
            raise UserError(f"MetaICL.exponent = {self.exponent}: must lie between 0 and 100")
        _check_separators(self)

    @property
    def name(self) -> str:
        """``metaicl_a2``; ``_k3`` for another K than 5, ``_sf`` for the suffix loss."""
        most = "" if self.most_shots == 5 else f"_k{self.most_shots}"
        loss = "_sf" if self.suffix_loss else ""
        return f"metaicl_a{self.exponent:g}{most}{loss}" + _parted(self.separators) + _block(self)

    @property
    def most(self) -> int:
        """K."""
        return self.most_shots

    def shots_of(self, example: Example, seed: int) -> int:
        """k, drawn by a hash of the example."""
        point = stable_hash("shots", *identity(example, seed)) / 2**64
        ends = itertools.accumulate(shot_probabilities(self.exponent, self.most_shots))
        return next((shots for shots, end in enumerate(ends) if point < end), self.most_shots)

    def separator_of(self, example: Example, seed: int) -> str:
        """One of ``separators``, drawn for each example."""
        return draw(self.separators, "separator", *identity(example, seed))


def shot_probabilities(exponent: float, most: int) -> tuple[float, ...]:
    """P(k) for k = 0..``most``, proportional to (k + 1) ** -``exponent``."""
    weights = [(shots + 1) ** -exponent for shots in range(most + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def identity(example: Example, seed: int) -> tuple[str | int, ...]:
    """What the random choices of an example's prompt hang on."""
    return seed, example.benchmark, example.task, example.example_id, example.template


def _check_separators(variant: FewShot | MetaICL) -> None:
    if not variant.separators or not all(variant.separators):
        raise UserError(f"{type(variant).__name__}.separators: at least one text, and none of them empty")


def _parted(separators: tuple[str, ...]) -> str:
    """Of a name: nothing for the default separator, ``_n2`` for two newlines, else a short hash."""
    if separators == DEFAULT_SEPARATORS:
        return ""
    if len(separators) == 1 and set(separators[0]) == {"\n"}:
        return f"_n{len(separators[0])}"
    return f"_s{stable_hash(*separators) % 16**6:06x}"


def _block(variant: Variant) -> str:
    return "_options" if variant.options_block else ""


def check_prompts(train: Variant, evaluation: Sequence[Variant]) -> None:
    """Checks that the prompts of a mixture can be prepared side by side.

    Raises:
      UserError: two have one name, none evaluates, or one that is made for training does.
    """
    for variant in evaluation:
        if isinstance(variant, MetaICL):
            raise UserError(
                "Mixture.evaluation_prompts: @MetaICL() is for training; show @FewShot() when evaluating"
            )
    if not evaluation or len(set(evaluation)) != len(evaluation):
        raise UserError("Mixture.evaluation_prompts: at least one variant, and none of them twice")
    variants = {train, *evaluation}
    names = collections.Counter(variant.name for variant in variants)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(
            f"Mixture: two variants of the prompts are called {twice[0]} (they differ in fields that are "
            "not in the name); keep one"
        )
