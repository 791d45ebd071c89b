"""Rates against a plain numpy restatement of metaseq's sampler, and against the order of training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.bench import rates
from iml_jax.data.mixing import MixtureOrder
from iml_jax.foundation.errors import UserError

common = settings(max_examples=200, deadline=None, database=None)
TASKS = st.lists(
    st.tuples(st.integers(1, 50_000), st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=12
)
APART = st.lists(st.tuples(st.integers(1, 9000), st.sampled_from("uvw")), min_size=1, max_size=5)


def restated(counts, owners, eta, proportions, *, alpha, clusters):
    """p_i = min(n_i, eta) / sum, smoothed, evened out by cluster, then benchmark proportions; normalised."""
    caps = np.minimum(counts, eta).astype(float)
    p = caps / caps.sum()
    p = p**alpha / (p**alpha).sum()
    owners = np.asarray(owners)
    if clusters is not None:
        even = np.zeros_like(p)
        for b in set(owners):
            present = sorted(set(np.asarray(clusters)[owners == b]))
            for c in present:
                mask = (owners == b) & (np.asarray(clusters) == c)
                even[mask] = p[mask] / p[mask].sum() * p[owners == b].sum() / len(present)
        p = even
    listed = sum(proportions.values())
    scaled = p.copy()
    for b in set(owners):
        mask = owners == b
        share = p[mask].sum()
        target = proportions[b] if b in proportions else share * (1 - listed)
        scaled[mask] *= target / share
    return scaled / scaled.sum()


@common
@given(
    TASKS,
    st.integers(1, 20_000),
    st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 0.3), max_size=3),
    st.sampled_from([1.0, 0.5, 0.0]),
    st.booleans(),
)
def test_rates_equal_the_restatement(tasks, eta, proportions, alpha, even):
    counts, owners, clusters = map(list, zip(*tasks, strict=True))
    proportions = {b: share for b, share in proportions.items() if b in owners}
    names = [f"t{i}" for i in range(len(tasks))]
    caps = {name: rates.eta_cap(count, eta) for name, count in zip(names, counts, strict=True)}
    found = rates.mixing_rates(
        caps,
        dict(zip(names, owners, strict=True)),
        proportions,
        smoothing=alpha,
        clusters=dict(zip(names, clusters, strict=True)) if even else None,
    )
    expected = restated(counts, owners, eta, proportions, alpha=alpha, clusters=clusters if even else None)
    np.testing.assert_allclose([found[n] for n in names], expected, rtol=1e-12)
    assert sum(found.values()) == pytest.approx(1)


@common
@given(
    TASKS,
    st.lists(st.tuples(st.integers(1, 9000), st.sampled_from("uvw")), min_size=1, max_size=5),
    st.data(),
)
def test_fixed_shares_are_exact_and_the_rest_is_scaled(tasks, apart, data):
    names = [f"t{i}" for i in range(len(tasks))]
    caps = {name: count for name, (count, _, _) in zip(names, tasks, strict=True)}
    owners = {name: owner for name, (_, owner, _) in zip(names, tasks, strict=True)}
    alone = rates.mixing_rates(caps, owners, {})
    extra = {f"x{i}": count for i, (count, _) in enumerate(apart)}
    extra_owners = {f"x{i}": owner for i, (_, owner) in enumerate(apart)}
    shares = {owner: data.draw(st.floats(0.001, 0.3), owner) for owner in sorted(set(extra_owners.values()))}
    found = rates.mixing_rates(caps | extra, owners | extra_owners, {}, shares)
    rest = 1 - sum(shares.values())
    for name in names:
        assert found[name] == pytest.approx(alone[name] * rest, rel=1e-12)
    for owner, share in shares.items():
        own = {name: extra[name] for name in extra if extra_owners[name] == owner}
        assert sum(found[name] for name in own) == pytest.approx(share, rel=1e-12)
        total = sum(own.values())
        for name, count in own.items():
            assert found[name] == pytest.approx(share * count / total, rel=1e-12)
    assert sum(found.values()) == pytest.approx(1)


def test_all_benchmarks_listed_get_what_was_asked():
    found = rates.mixing_rates(
        {"x": 10, "y": 30, "z": 5}, {"x": "a", "y": "a", "z": "b"}, {"a": 0.25, "b": 0.75}
    )
    assert found == pytest.approx({"x": 0.0625, "y": 0.1875, "z": 0.75})
    assert rates.mixing_rates({}, {}, {}) == {}
    # a task without examples, and a benchmark of nothing else
    found = rates.mixing_rates({"x": 10, "y": 0}, {"x": "a", "y": "b"}, {"a": 0.5, "b": 0.5})
    assert found == {"x": 1.0, "y": 0.0}


@pytest.mark.parametrize(
    ("caps", "proportions", "shares", "told"),
    [
        ({"x": 10}, {"a": 0.0}, {}, "rate 0"),
        ({"x": 0}, {}, {}, "rate 0"),
        ({"x": 10}, {}, {"a": 0.5}, "sum to 0.5 and nothing else"),
        ({"x": 10}, {}, {"b": 0.5}, "b has no example left"),
        ({"x": 10}, {"a": 0.5}, {"a": 0.5}, "a is in proportions and in shares"),
    ],
)
def test_impossible_mixtures(caps, proportions, shares, told):
    with pytest.raises(UserError, match=told):
        rates.mixing_rates(caps, {"x": "a"}, proportions, shares)


def test_shares_may_be_everything():
    assert rates.mixing_rates({"x": 10, "y": 30}, {"x": "a", "y": "a"}, {}, {"a": 1.0}) == {
        "x": 0.25,
        "y": 0.75,
    }


@common
@given(TASKS, st.integers(1, 20_000))
def test_epochs_are_metaseqs(tasks, eta):
    counts = np.array([count for count, _, _ in tasks])
    caps = np.minimum(counts, eta)
    p = caps / caps.sum()
    ratio = np.array([round(r, 8) for r in p * counts.sum() / counts])
    names = [f"t{i}" for i in range(len(tasks))]
    found = rates.epoch_draws(
        dict(zip(names, p, strict=True)), {name: int(n) for name, n in zip(names, counts, strict=True)}
    )
    assert [found[name].rows for name in names] == np.ceil(counts * ratio).astype(int).tolist()
    assert [found[name].with_replacement for name in names] == (ratio > 1).tolist()


def test_equal_tasks_are_drawn_once_each():
    """0.99999999999 and 1.00000000001 are both 1: no replacement, no extra row."""
    found = rates.epoch_draws({"a": 0.1 + 0.2, "b": 1 - 0.1 - 0.2}, {"a": 30, "b": 70})
    assert found == {"a": rates.EpochDraw(30, False), "b": rates.EpochDraw(70, False)}


@pytest.mark.parametrize("shards", [1, 4])
def test_the_training_order_draws_metaseqs_numbers(shards):
    """Over an epoch of metaseq's, each task is drawn as often, to within one example a shard."""
    rng = np.random.default_rng()
    counts = rng.integers(5, 900, 30)
    caps = np.minimum(counts, 200)
    p = caps / caps.sum()
    names = [str(i) for i in range(30)]
    epoch = rates.epoch_draws(
        dict(zip(names, p, strict=True)), dict(zip(names, counts.tolist(), strict=True))
    )
    drawn = [[] for _ in names]
    total = int(counts.sum())
    for shard in range(shards):
        order = MixtureOrder(p, counts, 3, shard, shards)
        # whole blocks: only there the order promises its rates to one example
        for index in range(total // shards // 1024 * 1024):
            task, record = order[index]
            drawn[task].append(record)
    share = (total // shards // 1024 * 1024) * shards / total
    for name, records, n in zip(names, drawn, counts, strict=True):
        assert abs(len(records) - epoch[name].rows * share) <= shards + 1
        times = np.bincount(records, minlength=n)
        # where metaseq draws with replacement, all come before any comes again (but a shard may be ahead)
        assert times.max() - times.min() <= 1 + (shards > 1)


def test_share_over():
    assert rates.share_over([1, 512, 513, 9000], 512) == 0.5
