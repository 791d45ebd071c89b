"""Answers written token by token with a KV cache (OPT-IML paper, section 4.1).

The device writes ``CHUNK`` tokens per call; between calls finished rows leave the batch and waiting prompts
enter it (continuous batching; ``models/decoding.py`` has the layout of their keys and values).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from iml_jax.data.tokenizer import EOS, PAD
from iml_jax.evaluation.engine import batching
from iml_jax.evaluation.engine.sampling import BROKEN, Sampling, pick
from iml_jax.evaluation.engine.scoring import check_prefix
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.foundation.seeds import check_seed
from iml_jax.models import decoding
from iml_jax.models.decoding import Prefill, RingCache
from iml_jax.models.handle import Model
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.rules import constrain

CHUNK = 16  # tokens written per call of the device
Decode = Callable[[Sequence[int]], str]


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Settings of generation; gin name ``Generate``."""

    max_new_tokens: int = dataclasses.field(
        default=256,
        metadata={
            "help": "the longest answer, ``</s>`` included. A prompt loses tokens on the left where "
            "it and the answer do not fit the model's positions together."
        },
    )
    batch_size: int = dataclasses.field(
        default=32, metadata={"help": "prompts per batch, rounded up to the mesh's batch axes."}
    )
    temperature: float = dataclasses.field(
        default=0.0, metadata={"help": "0 writes the most likely token (greedy); above, tokens are sampled."}
    )
    top_k: int = dataclasses.field(
        default=0, metadata={"help": "which tokens are sampled from: the k most likely (0: all)"}
    )
    top_p: float = dataclasses.field(
        default=1.0, metadata={"help": "and of these the most likely that together have probability p"}
    )
    seed: int = dataclasses.field(
        default=0, metadata={"help": "of the sampling; the same answers on any mesh and with any batch."}
    )
    stop: tuple[str, ...] = dataclasses.field(
        default=(), metadata={"help": "texts that end an answer, which then ends before them."}
    )
    prefix: str = dataclasses.field(
        default="none",
        metadata={
            "help": "``none``, or ``eos``: a ``</s>`` before every prompt (see ``scoring.check_prefix``)."
        },
    )

    def __post_init__(self) -> None:
        check_seed("Generate.seed", self.seed)

    @property
    def sampling(self) -> Sampling:
        """How a token is chosen."""
        return Sampling(self.temperature, self.top_k, self.top_p)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A written answer.

    Attributes:
      ids: without ``</s>`` and without the stop text.
      finished: ended in ``</s>`` or at a stop text, not at ``max_new_tokens``.
      truncated_tokens: prompt tokens removed on the left.
      text: the answer as text, exactly up to the stop text; None if no ``decode`` was given.
    """

    ids: tuple[int, ...]
    finished: bool
    truncated_tokens: int
    text: str | None = None


def check(config: OptConfig, generate: GenerateConfig) -> None:
    """Checks that the model has positions for an answer and at least one prompt token.

    Raises:
      UserError: it has not, or a setting is impossible.
    """
    check_settings(generate)
    if (
        generate.max_new_tokens + len(check_prefix(generate.prefix, "Generate.prefix"))
        >= config.max_positions
    ):
        raise UserError(
            f"Generate.max_new_tokens is {generate.max_new_tokens}, but the model has only "
            f"{config.max_positions} positions for prompt and answer; lower Generate.max_new_tokens"
        )


def check_settings(generate: GenerateConfig) -> None:
    """Checks the settings that no model could use, so that training fails before its first update.

    Raises:
      UserError: a setting is impossible.
    """
    for name in ("max_new_tokens", "batch_size"):
        if getattr(generate, name) < 1:
            raise UserError(f"Generate.{name} is {getattr(generate, name)}; it must be at least 1")
    generate.sampling.check("Generate")
    if not all(generate.stop):
        raise UserError("Generate.stop holds an empty text, which every answer begins with")


def generate_greedily(
    model: Model,
    prompts: Sequence[Sequence[int]],
    generate: GenerateConfig,
    *,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Answer]:
    """``write_answers`` for a config without sampling and stop texts.

    Raises:
      UserError: as ``write_answers``, or the config is another.
    """
    check(model.config, generate)
    if generate.temperature or generate.stop:
        raise UserError("Generate.temperature and Generate.stop cannot be used here: answers are greedy")
    return write_answers(model, prompts, generate, advance=advance)


def write_answers(
    model: Model,
    prompts: Sequence[Sequence[int]],
    generate: GenerateConfig,
    *,
    decode: Decode | None = None,
    numbers: Sequence[int] | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Answer]:
    """Writes one answer per prompt, token by token until ``</s>``, a stop text or ``max_new_tokens``.

    Any real token may be written, ``<pad>`` and ``<s>`` too, as in transformers' ``generate``, whose greedy
    ids these equal; padded vocabulary rows never win. Of equally likely tokens the lowest id wins.

    Args:
      model: the model; its parameters stay where they are (a CPU works on a copy).
      prompts: token ids, at least one each, without the prefix.
      generate: length, batch, choice of tokens.
      decode: ids to text; needed for stop texts.
      numbers: the prompts' numbers, which enter the random keys of sampling; by default 0, 1, 2 ...
      advance: called with the number of prompts that ended together.

    Raises:
      UserError: the model has no positions for such answers, or a setting is impossible.
      ValueError: a prompt is empty, or there are stop texts but no ``decode``.
      Fault: a logit is not a number.
    """
    check(model.config, generate)
    if generate.stop and decode is None:
        raise ValueError("stop texts need a decode function")
    prefix = check_prefix(generate.prefix, "Generate.prefix")
    longest = model.config.max_positions - generate.max_new_tokens
    kept = [[*prefix, *list(prompt)[-(longest - len(prefix)) :]] for prompt in prompts]
    if not all(map(len, prompts)):
        raise ValueError("a prompt must have at least one token")
    rows = batching.row_count(model.mesh, min(generate.batch_size, max(1, len(prompts))))
    answers: list[Answer | None] = [None] * len(prompts)
    writer = _Writer(model, generate, decode)
    with jax.set_mesh(model.mesh):
        for pool in _pools([len(prompt) for prompt in kept], rows, longest):
            pending = [
                _Row(index, index if numbers is None else numbers[index], kept[index])
                for index in pool.prompts
            ]
            height = min(rows, batching.row_count(model.mesh, len(pending)))
            for written in writer.run(pending, height, pool.length):
                for one in written:
                    cut = len(prompts[one.index]) + len(prefix) - len(kept[one.index])
                    answers[one.index] = Answer(tuple(one.ids), one.finished, cut, one.text)
                advance(len(written))
    return [answer for answer in answers if answer is not None]


@dataclasses.dataclass(frozen=True)
class _Pool:
    """Prompts (their indices) that share a ring cache, a batch of them or more, and their padded length."""

    length: int
    prompts: list[int]


def _pools(sizes: Sequence[int], rows: int, longest: int) -> Iterator[_Pool]:
    """The longest prompts first."""
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    pool: list[int] = []
    length = 0
    for index in order:
        own = batching.bucket(sizes[index], longest)
        if pool and own < length and len(pool) >= rows:
            yield _Pool(length, pool)
            pool = []
        if not pool:
            length = own
        pool.append(index)
    if pool:
        yield _Pool(length, pool)


def cut_at_stop(ids: Sequence[int], stop: Sequence[str], decode: Decode) -> tuple[list[int], str] | None:
    """The ids and the text before the first stop text, or None if there is none.

    The text ends exactly there; the ids are the longest beginning whose text does.
    """
    text = decode(ids)
    starts = [start for start in (text.find(one) for one in stop) if start >= 0]
    if not starts:
        return None
    text = text[: min(starts)]
    size = len(ids)
    while size and not text.startswith(decode(ids[:size])):
        size -= 1
    return list(ids[:size]), text


@dataclasses.dataclass
class _Row:
    """A prompt in the batch, and the ids written so far."""

    index: int
    number: int
    prompt: list[int]
    ids: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Written:
    """The answer of prompt ``index`` (see ``Answer``)."""

    index: int
    ids: list[int]
    finished: bool
    text: str | None


class _Writer:
    """Answers prompts with continuous batching."""

    def __init__(self, model: Model, generate: GenerateConfig, decode: Decode | None) -> None:
        self.params, self.mesh = model.params, model.mesh
        self.generate, self.decode = generate, decode
        self.functions = compiled_functions(
            model.config,
            model.mesh,
            generate.sampling,
            generate.max_new_tokens,
        )
        self.seed = np.uint32(generate.seed)
        with jax.set_mesh(model.mesh):
            self.weights = self.functions.prepare(model.params)

    def run(self, prompts: Sequence[_Row], rows: int, length: int) -> Iterator[list[_Written]]:
        """Answers prompts in a batch of ``rows``, whose ring cache holds prompts of up to ``length`` tokens.

        Yields:
          The answers that ended with the same call of the device.
        """
        waiting = list(reversed(prompts))
        batch: list[_Row | None] = [None] * rows
        slots = length + -(-self.generate.max_new_tokens // CHUNK) * CHUNK
        cache = self.functions.empty_cache(rows, slots)
        while waiting or any(batch):
            free = [index for index, row in enumerate(batch) if row is None]
            # A prefill of a few rows would read all weights for little work.
            if waiting and (len(free) >= min(len(waiting), max(1, rows // 4))):
                cache = self._enter(cache, batch, free, waiting)
            else:
                cache, batch = self._shrink(cache, batch)
                cache = self._write(cache, batch)
            ended = []
            for index, row in enumerate(batch):
                if row is not None and (written := self._ended(row)):
                    batch[index] = None
                    ended.append(written)
            if ended:
                yield ended

    def _enter(
        self, cache: RingCache, batch: list[_Row | None], free: list[int], waiting: list[_Row]
    ) -> RingCache:
        """Prefills waiting prompts into free rows of the batch, and takes their first tokens."""
        rows = len(batch)
        wanted = min(len(free), len(waiting))
        heights = (batching.row_count(self.mesh, max(1, rows // part)) for part in (4, 2, 1))
        height = next(size for size in heights if size >= wanted)
        entering = [waiting.pop() for _ in range(wanted)]
        longest = max(len(row.prompt) for row in entering)
        capacity = cache.valid.shape[1]
        table = batching.right_aligned(
            [row.prompt for row in entering], height, min(capacity, batching.bucket(longest, capacity))
        )
        numbers = np.zeros(height, np.int32)
        numbers[: len(entering)] = [row.number for row in entering]
        arrays = tuple(batching.on_mesh(self.mesh, array) for array in batching.as_inputs(table, PAD))
        tokens, found = self.functions.prefill(self.params, arrays, numbers, self.seed)
        source = np.full(rows, -1, np.int32)
        for number, (index, row) in enumerate(zip(free, entering, strict=False)):
            batch[index], source[index] = row, number
        cache = self.functions.insert(cache, found, source)
        self._take(entering, np.asarray(tokens)[: len(entering), None])
        return cache

    def _shrink(self, cache: RingCache, batch: list[_Row | None]) -> tuple[RingCache, list[_Row | None]]:
        """Reduces the batch to a quarter of its rows once the active ones fit; each size is compiled once."""
        active = [index for index, row in enumerate(batch) if row is not None]
        height = batching.row_count(self.mesh, max(1, len(batch) // 4))
        if len(active) > height or height >= len(batch):
            return cache, batch
        kept = [*active, *(index for index, row in enumerate(batch) if row is None)][:height]
        return self.functions.keep(cache, np.array(kept, np.int32)), [batch[index] for index in kept]

    def _write(self, cache: RingCache, batch: Sequence[_Row | None]) -> RingCache:
        """Writes a chunk of tokens for every active row."""
        state = np.zeros((4, len(batch)), np.int32)  # token, its position, tokens so far, prompt's number
        for index, row in enumerate(batch):
            if row is not None:
                size = len(row.ids)
                state[:, index] = (row.ids[-1], len(row.prompt) + size - 1, size, row.number)
        alive = np.array([row is not None for row in batch])
        written, cache = self.functions.chunk(self.weights, cache, state, alive, self.seed)
        table = np.asarray(written)
        active = [index for index, row in enumerate(batch) if row is not None]
        self._take([row for row in batch if row is not None], table[active])
        return cache

    def _take(self, rows: Sequence[_Row], table: np.ndarray) -> None:
        """Appends the tokens of a call, up to ``</s>`` and ``max_new_tokens``."""
        for row, ids in zip(rows, table.tolist(), strict=True):
            left = self.generate.max_new_tokens - len(row.ids)
            row.ids += ids[: min(left, ids.index(EOS) + 1 if EOS in ids else left)]
            if BROKEN in row.ids:
                raise Fault("a logit is not finite: the model's parameters are damaged or hold NaN")

    def _ended(self, row: _Row) -> _Written | None:
        """The answer, if it has come to its end."""
        finished = row.ids[-1] == EOS
        ids = row.ids[:-1] if finished else row.ids
        if self.generate.stop and self.decode is not None:
            found = cut_at_stop(ids, self.generate.stop, self.decode)
            if found:
                return _Written(row.index, found[0], True, found[1])
        if finished or len(row.ids) >= self.generate.max_new_tokens:
            text = None if self.decode is None else self.decode(ids)
            return _Written(row.index, ids, finished, text)
        return None


@dataclasses.dataclass(frozen=True)
class CompiledFunctions:
    """The compiled functions of one model, mesh and way of choosing tokens."""

    prepare: Callable[..., Any]
    empty_cache: Callable[..., RingCache]
    prefill: Callable[..., tuple[jax.Array, Prefill]]
    insert: Callable[..., RingCache]
    keep: Callable[..., RingCache]
    chunk: Callable[..., tuple[jax.Array, RingCache]]


@functools.lru_cache(maxsize=4)
def compiled_functions(
    config: OptConfig, mesh: jax.sharding.Mesh, sampling: Sampling, new_tokens: int
) -> CompiledFunctions:
    """Compiled once per shape; ``mesh`` is the one in force, since compiled functions belong to it."""

    def prefill(
        params: Any, arrays: tuple[jax.Array, ...], numbers: jax.Array, seed: jax.Array
    ) -> tuple[jax.Array, Prefill]:
        logits, found = decoding.prefill(config, params, *arrays)
        tokens = pick(logits, sampling, seed, numbers, jnp.zeros_like(numbers))
        return constrain(tokens, ("length",)), found

    def chunk(
        weights: Any, cache: RingCache, state: Any, alive: Any, seed: Any
    ) -> tuple[jax.Array, RingCache]:
        tokens, positions, counts, numbers = state

        def unfinished(carry: tuple[Any, ...]) -> jax.Array:
            return (carry[0] < CHUNK) & jnp.any(carry[3])

        def step(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            done, tokens, written, alive, cache = carry
            logits, cache = decoding.step(
                config, weights, cache, tokens=tokens, positions=positions + done, alive=alive
            )
            tokens = jnp.where(alive, pick(logits, sampling, seed, numbers, counts + done), EOS)
            written = jax.lax.dynamic_update_slice(written, tokens[:, None], (0, done))
            done += 1
            return done, tokens, written, alive & (tokens != EOS) & (counts + done < new_tokens), cache

        start = jnp.full((tokens.shape[0], CHUNK), EOS, jnp.int32)
        carry = (jnp.int32(0), tokens, start, alive, cache)
        _, _, written, _, cache = jax.lax.while_loop(unfinished, step, carry)
        return constrain(written, ("replicated_batch", "length")), cache  # replicated: every process reads it

    return CompiledFunctions(
        prepare=functools.partial(decoding.decoding_params, config),
        empty_cache=jax.jit(functools.partial(decoding.empty_cache, config), static_argnums=(0, 1)),
        prefill=jax.jit(prefill),
        insert=jax.jit(decoding.insert, donate_argnums=0),
        keep=jax.jit(decoding.keep_rows),
        chunk=jax.jit(chunk, donate_argnums=1),
    )
