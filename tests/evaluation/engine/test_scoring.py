"""Log-likelihoods against transformers' PyTorch OPT, truncation, devices, choice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.random_opt import FAMILIES, PRE_NORM, in_transformers, on_mesh, random_params

from iml_jax.evaluation.engine import scoring
from iml_jax.evaluation.engine.scoring import Candidates
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.models.handle import Model


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def random_questions(
    rng: np.random.Generator, count: int, prompt: int = 50, tokens: int = 91
) -> list[Candidates]:
    def ids(low: int, high: int) -> list[int]:
        return rng.integers(4, tokens, rng.integers(low, high)).tolist()

    return [
        Candidates(ids(1, prompt), [[*ids(0, 13), 2] for _ in range(rng.integers(1, 5))])
        for _ in range(count)
    ]


def by_transformers(config, params, question: Candidates) -> list[float]:
    return [one[0] for one in judged(in_transformers(config, params), config, question)]


def judged(model, config, question: Candidates) -> list[tuple[float, int, bool]]:
    """transformers' log-likelihood, counted tokens and greediness of each option."""
    import torch

    found = []
    for option in question.options:
        sequence = torch.tensor([[*question.prompt, *option]])
        if sequence.shape[1] == 1:  # nothing to predict </s> from
            found.append((0.0, 0, True))
            continue
        with torch.no_grad():
            logits = model(sequence[:, :-1]).logits[0].clone()
        logits[:, config.vocab_tokens :] = -torch.inf
        first = max(0, len(question.prompt) - 1)
        logs = logits.log_softmax(-1).gather(1, sequence[0, 1:, None])[first:, 0]
        greedy = bool((logits.argmax(-1) == sequence[0, 1:])[first:].all())
        found.append((float(logs.double().sum()), len(logs), greedy))
    return found


def with_favourites(model, config, questions: list[Candidates]) -> list[Candidates]:
    """The questions, each with one more option: what the model itself would write, </s> or not."""
    import torch

    longer = []
    for question in questions:
        ids = list(question.prompt)
        for _ in range(3):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1, : config.vocab_tokens].argmax()))
        longer.append(Candidates(question.prompt, [*question.options, ids[len(question.prompt) :]]))
    return longer


@pytest.mark.parametrize("prefix", ["none", "eos"])
@pytest.mark.parametrize(
    "count",
    [
        40,
        pytest.param(160, marks=pytest.mark.nightly(seconds=20, reason="500 pairs; the suite compares 120")),
    ],
)
def test_pairs_and_their_greedy_tokens(count: int, prefix: str, rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    model = in_transformers(PRE_NORM, params)
    questions = with_favourites(model, PRE_NORM, random_questions(rng, count, prompt=40))
    assert sum(len(question.options) for question in questions) > 3 * count
    placed, mesh = on_mesh(PRE_NORM, params)
    before = [2] if prefix == "eos" else []
    found = scoring.score(Model(PRE_NORM, placed, mesh), questions, 8, prefix=prefix)
    flags = []
    for question, one in zip(questions, found, strict=True):
        expected = judged(model, PRE_NORM, Candidates([*before, *question.prompt], question.options))
        np.testing.assert_allclose(one.values, [value for value, _, _ in expected], atol=1e-3)
        assert one.tokens == tuple(count for _, count, _ in expected)
        assert one.greedy == tuple(greedy for _, _, greedy in expected)
        flags += one.greedy
    assert count / 50 < sum(flags) < len(flags) - count / 16


def test_options_do_not_see_each_other(rng: np.random.Generator) -> None:
    """Together and in packed rows, alone, and in so many that a prompt stands in several rows."""
    placed, mesh = on_mesh(PRE_NORM, random_params(PRE_NORM, rng))
    prompt = rng.integers(4, 91, 20).tolist()
    options = [[*rng.integers(4, 91, n % 7).tolist(), 2] for n in range(40)]
    (together,) = scoring.score(Model(PRE_NORM, placed, mesh), [Candidates(prompt, options)], 4)
    alone = scoring.score(Model(PRE_NORM, placed, mesh), [Candidates(prompt, [one]) for one in options], 1)
    np.testing.assert_allclose(together.values, [one.values[0] for one in alone], atol=1e-4)
    assert np.std(together.values) > 1


def test_end_not_counted(rng: np.random.Generator) -> None:
    placed, mesh = on_mesh(PRE_NORM, random_params(PRE_NORM, rng))
    question = Candidates([5, 6, 7], [[8, 9, 2], [8, 9]])
    (found,) = scoring.score(Model(PRE_NORM, placed, mesh), [question], 2, count_end=False)
    assert found.values[0] == pytest.approx(found.values[1], abs=1e-4)
    assert found.tokens == (2, 2)
    (counted,) = scoring.score(Model(PRE_NORM, placed, mesh), [question], 2)
    assert counted.tokens == (3, 2)
    assert counted.values[0] < found.values[0] - 1e-3
    with pytest.raises(UserError, match="empty, and its </s> is not counted"):
        scoring.score(Model(PRE_NORM, placed, mesh), [Candidates([5], [[2]])], 2, count_end=False)


def test_prefix_stays_when_a_prompt_is_cut(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    placed, mesh = on_mesh(PRE_NORM, params)
    long = rng.integers(4, 91, 100).tolist()
    options = [[7, 8, 9, 2], [7, 2]]
    whole = [*rng.integers(4, 91, 63).tolist(), 2]  # with the prefix it leaves no room for a prompt
    cut, none = scoring.score(
        Model(PRE_NORM, placed, mesh), [Candidates(long, options), Candidates(long, [whole])], 2, prefix="eos"
    )
    assert (cut.truncated_tokens, none.truncated_tokens) == (40, 100)
    expected = by_transformers(PRE_NORM, params, Candidates([2, *long[40:]], options))
    np.testing.assert_allclose(cut.values, expected, atol=1e-3)
    np.testing.assert_allclose(
        none.values, by_transformers(PRE_NORM, params, Candidates([2], [whole])), atol=1e-3
    )
    with pytest.raises(UserError, match=r"Score\.prefix is 'bos'; it must be one of none, eos"):
        scoring.check_prefix("bos", "Score.prefix")


def test_rolling(rng: np.random.Generator) -> None:
    """Each token once: whole windows of 64 predictions, the last with as much before it as fits."""
    params = random_params(PRE_NORM, rng)
    placed, mesh = on_mesh(PRE_NORM, params)
    texts = [rng.integers(4, 91, size).tolist() for size in (1, 63, 64, 65, 150, 0)]
    found = scoring.loglikelihood_rolling(Model(PRE_NORM, placed, mesh), texts, 4)
    long = [2, *texts[4]]
    windows = {
        0: [Candidates([2], [texts[0]])],
        1: [Candidates([2], [texts[1]])],
        2: [Candidates([2], [texts[2]])],
        3: [Candidates([2], [texts[3][:64]]), Candidates(texts[3][:64], [texts[3][64:]])],
        4: [
            Candidates([2], [long[1:65]]),
            Candidates(long[64:65], [long[65:129]]),
            Candidates(long[86:129], [long[129:]]),
        ],
        5: [],
    }
    for index, parts in windows.items():
        expected = sum(by_transformers(PRE_NORM, params, one)[0] for one in parts)
        assert found[index] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_transformers(family: str, rng: np.random.Generator) -> None:
    config = FAMILIES[family]
    params = random_params(config, rng)
    questions = [*random_questions(rng, 12), Candidates([], [[5, 6, 2], [2]])]
    placed, mesh = on_mesh(config, params)
    done: list[int] = []
    found = scoring.score(Model(config, placed, mesh), questions, 8, advance=done.append)
    assert sum(done) == sum(len(question.options) for question in questions)
    for question, likelihoods in zip(questions, found, strict=True):
        assert likelihoods.truncated_tokens == 0
        np.testing.assert_allclose(likelihoods.values, by_transformers(config, params, question), atol=1e-3)
    spread = [value for likelihoods in found for value in likelihoods.values]
    assert np.std(spread) > 1


def test_too_long_prompts_lose_their_left(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    placed, mesh = on_mesh(PRE_NORM, params)
    long = rng.integers(4, 91, 100).tolist()
    question = Candidates(long, [[7, 8, 9, 2], [7, 2]])
    # 64 positions: the longest candidate has 4 tokens, so 61 prompt tokens stay, for both candidates.
    (found,) = scoring.score(Model(PRE_NORM, placed, mesh), [question], 2)
    assert found.truncated_tokens == 39
    expected = by_transformers(PRE_NORM, params, Candidates(long[39:], question.options))
    np.testing.assert_allclose(found.values, expected, atol=1e-3)


def test_an_option_as_long_as_the_model_is_scored_whole(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    placed, mesh = on_mesh(PRE_NORM, params)
    option = [*rng.integers(4, 91, 63).tolist(), 2]
    question = Candidates(rng.integers(4, 91, 9).tolist(), [option])
    assert scoring.fits(question, PRE_NORM)
    (found,) = scoring.score(Model(PRE_NORM, placed, mesh), [question], 2)
    expected = by_transformers(PRE_NORM, params, Candidates(question.prompt[-1:], [option]))
    np.testing.assert_allclose(found.values, expected, atol=1e-3)
    longer = Candidates(question.prompt, [[5, *option]])
    assert not scoring.fits(longer, PRE_NORM)
    with pytest.raises(ValueError, match="longer than the model"):
        scoring.score(Model(PRE_NORM, placed, mesh), [longer], 2)


def test_blocks_of_logits_change_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(PRE_NORM, dropout=0.25)  # a config of its own, so that nothing is cached
    placed, mesh = on_mesh(config, random_params(config, rng))
    questions = random_questions(rng, 9)
    whole = scoring.score(Model(config, placed, mesh), questions, 4)
    scoring.compiled_scorer.cache_clear()
    monkeypatch.setattr(scoring, "BLOCK_LOGITS", 3 * 4 * config.vocab_rows)
    blocked = scoring.score(Model(config, placed, mesh), questions, 4)
    for one, other in zip(whole, blocked, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-4)
    scoring.compiled_scorer.cache_clear()


def test_any_mesh_and_batch_size(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    # One candidate fewer than full batches, so that ends are padded.
    questions = random_questions(rng, 11, prompt=20)
    shapes = [((1, 1, 1), 3), ((2, 2, 2), 8), ((4, 2, 1), 5), ((1, 2, 4), 1)]
    found = []
    for shape, batch_size in shapes:
        placed, mesh = on_mesh(PRE_NORM, params, *shape)
        answers = scoring.score(Model(PRE_NORM, placed, mesh), questions, batch_size)
        found.append(np.concatenate([answer.values for answer in answers]))
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, atol=1e-4)


def test_nan_parameters_are_a_fault(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    params["final_norm"]["scale"][3] = np.nan
    placed, mesh = on_mesh(PRE_NORM, params)
    with pytest.raises(Fault, match="not finite"):
        scoring.score(Model(PRE_NORM, placed, mesh), random_questions(rng, 2), 2)


def test_choice_and_ties() -> None:
    assert scoring.choose([-3.0, -1.0, -2.0], {1}) == (1, True)
    assert scoring.choose([-3.0, -1.0, -2.0], {2}) == (1, False)
    assert scoring.choose([-1.0, -1.0, -2.0], {0}) == (0, False)  # a tie with a wrong one is not right
    assert scoring.choose([-1.0, -2.0, -1.0], {0, 2}) == (0, True)  # the same text twice
    assert scoring.choose([-1.0], {0}) == (0, True)
