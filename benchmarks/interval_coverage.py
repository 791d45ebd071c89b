"""How often the intervals of `iml evaluate` and `iml report` hold the truth, and how wide they are.

    python benchmarks/interval_coverage.py                   # all four tables; about two minutes
    python benchmarks/interval_coverage.py accuracy points   # some of them

  accuracy     ``plus four``, exactly: summed over the binomial distribution, n from 5 to 500, p from 0.02 to
               0.98; beside it the percentile bootstrap, whose ends are quantiles of a binomial distribution
  points       ``augmented t``, simulated: scores of which a share lies on one limit, the rest somewhere else;
               in brackets the width over 3.92 true standard errors
  averages     ``augmented Welch``, simulated: means of 2 to 40 tasks
  differences  ``augmented t`` of paired differences, simulated

Simulated coverage has a standard error of 0.2 to 0.4 points (``--draws``).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from iml_jax.evaluation import intervals
from iml_jax.evaluation.intervals import CONFIDENCE, Spread
from iml_jax.evaluation.metrics import confidence

NUMBERS = (5, 10, 20, 50, 100, 200, 500)
SHARES = np.round(np.arange(0.02, 0.981, 0.01), 2)
ON_LIMIT = (0.98, 0.95, 0.9, 0.7, 0.5, 0.0)

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
# What the points are that do not lie on the limit, and their mean.
ELSEWHERE: dict[str, tuple[Draw, float]] = {
    "0": (lambda rng, shape: np.zeros(shape), 0.0),
    "50": (lambda rng, shape: np.full(shape, 50.0), 50.0),
    "uniform": (lambda rng, shape: rng.uniform(0, 100, shape), 50.0),
    "low": (lambda rng, shape: 100 * rng.beta(2, 5, shape), 200 / 7),
    "high": (lambda rng, shape: 100 * rng.beta(8, 2, shape), 80.0),
    "middle": (lambda rng, shape: 100 * rng.beta(20, 20, shape), 50.0),
    "both ends": (lambda rng, shape: 100 * rng.beta(0.5, 0.5, shape), 50.0),
}


def main() -> None:
    """Prints the tables that are asked for."""
    tables = {"accuracy": accuracy, "points": points, "averages": averages, "differences": differences}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*tables, []], help="(all)")
    parser.add_argument("--draws", type=int, default=3000, help="of each simulated row (3000)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.tables or tables:
        print(f"\n{name}", flush=True)
        for line in tables[name](np.random.default_rng(given.seed), given.draws):
            print(line, flush=True)


def exact_coverage(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """For each of ``SHARES``, how often the interval of the number of right answers holds it.

    Args:
      low, high: ends (0..1) for 0, 1, ... n right answers.
    """
    numbers = np.arange(len(low))
    weights = stats.binom.pmf(numbers[:, None], len(low) - 1, SHARES)
    holds = (low[:, None] <= SHARES + 1e-12) & (high[:, None] >= SHARES - 1e-12)
    return (weights * holds).sum(axis=0)


def plus_four(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends (0..1) for 0 to n right answers."""
    found = [Spread(100 * right / n, 100**2 * right / n, n, binary=True).interval() for right in range(n + 1)]
    return np.array([one.low for one in found]) / 100, np.array([one.high for one in found]) / 100


def accuracy(rng: np.random.Generator, draws: int) -> Iterator[str]:
    """Least and mean coverage over p, and mean width, by n."""
    yield f"{'n':>5} {'least':>7} {'mean':>7} {'width':>7}   bootstrap: {'least':>7} {'mean':>7}"
    for n in (*range(5, 31), 40, 50, 75, 100, 150, 200, 300, 400, 500):
        low, high = plus_four(n)
        held = exact_coverage(low, high)
        share = np.arange(n + 1) / n
        drawn = [stats.binom.ppf(q, n, share) / n for q in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)]
        before = exact_coverage(*drawn)
        yield (
            f"{n:>5} {held.min():>7.1%} {held.mean():>7.1%} {100 * (high - low).mean():>7.1f}"
            f"              {before.min():>7.1%} {before.mean():>7.1%}"
        )


def _ends(found: list[intervals.Interval]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one.low for one in found]), np.array([one.high for one in found])


def points(rng: np.random.Generator, draws: int) -> Iterator[str]:
    """Every kind of score: coverage, mean width, and that over 3.92 standard errors."""
    header = f"{'on limit':>9} {'the rest':<10}"
    yield header + "".join(f"{f'n = {n}':>22}" for n in NUMBERS)
    for on_limit in ON_LIMIT:
        for name, (draw, mean) in ELSEWHERE.items():
            if on_limit == 0.0 and name in ("0", "50"):
                continue
            truth = 100 * on_limit + (1 - on_limit) * mean
            cells = []
            for n in NUMBERS:
                at_limit = rng.random((draws, n)) < on_limit
                values = np.where(at_limit, 100.0, draw(rng, (draws, n)))
                held, width, ideal = simulated_points(values, truth)
                cells.append(f"{held:>8.1%} {width:>6.1f} ({width / ideal:>4.2f})")
            yield f"{on_limit:>9.0%} {name:<10}" + "".join(cells)


def simulated_points(values: np.ndarray, truth: float) -> tuple[float, float, float]:
    """Coverage, mean width, and the width of a normal interval of the known standard deviation.

    Args:
      values: [draws, n], points.
      truth: their expectation.
    """
    n = values.shape[1]
    spreads = [
        Spread(float(mean), float(square), n)
        for mean, square in zip(values.mean(axis=1), (values**2).mean(axis=1), strict=True)
    ]
    low, high = _ends([one.interval() for one in spreads])
    held = float(((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean())
    return held, float((high - low).mean()), 2 * 1.96 * float(values.std()) / math.sqrt(n)


def averages(rng: np.random.Generator, draws: int) -> Iterator[str]:
    """Means of tasks of n examples, right or wrong with probabilities from p to q."""
    yield f"{'tasks':>6} {'p to q':<12}" + "".join(f"{f'n = {n}':>16}" for n in NUMBERS)
    for tasks in (2, 3, 10, 40):
        weights = {str(number): 1 / tasks for number in range(tasks)}
        for first, last in ((0.98, 0.98), (0.9, 0.9), (0.5, 0.5), (0.3, 0.98)):
            shares = np.linspace(first, last, tasks)
            cells = []
            for n in NUMBERS:
                right = rng.binomial(n, shares, (draws // 3, tasks)) / n
                found = []
                for row in right:
                    made = {
                        str(k): Spread(100 * one, 100**2 * one, n, binary=True)
                        for k, one in enumerate(row.tolist())
                    }
                    interval = intervals.interval(made, weights)
                    assert interval is not None
                    found.append(interval)
                low, high = _ends(found)
                truth = 100 * shares.mean()
                cells.append(f"{((low <= truth) & (truth <= high)).mean():>9.1%} {(high - low).mean():>6.1f}")
            yield f"{tasks:>6} {f'{first} to {last}':<12}" + "".join(cells)


def differences(rng: np.random.Generator, draws: int) -> Iterator[str]:
    """Two models that differ on a share of the examples, of which the second wins so many."""
    yield f"{'differ':>7} {'wins':>5} {'by':<8}" + "".join(f"{f'n = {n}':>16}" for n in NUMBERS)
    for differ in (0.02, 0.1, 0.4, 1.0):
        for wins in (0.5, 0.75):
            for by in ("100", "uniform"):
                cells = []
                for n in NUMBERS:
                    size = 100.0 if by == "100" else rng.uniform(0, 100, (draws // 3, n))
                    sign = np.where(rng.random((draws // 3, n)) < wins, 1, -1)
                    values = np.where(rng.random((draws // 3, n)) < differ, sign * size, 0.0)
                    made = [
                        confidence.difference_spreads({"": [(str(k), "", one) for k, one in enumerate(row)]})
                        for row in values.tolist()
                    ]
                    low, high = _ends([one[""].interval() for one in made])
                    truth = differ * (2 * wins - 1) * (100.0 if by == "100" else 50.0)
                    held = ((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean()
                    cells.append(f"{held:>9.1%} {(high - low).mean():>6.1f}")
                yield f"{differ:>7.0%} {wins:>5.0%} {by:<8}" + "".join(cells)


if __name__ == "__main__":
    main()
