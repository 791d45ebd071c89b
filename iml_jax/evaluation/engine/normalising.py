"""Normalises options' log-likelihoods before they are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iml_jax.evaluation.engine import scoring
from iml_jax.evaluation.engine.scoring import Candidates, Likelihoods
from iml_jax.foundation.errors import UserError
from iml_jax.models.handle import Model

KINDS = ("none", "per_token", "per_byte", "unconditional")
NEUTRAL_PROMPT = "Answer:"


def check(kind: str, name: str = "normalisation") -> None:
    """Raise UserError unless ``kind`` is one of ``KINDS``; ``name`` is the setting to change."""
    if kind not in KINDS:
        raise UserError(f"{name} is {kind!r}; it must be one of {', '.join(KINDS)}")


def normalise(
    likelihoods: Likelihoods,
    kind: str = "none",
    *,
    texts: Sequence[str] = (),
    unconditional: Sequence[float] = (),
) -> tuple[float, ...]:
    """The values by which options are compared (``scoring.choose``), in their order.

    ``none``: the sum over the tokens, as OPT-IML's code has it. ``per_token``: divided by the counted tokens.
    ``per_byte``: divided by the bytes of the option's text in UTF-8, an empty text counting as one byte.
    ``unconditional``: minus the option's log-likelihood after a neutral prompt, as the GPT-3 paper (section
    2.4) does: pointwise mutual information.

    Args:
      likelihoods: of one question.
      kind: one of ``KINDS``.
      texts: the options' texts, for ``per_byte``.
      unconditional: of ``after_neutral_prompt``, for ``unconditional``.

    Raises:
      UserError: an unknown kind.
      ValueError: another number of texts or unconditional values than options.
    """
    check(kind)
    values = likelihoods.values
    if kind == "per_token":
        return tuple(v / max(1, n) for v, n in zip(values, likelihoods.tokens, strict=True))
    if kind == "per_byte":
        return tuple(v / max(1, len(t.encode())) for v, t in zip(values, texts, strict=True))
    if kind == "unconditional":
        return tuple(v - u for v, u in zip(values, unconditional, strict=True))
    return values


def after_neutral_prompt(
    model: Model,
    questions: Sequence[Candidates],
    batch_size: int,
    *,
    neutral: Sequence[int],
    prefix: str = "none",
    count_end: bool = True,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[tuple[float, ...]]:
    """Nats of every option after a neutral prompt instead of its own; each different option is computed once.

    Args:
      model, questions, batch_size, prefix, count_end: as in ``scoring.score``.
      neutral: the neutral prompt's ids, those of ``NEUTRAL_PROMPT`` by default wherever a text is asked for.
      advance: called with the number of different options done.

    Raises:
      As ``scoring.score``.
    """
    different = sorted({tuple(map(int, option)) for question in questions for option in question.options})
    if not different:
        return []
    found = scoring.score(
        model,
        [Candidates(neutral, different)],
        batch_size,
        prefix=prefix,
        count_end=count_end,
        advance=advance,
    )[0]
    values = dict(zip(different, found.values, strict=True))
    return [tuple(values[tuple(map(int, option))] for option in one.options) for one in questions]
