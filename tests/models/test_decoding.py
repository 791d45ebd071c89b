"""The cache of keys and values against the model's whole forward pass, whatever enters, leaves or wraps."""

import functools

import jax
import numpy as np
import pytest
from support.random_opt import POST_NORM, PRE_NORM, random_params

from iml_jax.models import decoding, opt
from iml_jax.parallel.mesh import MeshConfig, make_mesh, single_device

FAMILIES = {"pre_norm": PRE_NORM, "350m_shape": POST_NORM}
ROWS, SLOTS, PROMPT = 3, 14, 6  # of the ring; the longest text fills it


@pytest.fixture(params=FAMILIES, scope="module")
def model(request):
    """(config, parameters, logits(text) [length, vocabulary] of the forward pass over the whole text)."""
    config = FAMILIES[request.param]
    params = random_params(config, np.random.default_rng(3))

    @jax.jit
    def forward(params, ids):
        places = np.arange(SLOTS, dtype=np.int32)[None]
        return opt.logits(config, params, opt.forward(config, params, ids, places, np.ones_like(places)))

    def whole(text):
        ids = np.full((1, SLOTS), 1, np.int32)
        ids[0, : len(text)] = text  # what follows a token is never seen by it
        return np.asarray(forward(params, ids))[0, : len(text)]

    with single_device():
        yield config, params, whole


@functools.cache
def compiled(config):
    """``step``, ``prefill`` and ``insert``, compiled once for all tests of a model."""
    return (
        jax.jit(functools.partial(decoding.step, config)),
        jax.jit(functools.partial(decoding.prefill, config)),
        jax.jit(decoding.insert),
    )


class Writer:
    """A cache whose rows read fixed texts, each with its own prompt; keeps the logits of every row's text."""

    def __init__(self, config, params, rows=ROWS):
        self._params = params
        self._weights = decoding.decoding_params(config, params)
        self._step, self._prefill, self._insert = compiled(config)
        self.cache = decoding.empty_cache(config, rows, SLOTS)
        self.rows = [None] * rows  # [text, tokens read, [logits of each token from the prompt's last on]]

    def enter(self, texts, side="left"):
        """Prompts enter rows; ``texts``: row -> (text, tokens of it that are the prompt)."""
        ids, places, segments = (np.zeros((len(self.rows), PROMPT), np.int32) for _ in range(3))
        source = np.full(len(self.rows), -1, np.int32)
        for number, (row, (text, size)) in enumerate(texts.items()):
            at = slice(PROMPT - size, PROMPT) if side == "left" else slice(0, size)
            ids[number, at], places[number, at], segments[number, at] = text[:size], np.arange(size), 1
            source[row] = number
        last, prompts = self._prefill(self._params, ids, places, segments)
        self.cache = self._insert(self.cache, prompts, source)
        last = np.asarray(last).T
        for number, (row, (text, size)) in enumerate(texts.items()):
            self.rows[row] = [text, size, [last[number]] if side == "left" else []]

    def step(self):
        """Every row reads its next token; a row without one reads what nobody may ever see."""
        alive = np.array([row is not None and row[1] < len(row[0]) for row in self.rows])
        read = zip(self.rows, alive, strict=True)
        pairs = [(row[0][row[1]], row[1]) if yes else (7, 0) for row, yes in read]
        tokens, positions = np.array(pairs, np.int32).T
        found, self.cache = self._step(
            self._weights, self.cache, tokens=tokens, positions=positions, alive=alive
        )
        for number in np.flatnonzero(alive):
            self.rows[number][1] += 1
            self.rows[number][2].append(np.asarray(found)[:, number])

    def done(self, number):
        """Whether a row has read its whole text."""
        row = self.rows[number]
        return row is None or row[1] == len(row[0])


def check(row, whole):
    """Every logit that a row got is the forward pass' own."""
    text, read, found = row
    assert found
    np.testing.assert_allclose(np.stack(found), whole(text)[read - len(found) : read], atol=5e-5)


def some_text(rng, longest=SLOTS):
    size = int(rng.integers(1, PROMPT + 1))
    return rng.integers(4, PRE_NORM.vocab_tokens, int(rng.integers(size + 1, longest + 1))), size


@pytest.fixture(params=[False, True], ids=["stacked", "copied"])
def either_layout(request, monkeypatch):
    """Decoding from the stacked parameters as on an accelerator, and from a CPU's copy."""
    monkeypatch.setattr(decoding, "copies_params", lambda: request.param)


@pytest.mark.usefixtures("either_layout")
def test_rows_enter_and_leave_a_ring_that_wraps_around(model):
    config, params, whole = model
    rng = np.random.default_rng()
    writer = Writer(config, params)
    finished = 0
    for _ in range(4 * SLOTS):  # the cache goes round four times
        idle = [n for n in range(ROWS) if writer.done(n)]
        enters = {n: some_text(rng) for n in idle if rng.random() < 0.7}
        for number in enters:
            if writer.rows[number] is not None:
                check(writer.rows[number], whole)
                finished += 1
        if enters:
            writer.enter(enters)
        writer.step()
    assert finished >= 8
    for row in filter(None, writer.rows):
        check(row, whole)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_prompt_may_be_padded_on_either_side(model, side):
    """The vector that starts an answer needs the prompt at the right edge; keys and values do not.

    Padding on the left is overwritten before any token; on the right it takes slots from the answer.
    """
    config, params, whole = model
    rng = np.random.default_rng()
    writer = Writer(config, params)
    longest = [SLOTS if side == "left" else SLOTS - PROMPT + size for size in (1, 4, PROMPT)]
    texts = [rng.integers(4, config.vocab_tokens, length) for length in longest]
    writer.enter({row: (texts[row], size) for row, size in enumerate((1, 4, PROMPT))}, side)
    while not all(map(writer.done, range(ROWS))):
        writer.step()
    for row in writer.rows:
        check(row, whole)


def test_text_that_fills_the_ring_is_seen_to_its_first_token(model):
    """The last token of the longest text sees its first one: another first token gives other logits."""
    config, params, whole = model
    rng = np.random.default_rng()
    text = rng.integers(4, config.vocab_tokens, SLOTS)
    other = np.concatenate([[4 if text[0] != 4 else 5], text[1:]])
    writer = Writer(config, params)
    writer.enter({0: (text, 2), 2: (other, 2)})
    while not writer.done(0):
        writer.step()
    check(writer.rows[0], whole)
    assert np.abs(writer.rows[0][2][-1] - writer.rows[2][2][-1])[: config.vocab_tokens].max() > 1e-3


def test_a_smaller_batch_continues_with_the_rows_that_stay(model):
    config, params, whole = model
    rng = np.random.default_rng()
    writer = Writer(config, params)
    writer.enter({row: (rng.integers(4, config.vocab_tokens, SLOTS), 3 + row) for row in range(ROWS)})
    for _ in range(4):
        writer.step()
    writer.cache = decoding.keep_rows(writer.cache, np.array([2, 0], np.int32))
    writer.rows = [writer.rows[2], writer.rows[0]]
    assert writer.cache.valid.shape == (2, SLOTS)
    while not all(map(writer.done, range(2))):
        writer.step()
    for row in writer.rows:
        check(row, whole)


def test_padded_vocabulary_rows_never_win_and_dead_rows_are_forgotten(model):
    config, params, _ = model
    alive = np.array([True, False, True])
    found, cache = compiled(config)[0](
        decoding.decoding_params(config, params), decoding.empty_cache(config, ROWS, SLOTS),
        tokens=np.array([5, 6, 7], np.int32), positions=np.zeros(ROWS, np.int32), alive=alive,
    )  # fmt: skip
    assert (np.asarray(found)[config.vocab_tokens :] < -1e29).all()
    np.testing.assert_array_equal(cache.valid, alive[:, None] & (np.arange(SLOTS) == 0))
    assert int(cache.slot) == 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_a_prompts_keys_and_values(model, side):
    """Those of each prompt alone and of prompts of unlike length, padded on either side."""
    config, params, _ = model
    rng = np.random.default_rng()
    sizes = (3, PROMPT)
    ids, places, segments = (np.zeros((2, PROMPT), np.int32) for _ in range(3))
    for row, size in enumerate(sizes):
        at = slice(PROMPT - size, PROMPT) if side == "left" else slice(0, size)
        ids[row, at] = rng.integers(4, config.vocab_tokens, size)
        places[row, at], segments[row, at] = np.arange(size), 1
    prefill = compiled(config)[1]
    _, padded = prefill(params, ids, places, segments)
    np.testing.assert_array_equal(padded.valid, segments > 0)
    for row, size in enumerate(sizes):
        at = np.flatnonzero(segments[row])
        alone = prefill(
            params, ids[row : row + 1, at], places[row : row + 1, at], np.ones((1, size), np.int32)
        )
        for name in ("keys", "values"):
            found = getattr(padded, name)[:, row][:, :, at]
            np.testing.assert_allclose(found, getattr(alone[1], name)[:, 0], atol=2e-5)


def test_a_full_cache_says_so(model):
    """A row longer than the cache gets NaN, other rows do not; a prompt longer than it is an error."""
    config, params, _ = model
    rng = np.random.default_rng()
    writer = Writer(config, params)
    writer.enter({0: (rng.integers(4, config.vocab_tokens, SLOTS + 1), 3)})
    for _ in range(SLOTS - 3):
        writer.step()
    assert np.isfinite(writer.rows[0][2][-1][: config.vocab_tokens]).all()
    writer.enter({1: (rng.integers(4, config.vocab_tokens, 5), 3)})
    writer.step()
    assert np.isnan(writer.rows[0][2][-1][: config.vocab_tokens]).all()
    assert np.isfinite(writer.rows[1][2][-1][: config.vocab_tokens]).all()
    small = decoding.empty_cache(config, 1, 4)
    ids = np.ones((1, 5), np.int32)
    _, prompts = compiled(config)[1](params, ids, ids, ids)
    with pytest.raises(ValueError, match="prompts of 5 tokens do not fit into a cache of 4 slots"):
        decoding.insert(small, prompts, np.zeros(1, np.int32))


@pytest.mark.slow
def test_the_ring_on_a_mesh_is_the_ring_on_one_device():
    """2x2x2: rows, widths and heads sharded; the same logits."""
    rng = np.random.default_rng()
    config = PRE_NORM
    params = random_params(config, rng)
    texts = {row: (rng.integers(4, config.vocab_tokens, 9), 3) for row in range(4)}
    found = []
    for mesh in (make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1]), make_mesh(MeshConfig(2, 2, 2))):
        with jax.set_mesh(mesh):
            writer = Writer(config, params, rows=4)
            writer.enter(texts)
            for _ in range(6):
                writer.step()
            found.append(np.stack([np.stack(row[2]) for row in writer.rows]))
    np.testing.assert_allclose(found[1], found[0], atol=5e-5)
