"""Prompt variants: names, the distribution of demonstrations that OPT-IML reports, refusals."""

from __future__ import annotations

import collections
import dataclasses
import pickle

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.variants import FewShot, MetaICL, ZeroShot, shot_probabilities
from iml_jax.foundation.errors import UserError

EXAMPLE = Example("promptsource", "glue/qqp", "1", "train", "", "Same?", ("yes",))


def each(count: int) -> list[Example]:
    return [dataclasses.replace(EXAMPLE, example_id=str(number)) for number in range(count)]


@pytest.mark.parametrize(("exponent", "percent"), [(4, 92.5), (2, 67.1)])
def test_the_papers_share_of_examples_without_demonstrations(exponent: float, percent: float) -> None:
    by_hand = [1 / (k + 1) ** exponent for k in range(6)]  # k = 0..5, weight (k + 1) ** -a
    assert round(100 * by_hand[0] / sum(by_hand), 1) == percent
    probabilities = shot_probabilities(exponent, 5)
    assert probabilities == pytest.approx([weight / sum(by_hand) for weight in by_hand])
    count = 20_000
    drawn = collections.Counter(MetaICL(exponent).shots_of(example, 7) for example in each(count))
    for k, probability in enumerate(probabilities):
        deviation = (count * probability * (1 - probability)) ** 0.5
        assert abs(drawn[k] - count * probability) < 5 * deviation
    assert set(drawn) <= set(range(6))


def test_draws_hang_on_the_example_and_the_seed() -> None:
    variant = MetaICL(1.0, separators=("\n\n", "\n\n\n", "###"))

    def draws(seed: int, **changes: str) -> list[tuple[int, str]]:
        examples = [dataclasses.replace(example, **changes) for example in each(60)]
        return [(variant.shots_of(e, seed), variant.separator_of(e, seed)) for e in examples]

    assert draws(0) == draws(0)
    assert {separator for _, separator in draws(0)} == set(variant.separators)
    assert all(draws(0) != other for other in (draws(1), draws(0, task="x"), draws(0, template="y")))
    assert {FewShot(3).shots_of(example, 0) for example in each(9)} == {3}
    assert {ZeroShot().shots_of(example, 0) for example in each(9)} == {0}


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (ZeroShot(), "zero_shot"),
        (ZeroShot(options_block=True), "zero_shot_options"),
        (FewShot(), "five_shot"),
        (FewShot(2), "two_shot"),
        (FewShot(32), "32_shot"),
        (FewShot(separators=("\n\n",)), "five_shot_n2"),
        (MetaICL(4), "metaicl_a4"),
        (MetaICL(2.5, most_shots=3, suffix_loss=True), "metaicl_a2.5_k3_sf"),
    ],
)
def test_names(variant: FewShot, name: str) -> None:
    assert variant.name == name
    assert pickle.loads(pickle.dumps(variant)) == variant
    assert variant.most == getattr(variant, "shots", getattr(variant, "most_shots", 0))


def test_other_separators_have_another_name() -> None:
    names = {MetaICL(separators=s).name for s in (("###",), ("\n\n", "###"), ("\n\n\n",), ("\n",))}
    assert len(names) == 4


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (FewShot, {"shots": 0}),
        (FewShot, {"answer_tokens": -1}),
        (FewShot, {"separators": ()}),
        (MetaICL, {"separators": ("\n", "")}),
        (MetaICL, {"most_shots": 0}),
        (MetaICL, {"exponent": -1.0}),
        (MetaICL, {"exponent": float("nan")}),
    ],
)
def test_refusals(kind: type, bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"{kind.__name__}.{next(iter(bad))}"):
        kind(**bad)
