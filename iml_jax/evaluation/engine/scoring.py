"""How likely a model finds each candidate answer (OPT-IML paper, section 3, last lines; 1.6).

A prompt is computed once for all its options (``shared_prefix``); the values are those of each option alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from iml_jax.data.tokenizer import EOS
from iml_jax.evaluation.engine import batching, shared_prefix
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.models import opt
from iml_jax.models.handle import Model
from iml_jax.models.sizes import OptConfig

BLOCK_LOGITS = 1 << 25  # float32 logits in memory at once, per device: 128 MiB
PREFIXES: dict[str, tuple[int, ...]] = {"none": (), "eos": (EOS,)}


@dataclasses.dataclass(frozen=True)
class Candidates:
    """A prompt's ids and the ids of each candidate, which ends in ``</s>`` where that is scored, too."""

    prompt: Sequence[int] | np.ndarray
    options: Sequence[Sequence[int] | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Likelihoods:
    """The log-likelihoods of one question's candidates, in their order.

    Attributes:
      values: nats, the sum over a candidate's counted tokens.
      truncated_tokens: prompt tokens removed on the left.
      tokens: how many tokens of each candidate were counted.
      greedy: whether each counted token of a candidate is the one that greedy decoding would write.
    """

    values: tuple[float, ...]
    truncated_tokens: int
    tokens: tuple[int, ...] = ()
    greedy: tuple[bool, ...] = ()


def check_prefix(prefix: str, name: str) -> tuple[int, ...]:
    """The ids that a prefix policy puts before every prompt.

    ``none``: nothing, as OPT-IML's training examples have it. ``eos``: a leading ``</s>``, which the prompt
    sees and which shifts its positions by one, as OPT's pre-training and transformers' tokenizer have it.

    Raises:
      UserError: an unknown policy; ``name`` is the setting to change.
    """
    if prefix not in PREFIXES:
        raise UserError(f"{name} is {prefix!r}; it must be one of {', '.join(PREFIXES)}")
    return PREFIXES[prefix]


def fits(candidates: Candidates, config: OptConfig) -> bool:
    """Whether every candidate fits the model's positions."""
    return max(map(len, candidates.options)) <= config.max_positions


def score(
    model: Model,
    questions: Sequence[Candidates],
    batch_size: int,
    *,
    prefix: str = "none",
    count_end: bool = True,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Likelihoods]:
    """Log-likelihood of every candidate after its prompt: the sum over its tokens.

    A prompt too long for the model loses tokens on the left (the prefix stays), as many for each of its
    candidates, so that all follow the same context; a candidate loses none. Without any context (an
    empty prompt without a prefix) the first token cannot be predicted and is not counted, as in training.

    Args:
      model: the model; its parameters stay where they are.
      questions: each must satisfy ``fits``. Prompts and options are scored as they are, apart from ``prefix``
        and ``count_end``.
      batch_size: rows per batch, rounded up to the mesh's batch axes. A row holds as many questions, each
        with its options, as fit.
      prefix: which tokens precede every prompt, see ``check_prefix``.
      count_end: whether the ``</s>`` that ends a candidate is counted. OPT-IML does; for
        lm-evaluation-harness a candidate has none.
      advance: called with the number of candidates done.

    Raises:
      ValueError: a question does not fit or has no candidate, or a candidate no token.
      UserError: an unknown prefix, or without its ``</s>`` a candidate is empty.
      Fault: a log-likelihood is not finite.
    """
    segments, truncated = _segments(model.config, questions, check_prefix(prefix, "prefix"), count_end)
    shape = [len(question.options) for question in questions]
    values, tokens = ([[0.0] * n for n in shape], [[0] * n for n in shape])
    greedy = [[True] * n for n in shape]
    parts = batching.row_count(model.mesh, 1)
    plans = shared_prefix.plan(
        segments,
        model.config.max_positions,
        model.config.hidden,
        parts,
        batching.row_count(model.mesh, batch_size),
    )
    function = compiled_scorer(model.config, model.mesh)
    with jax.set_mesh(model.mesh):
        for plan in plans:
            arrays = shared_prefix.build(plan, segments)
            placed = tuple(
                batching.on_mesh(model.mesh, array)
                for array in (
                    arrays.inputs,
                    arrays.positions,
                    arrays.segments,
                    arrays.option_ids,
                    arrays.sources,
                    arrays.targets,
                )
            )
            logs, best = (np.asarray(array) for array in function(model.params, placed))
            for row, start, stop, question, option in arrays.owners:
                values[question][option] = float(logs[row, start:stop].sum(dtype=np.float64))
                tokens[question][option] = stop - start
                greedy[question][option] = bool(best[row, start:stop].all())
            advance(len(arrays.owners))
    if not all(map(math.isfinite, (value for found in values for value in found))):
        raise Fault("a log-likelihood is not finite: the model's parameters are damaged or hold NaN")
    return [
        Likelihoods(tuple(found), gone, tuple(counts), tuple(whole))
        for found, gone, counts, whole in zip(values, truncated, tokens, greedy, strict=True)
    ]


def _segments(
    config: OptConfig, questions: Sequence[Candidates], prefix: tuple[int, ...], count_end: bool
) -> tuple[list[shared_prefix.Segment], list[int]]:
    """The questions' segments, and how many prompt tokens each question lost on the left."""
    segments, truncated = [], []
    for number, question in enumerate(questions):
        if not question.options or not fits(question, config):
            raise ValueError(f"question {number} has no candidate, or one longer than the model's positions")
        if not all(map(len, question.options)):
            raise ValueError(f"a candidate of question {number} has no token")
        options = [list(option) for option in question.options]
        if not count_end:
            options = [option[:-1] if option[-1] == EOS else option for option in options]
            if not all(options):
                raise UserError(
                    f"a candidate of question {number} is empty, and its </s> is not counted; count it"
                )
        capacity = config.max_positions + 1 - max(map(len, options)) - len(prefix)
        kept = list(question.prompt)[max(0, len(question.prompt) - capacity) :] if capacity > 0 else []
        truncated.append(len(question.prompt) - len(kept))
        segments += shared_prefix.split(number, [*prefix, *kept], options, config.max_positions)
    return segments, truncated


def choose(log_likelihoods: Sequence[float], correct: Collection[int]) -> tuple[int, bool]:
    """The chosen candidate and whether that counts as right.

    The first of the most likely is chosen. It is right only if a correct candidate is strictly more likely
    than every wrong one, as in OPT-IML's own code: a model that finds all equally likely gets no points.

    Args:
      log_likelihoods: one per candidate.
      correct: indices of the correct candidates (several where two have the same text).
    """
    best = int(np.argmax(log_likelihoods))
    right = [value for index, value in enumerate(log_likelihoods) if index in correct]
    wrong = [value for index, value in enumerate(log_likelihoods) if index not in correct]
    return best, bool(right) and (not wrong or max(right) > max(wrong))


def loglikelihood_rolling(
    model: Model,
    texts: Sequence[Sequence[int]],
    batch_size: int,
    *,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[float]:
    """Log-likelihood (nats) of whole texts of any length, each token counted once, for perplexity.

    As in lm-evaluation-harness: a text follows ``</s>``; one longer than the model is split into consecutive
    windows of ``max_positions`` predictions, the last of which has as much context as fits.

    Args:
      model, batch_size: as in ``score``.
      texts: token ids; an empty text has 0.
      advance: called with the number of windows done.

    Raises:
      Fault: a log-likelihood is not finite.
    """
    windows, owners, longest = [], [], model.config.max_positions
    for owner, text in enumerate(texts):
        ids = [EOS, *text]
        for start in range(1, len(ids), longest):
            stop = min(start + longest, len(ids))
            windows.append(Candidates(ids[max(0, stop - longest - 1) : start], [ids[start:stop]]))
            owners.append(owner)
    found = score(model, windows, batch_size, advance=advance)
    sums = [0.0] * len(texts)
    for owner, likelihoods in zip(owners, found, strict=True):
        sums[owner] += likelihoods.values[0]
    return sums


@functools.lru_cache(maxsize=4)
def compiled_scorer(config: OptConfig, mesh: jax.sharding.Mesh) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The jitted function of ``score``, which is compiled once per shape (``shared_prefix.Plan``)."""
    if batching.on_cpu(mesh):
        config = dataclasses.replace(config, scan_layers=False)

    def run(params: Any, arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        inputs, positions, segments, option_ids, sources, targets = arrays
        rows, count = targets.shape
        hidden = opt.forward(config, params, inputs, positions, segments, option_ids=option_ids)
        hidden = jnp.take_along_axis(hidden, sources[..., None], axis=1)
        columns = max(1, BLOCK_LOGITS * mesh.size // (rows * config.vocab_rows))
        while count % columns:
            columns -= 1

        def block(start: jax.Array) -> tuple[jax.Array, jax.Array]:
            part = jax.lax.dynamic_slice_in_dim(hidden, start, columns, axis=1)
            wanted = jax.lax.dynamic_slice_in_dim(targets, start, columns, axis=1)[..., None]
            logits = opt.logits(config, params, part)
            chosen = jnp.take_along_axis(logits, wanted, axis=-1)
            # argmax == wanted, the lowest of equals, without an argmax, which is slow on a CPU.
            likelier = jnp.where(jnp.arange(config.vocab_rows) < wanted, logits >= chosen, logits > chosen)
            return (chosen - jax.nn.logsumexp(logits, axis=-1, keepdims=True))[..., 0], ~likelier.any(-1)

        found = jax.lax.map(block, jnp.arange(0, count, columns))  # [blocks, rows, columns] each
        logs, best = (jnp.moveaxis(array, 0, 1).reshape(rows, count) for array in found)
        return logs, best

    return jax.jit(run, out_shardings=batching.replicated(mesh))
