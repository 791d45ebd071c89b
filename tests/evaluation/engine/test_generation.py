"""Greedy answers against transformers' generate, truncation, devices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.random_opt import FAMILIES, PRE_NORM, in_transformers, on_mesh, random_params

from iml_jax.evaluation.engine import generation
from iml_jax.evaluation.engine.generation import GenerateConfig, cut_at_stop, generate_greedily, write_answers
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.models import decoding
from iml_jax.models.handle import Model


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def random_prompts(rng: np.random.Generator, count: int, longest: int = 44) -> list[list[int]]:
    return [rng.integers(4, 91, rng.integers(1, longest + 1)).tolist() for _ in range(count)]


def by_transformers(model, config, prompt: list[int], new_tokens: int) -> list[int]:
    import torch

    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=1,
        suppress_tokens=list(range(config.vocab_tokens, config.vocab_rows)),
    )
    return output[0, len(prompt) :].tolist()


def favour(params, token: int, times: float) -> None:
    """Makes one token likelier than random weights would."""
    params["token_embedding"]["embedding"][token] *= times


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_transformers(family: str, rng: np.random.Generator) -> None:
    config = FAMILIES[family]
    prompts = random_prompts(rng, 24)
    for _ in range(30):  # some random models say the same to every prompt, which would compare little
        params = random_params(config, rng)
        favour(params, 2, 1.7)  # so that some answers end early
        placed, mesh = on_mesh(config, params)
        done: list[int] = []
        found = generate_greedily(
            Model(config, placed, mesh), prompts, GenerateConfig(20, 5), advance=done.append
        )
        assert sum(done) == len(prompts)
        if len({answer.ids for answer in found}) > 5:
            break
    model = in_transformers(config, params)
    lengths = set()
    for prompt, answer in zip(prompts, found, strict=True):
        expected = by_transformers(model, config, prompt, 20)
        assert answer.finished == (2 in expected)
        assert list(answer.ids) == [token for token in expected if token != 2]
        assert answer.truncated_tokens == 0
        lengths.add(len(answer.ids))
    assert len({answer.ids for answer in found}) > 5
    assert all(token < config.vocab_tokens for answer in found for token in answer.ids)


def test_stops_at_end_of_text(rng: np.random.Generator) -> None:
    """A model whose every next token is </s> answers nothing; one that never says it fills the answer."""
    params = random_params(PRE_NORM, rng)
    params["final_norm"]["bias"][:] = 0
    params["final_norm"]["scale"][:] = 0
    params["final_norm"]["bias"][0] = 1  # the hidden state is the first unit vector
    params["token_embedding"]["embedding"][:, 0] = 0
    params["token_embedding"]["embedding"][2, 0] = 1
    placed, mesh = on_mesh(PRE_NORM, params)
    (empty,) = generate_greedily(Model(PRE_NORM, placed, mesh), [[5, 6]], GenerateConfig(6, 2))
    assert (empty.ids, empty.finished) == ((), True)
    params["token_embedding"]["embedding"][2, 0] = -1
    params["token_embedding"]["embedding"][95, 0] = 9  # a padded row, which must not win
    params["token_embedding"]["embedding"][1, 0] = 2  # <pad> may
    placed, mesh = on_mesh(PRE_NORM, params)
    (full,) = generate_greedily(Model(PRE_NORM, placed, mesh), [[5, 6]], GenerateConfig(6, 2))
    assert (full.ids, full.finished) == ((1,) * 6, False)


def test_too_long_prompts_lose_their_left(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    placed, mesh = on_mesh(PRE_NORM, params)
    long = rng.integers(4, 91, 90).tolist()
    whole, cut = generate_greedily(Model(PRE_NORM, placed, mesh), [long, long[-44:]], GenerateConfig(20, 2))
    assert whole.ids == cut.ids
    assert (whole.truncated_tokens, cut.truncated_tokens) == (46, 0)


@pytest.mark.slow
@pytest.mark.parametrize("drawing", [{}, {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "seed": 5}])
def test_any_mesh_batch_size_and_layout(drawing, rng: np.random.Generator, monkeypatch) -> None:
    """With many short answers among long ones, so that rows leave and enter at different times."""
    params = random_params(PRE_NORM, rng)
    favour(params, 2, 1.7)
    prompts = random_prompts(rng, 21, longest=30)
    answers = []
    for shape, batch_size, copied in [
        ((1, 1, 1), 5, True),
        ((1, 1, 1), 21, False),
        ((2, 2, 2), 8, True),
        ((2, 2, 2), 4, False),
    ]:
        monkeypatch.setattr(decoding, "copies_params", lambda copied=copied: copied)
        generation.compiled_functions.cache_clear()
        placed, mesh = on_mesh(PRE_NORM, params, *shape)
        config = GenerateConfig(24, batch_size, **drawing)
        answers.append(write_answers(Model(PRE_NORM, placed, mesh), prompts, config))
    assert all(found == answers[0] for found in answers[1:])
    assert len({len(answer.ids) for answer in answers[0]}) > 3


@pytest.mark.slow
def test_100_prompts(rng: np.random.Generator) -> None:
    """Greedy ids of transformers' generate, with </s> before each prompt as its tokenizer has it."""
    prompts = random_prompts(rng, 100, longest=43)
    for _ in range(30):
        params = random_params(PRE_NORM, rng)
        favour(params, 2, 1.5)
        placed, mesh = on_mesh(PRE_NORM, params)
        found = generate_greedily(Model(PRE_NORM, placed, mesh), prompts, GenerateConfig(20, 8, prefix="eos"))
        if len({answer.ids for answer in found}) > 20:
            break
    assert len({answer.ids for answer in found}) > 20
    model = in_transformers(PRE_NORM, params)
    for prompt, answer in zip(prompts, found, strict=True):
        expected = by_transformers(model, PRE_NORM, [2, *prompt], 20)
        assert list(answer.ids) == expected[: expected.index(2) if 2 in expected else None]


def test_draws_depend_on_seed_and_number_only(rng: np.random.Generator) -> None:
    placed, mesh = on_mesh(PRE_NORM, random_params(PRE_NORM, rng))
    prompts = [[5, 6, 7]] * 4
    config = GenerateConfig(8, 4, temperature=1.0, seed=1)
    first = write_answers(Model(PRE_NORM, placed, mesh), prompts, config)
    assert len({answer.ids for answer in first}) > 1  # the same prompt under other numbers
    (third,) = write_answers(Model(PRE_NORM, placed, mesh), prompts[:1], config, numbers=[2])
    assert third == first[2]
    other = write_answers(Model(PRE_NORM, placed, mesh), prompts, dataclasses.replace(config, seed=2))
    assert other != first


def test_stop_texts(rng: np.random.Generator) -> None:
    def decode(ids) -> str:
        return " ".join(f"w{token}" for token in ids)

    placed, mesh = on_mesh(PRE_NORM, random_params(PRE_NORM, rng))
    prompts = random_prompts(rng, 6)
    config = GenerateConfig(19, 2, temperature=2.0)
    free = write_answers(Model(PRE_NORM, placed, mesh), prompts, config, decode=decode)
    place = next(i for i, answer in enumerate(free) if len(answer.ids) > 9 and len(set(answer.ids)) > 5)
    ids = free[place].ids
    middle = next(i for i in range(3, 9) if ids[i] not in ids[:i])
    stop = f" w{ids[middle]}"
    config = dataclasses.replace(config, stop=("nowhere", stop))
    found = write_answers(Model(PRE_NORM, placed, mesh), prompts, config, decode=decode)
    assert found[place].ids == ids[:middle]
    assert found[place].text == decode(ids[:middle])
    assert found[place].finished
    assert all(stop not in (answer.text or "") for answer in found)
    with pytest.raises(ValueError, match="decode"):
        write_answers(Model(PRE_NORM, placed, mesh), prompts, config)


def test_a_stop_text_inside_a_token_cuts_the_text_there() -> None:
    words = {1: "He said", 2: " no.\nQ", 3: ": more"}

    def decode(ids) -> str:
        return "".join(words[token] for token in ids)

    assert cut_at_stop([1, 2, 3], ["Q:", "\n"], decode) == ([1], "He said no.")
    assert cut_at_stop([1, 2, 3], ["Q:"], decode) == ([1], "He said no.\n")
    assert cut_at_stop([1, 3], ["Q:"], decode) is None


def test_mistakes(rng: np.random.Generator) -> None:
    params = random_params(PRE_NORM, rng)
    placed, mesh = on_mesh(PRE_NORM, params)
    with pytest.raises(UserError, match=r"Generate\.max_new_tokens is 64, but the model has only 64"):
        generate_greedily(Model(PRE_NORM, placed, mesh), [[5]], GenerateConfig(64))
    with pytest.raises(UserError, match=r"Generate\.batch_size is 0"):
        generate_greedily(
            Model(PRE_NORM, placed, mesh), [[5]], dataclasses.replace(GenerateConfig(8), batch_size=0)
        )
    with pytest.raises(UserError, match="holds an empty text"):
        generate_greedily(Model(PRE_NORM, placed, mesh), [[5]], GenerateConfig(8, stop=("",)))
    with pytest.raises(UserError, match="answers are greedy"):
        generate_greedily(
            Model(PRE_NORM, placed, mesh), [[5]], GenerateConfig(8, temperature=1.0, stop=("a",))
        )
    with pytest.raises(ValueError, match="at least one token"):
        generate_greedily(Model(PRE_NORM, placed, mesh), [[5], []], GenerateConfig(8))
    params["final_norm"]["scale"][3] = np.nan
    placed, mesh = on_mesh(PRE_NORM, params)
    with pytest.raises(Fault, match="not finite"):
        generate_greedily(Model(PRE_NORM, placed, mesh), [[5]], GenerateConfig(8, 1))
