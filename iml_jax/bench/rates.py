"""Shares of the training stream: examples-proportional with a maximum, then proportions, then fixed shares.

The arithmetic of OPT-IML (sections 4.2 and 5, tables 4 and 5) as metaseq's sampler does it. Nothing here
reads a file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from iml_jax.foundation.errors import UserError

K = TypeVar("K", bound=Hashable)
H = TypeVar("H", bound=Hashable)


def eta_cap(examples: int, maximum_eta: int) -> int:
    """What a task's rate is proportional to: min(examples, eta) (OPT-IML table 4)."""
    return min(examples, maximum_eta)


def mixing_rates(
    caps: Mapping[str, int],
    benchmarks: Mapping[str, str],
    proportions: Mapping[str, float],
    shares: Mapping[str, float] | None = None,
    *,
    smoothing: float = 1.0,
    clusters: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Share of the training stream that each task gets; sums to 1.

    p_i = cap_i / sum(cap), raised to ``smoothing`` and normalised again; with ``clusters``, every cluster
    of a benchmark then gets an equal part of the benchmark's share. Then every benchmark b is scaled from its
    current share c_b to a target, which is ``proportions[b]`` where it is listed and
    c_b * (1 - sum of the listed) where not. Where some are not listed, these targets sum to less than 1 and
    the sampler draws in their ratio: so they are normalised here, and a listed benchmark then gets more
    than the number given for it. List every benchmark to get exactly the shares given.

    A benchmark of ``shares`` stands apart: it gets exactly that part of the stream, dealt to its tasks by
    their p_i, and everything above shares out the rest (metaseq's ``pretrain_data_sampling_prob``).

    Args:
      caps: task -> min(examples, eta), one entry for each trained task.
      benchmarks: task -> its benchmark.
      proportions: benchmark -> target share among those without a fixed one.
      shares: benchmark -> its part of the whole stream.
      smoothing: exponent of p_i; 1 leaves them, 0 makes all tasks alike.
      clusters: task -> its category, to even out the categories of each benchmark; None leaves them.

    Raises:
      UserError: shares are impossible, or every task ends up with rate 0.
    """
    shares = shares or {}
    check(proportions, shares)
    if not caps:
        return {}
    if missing := set(shares) - {benchmarks[name] for name in caps}:
        raise UserError(f"Mixture.shares: {sorted(missing)[0]} has no example left to train on")
    weights = _weights(caps, benchmarks, smoothing, clusters)
    free = {name: weight for name, weight in weights.items() if benchmarks[name] not in shares}
    fixed = sum(shares.values())
    rates = _scaled(_proportioned(free, benchmarks, proportions), 1 - fixed)
    if fixed < 1 and not rates:
        raise UserError(
            f"Mixture.shares sum to {fixed:g} and nothing else is trained on; let them sum to 1 or add tasks"
        )
    for benchmark, share in shares.items():
        own = {name: weight for name, weight in weights.items() if benchmarks[name] == benchmark}
        rates |= _scaled(own, share)
    return {name: rates[name] for name in caps}


def _weights(
    caps: Mapping[str, int],
    benchmarks: Mapping[str, str],
    smoothing: float,
    clusters: Mapping[str, str] | None,
) -> dict[str, float]:
    """p_i, not normalised."""
    total = sum(caps.values())
    if total <= 0:
        raise UserError("Mixture: every trained task has rate 0 (no examples left)")
    weights = {name: (cap / total) ** smoothing if cap else 0.0 for name, cap in caps.items()}
    if clusters is None:
        return weights
    benchmark_mass = _sums(weights, benchmarks)
    owner = {name: (benchmarks[name], clusters[name]) for name in weights}
    cluster_mass = _sums(weights, owner)
    present = {key: 1.0 for key, mass in cluster_mass.items() if mass > 0}
    count = _sums(present, {key: key[0] for key in present})
    each = {key: benchmark_mass[key[0]] / count[key[0]] / cluster_mass[key] for key in present}
    return {name: weight * each[owner[name]] if weight else 0.0 for name, weight in weights.items()}


def _proportioned(
    weights: Mapping[str, float], benchmarks: Mapping[str, str], proportions: Mapping[str, float]
) -> dict[str, float]:
    """Weights scaled benchmark by benchmark; they sum to 1 only where every benchmark is listed."""
    total = sum(weights.values())
    current = {name: mass / total for name, mass in _sums(weights, benchmarks).items() if mass}
    unlisted = 1 - sum(proportions.values())
    scale = {name: proportions.get(name, share * unlisted) / share for name, share in current.items()}
    return {
        name: weight / total * scale[benchmarks[name]] if weight else 0.0 for name, weight in weights.items()
    }


def _scaled(weights: Mapping[str, float], total: float) -> dict[str, float]:
    mass = sum(weights.values())
    if weights and total and mass <= 0:
        raise UserError("Mixture: every trained task has rate 0 (no examples left, or all proportions are 0)")
    return {name: weight / mass * total if weight else 0.0 for name, weight in weights.items()}


def _sums(weights: Mapping[K, float], owners: Mapping[K, H]) -> dict[H, float]:
    sums: dict[H, float] = {}
    for name, weight in weights.items():
        sums[owners[name]] = sums.get(owners[name], 0.0) + weight
    return sums


def check(proportions: Mapping[str, float], shares: Mapping[str, float]) -> None:
    """Whether proportions and shares can be those of a mixture.

    Raises:
      UserError: one is negative or above 1, they sum to more than 1, or a benchmark has both.
    """
    for field, values in (("proportions", proportions), ("shares", shares)):
        impossible = any(not 0 <= share <= 1 for share in values.values())
        if impossible or sum(values.values()) > 1 + 1e-9:
            raise UserError(f"Mixture.{field}: shares lie between 0 and 1 and sum to at most 1")
    if both := sorted(set(proportions) & set(shares)):
        raise UserError(f"Mixture: {both[0]} is in proportions and in shares; remove it from one")


@dataclasses.dataclass(frozen=True)
class EpochDraw:
    """The number of rows of a task that metaseq's sampler draws per epoch, with replacement or without."""

    rows: int
    with_replacement: bool


def epoch_draws(rates: Mapping[str, float], examples: Mapping[str, int]) -> dict[str, EpochDraw]:
    """An epoch of metaseq's sampler, as long as all examples together.

    size_ratio_i = p_i * N / n_i, rounded to eight decimals; ceil(n_i * size_ratio_i) rows are drawn, with
    replacement if the ratio is above 1. ``docs/decisions/data_order.md`` says what training does instead.

    Args:
      rates: task -> p_i.
      examples: task -> n_i, at least 1; uncapped.
    """
    total = sum(examples[name] for name in rates)
    draws = {}
    for name, rate in rates.items():
        ratio = round(rate * total / examples[name], 8)
        draws[name] = EpochDraw(math.ceil(examples[name] * ratio), ratio > 1)
    return draws


def share_over(examples: Iterable[int], maximum_eta: int) -> float:
    """The part of the tasks that a maximum eta caps, 0..1 (OPT-IML reports 97%, 50% and 16%)."""
    counts = list(examples)
    return sum(count > maximum_eta for count in counts) / len(counts)
