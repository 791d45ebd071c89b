"""The effective mixture: examples, cap and rate of each trained task, and what a run has sampled of it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench import left_out, mixtures, rates
from iml_jax.bench.left_out import LeftOut, Thing
from iml_jax.bench.mixtures import MixtureConfig, PlannedTask
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.data import manifest as manifests
from iml_jax.data import sampled
from iml_jax.data.manifest import Manifest
from iml_jax.foundation.errors import UserError


@dataclasses.dataclass(frozen=True)
class Share:
    """A trained task's part of the training stream.

    Attributes:
      name: ``benchmark:task:variant``.
      benchmark: its meta-dataset.
      category: its one category.
      examples: of its train split, after its caps.
      cap: min(examples, eta).
      rate: its part of the stream; all rates sum to 1.
      sampled: examples drawn of it in a run; None before there is one.
    """

    name: str
    benchmark: str
    category: str
    examples: int
    cap: int
    rate: float
    sampled: int | None = None


def caps_and_rates(
    config: MixtureConfig, trained: Iterable[PlannedTask], examples: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, float]]:
    """What the trained tasks count and get of the training stream, once their examples are known.

    Args:
      config: of the mixture.
      trained: its trained tasks.
      examples: examples of the train split of each, by its name; caps applied.

    Returns:
      Name -> min(examples, eta), and name -> rate.

    Raises:
      UserError: shares are impossible, every task ends up with rate 0, or a benchmark that is given a part
        of the stream has no example (unless ``config.missing`` lets the mixture go without it).
    """
    infos = {task.name: task.info for task in trained}
    proportions, shares = _of_present(config, {info.benchmark for info in infos.values()})
    caps = {name: rates.eta_cap(examples[name], config.eta(info.benchmark)) for name, info in infos.items()}
    return caps, rates.mixing_rates(
        caps,
        {name: info.benchmark for name, info in infos.items()},
        proportions,
        shares,
        smoothing=config.smoothing,
        clusters={name: info.category for name, info in infos.items()} if config.equal_categories else None,
    )


def _of_present(config: MixtureConfig, present: Collection[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Proportions and shares of the benchmarks that have examples to train on."""
    given = (config.proportions, config.shares)
    if config.missing == mixtures.STOP:
        for field, values in zip(("proportions", "shares"), given, strict=True):
            if empty := sorted(name for name, value in values.items() if value and name not in present):
                raise UserError(
                    f"Mixture.{field}: {empty[0]} has no example left to train on; leave it out of "
                    f'Mixture.{field}, or bind Mixture.missing = "{mixtures.RENORMALISE}"'
                )
    proportions, shares = ({name: v for name, v in values.items() if name in present} for values in given)
    return proportions, shares


def without_examples(
    config: MixtureConfig, manifest: Manifest, left: Sequence[LeftOut]
) -> tuple[LeftOut, ...]:
    """The benchmarks that are given a part of the stream and turned out to have no example to train on.

    Args:
      config: of the mixture.
      manifest: what was prepared of it.
      left: what is known to be left out already.
    """
    known = {one.example for one in left if one.kind == left_out.BENCHMARK}
    known |= {task.benchmark for task in manifest.trained}
    return left_out.counted(
        Thing(name, left_out.BENCHMARK, "no example of it is left to train on", name)
        for name in {*config.proportions, *config.shares} - known
    )


def of_manifest(manifest: Manifest, drawn: sampled.SampledCounts | None = None) -> tuple[Share, ...]:
    """The shares of a prepared mixture, with what a run drew of it.

    Raises:
      UserError: the run drew of tasks that the mixture does not train on.
    """
    trained = {task.name: task for task in manifest.trained}
    if drawn and (strange := sorted(drawn.counts.keys() - trained.keys())):
        raise UserError(f"the run drew examples of {strange[0]}, which its manifest does not train on")
    return tuple(
        Share(
            name=task.name,
            benchmark=task.benchmark,
            category=task.category,
            examples=task.splits["train"].examples,
            cap=task.cap,
            rate=task.rate,
            sampled=drawn.counts.get(task.name, 0) if drawn else None,
        )
        for task in trained.values()
    )


def of_sources(config: MixtureConfig, seed: int = 0) -> tuple[Share, ...]:
    """The shares that a mixture will have, from its files alone: all are read and prompted, not tokenised.

    A prompt that turns out to have no token to learn is dropped when it is prepared, and is counted here.

    Args:
      config: of the mixture.
      seed: as ``Prepare.seed``.

    Raises:
      UserError: the mixture or a file is malformed, or nothing is trained on.
    """
    planned = [task for task in mixtures.plan(config) if task.trained]
    if not planned:
        raise UserError(f"Mixture {config.name}: no task is trained on; there are no shares to print")
    examples = {
        task.name: sum(1 for _ in prompted_examples(task, "train", seed, collections.Counter()))
        for task in planned
    }
    trained = [task for task in planned if examples[task.name]]
    caps, shares = caps_and_rates(config, trained, examples)
    return tuple(
        Share(
            name=task.name,
            benchmark=task.info.benchmark,
            category=task.info.category,
            examples=examples[task.name],
            cap=caps[task.name],
            rate=shares[task.name],
        )
        for task in trained
    )


def of_run(run_dir: str | Path) -> tuple[Share, ...]:
    """The shares of the mixture that a run trains on, with what it drew up to its last checkpoint.

    Raises:
      UserError: it is no run directory, has no checkpoint yet, or a file of it is damaged.
    """
    return of_manifest(manifests.load(run_dir), sampled.load(run_dir))


def render(shares: Sequence[Share]) -> str:
    """Tab-separated text with a header, then a line (``# ...``) for each benchmark, then one for all.

    With what a run drew: also the examples drawn and their part of all that were.
    """
    return "\n".join(_lines(shares)) + "\n"


def _lines(shares: Sequence[Share]) -> Iterator[str]:
    drawn = sum(share.sampled or 0 for share in shares)
    ran = any(share.sampled is not None for share in shares)
    yield "\t".join(
        ("task", "category", "examples", "cap", "rate", *(("sampled", "sampled rate") if ran else ()))
    )
    for share in sorted(shares, key=lambda share: share.name):
        cells = [share.name, share.category, str(share.examples), str(share.cap), f"{share.rate:.6f}"]
        if ran:
            cells += [str(share.sampled), f"{_part(share.sampled or 0, drawn):.6f}"]
        yield "\t".join(cells)
    for benchmark in sorted({share.benchmark for share in shares}):
        own = [share for share in shares if share.benchmark == benchmark]
        yield f"# {benchmark}: {_summary(own, drawn, ran=ran)}"
    yield f"# all: {_summary(shares, drawn, ran=ran)}"


def _summary(shares: Iterable[Share], drawn: int, *, ran: bool) -> str:
    shares = list(shares)
    text = (
        f"{len(shares)} tasks in {len({share.category for share in shares})} categories, "
        f"{sum(share.examples for share in shares)} examples, rate {sum(share.rate for share in shares):.6f}"
    )
    if not ran:
        return text
    own = sum(share.sampled or 0 for share in shares)
    return f"{text}, {own} sampled, rate {_part(own, drawn):.6f}"


def _part(count: int, total: int) -> float:
    return count / total if total else 0.0
