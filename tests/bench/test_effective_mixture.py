"""The realised mixture: shares from files alone equal those prepared, and what a run drew beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.fake_source import FakeSource, simple_rows, write_rows
from support.fixtures_prepared import SyntheticTask, random_rows

from iml_jax.bench import effective_mixture
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.data import manifest as manifests
from iml_jax.data import sampled
from iml_jax.data.loader import LoaderConfig, make_loader
from iml_jax.foundation.errors import UserError
from iml_jax.storage import sealed


def mixture(folder: Path, **settings: object) -> MixtureConfig:
    """Tasks of 10 and 30 training rows, and one that is only evaluated."""
    write_rows(folder, "small", "train", simple_rows(10))
    write_rows(folder, "large", "train", [*simple_rows(29), {**simple_rows(1)[0], "skip": True}])
    write_rows(folder, "tested", "test", simple_rows(4))
    return MixtureConfig("m", (FakeSource(str(folder)),), **settings)  # type: ignore[arg-type]


def test_shares_from_the_files_alone(tmp_path: Path) -> None:
    shares = {share.name: share for share in effective_mixture.of_sources(mixture(tmp_path, maximum_eta=20))}
    assert shares.keys() == {"fake:small:zero_shot", "fake:large:zero_shot"}
    large = shares["fake:large:zero_shot"]
    assert (large.examples, large.cap, large.rate) == (29, 20, pytest.approx(2 / 3))
    assert shares["fake:small:zero_shot"].rate == pytest.approx(1 / 3)
    capped = effective_mixture.of_sources(mixture(tmp_path, maximum_eta=20, example_cap=15))
    assert {share.examples for share in capped} == {10, 15}


def test_a_benchmark_may_have_an_eta_of_its_own(tmp_path: Path) -> None:
    """10 and 29 examples: a maximum eta of 4096 caps neither, the benchmark's own eta of 5 caps both."""
    config = mixture(tmp_path, maximum_eta=4096, benchmark_etas={"fake": 5})
    shares = {share.name: (share.cap, share.rate) for share in effective_mixture.of_sources(config)}
    assert shares == {"fake:small:zero_shot": (5, 0.5), "fake:large:zero_shot": (5, 0.5)}
    other = mixture(tmp_path, maximum_eta=4096, benchmark_etas={})
    assert {share.cap for share in effective_mixture.of_sources(other)} == {10, 29}


def test_a_benchmark_without_examples_stops_or_is_left_out(tmp_path: Path) -> None:
    """Its folder is there, but all its rows are dropped."""
    write_rows(tmp_path / "empty", "none", "train", [{**simple_rows(1)[0], "skip": True}])
    empty = FakeSource(str(tmp_path / "empty"), name="empty")
    for field, told in (
        ("proportions", r"Mixture\.proportions: empty has no"),
        ("shares", r"Mixture\.shares"),
    ):
        config = mixture(tmp_path / "files", **{field: {"empty": 0.5}})
        config = dataclasses.replace(config, sources=(*config.sources, empty))
        with pytest.raises(UserError, match=told):
            effective_mixture.of_sources(config)
        told_once = effective_mixture.of_sources(dataclasses.replace(config, missing="renormalise"))
        assert sorted(share.rate for share in told_once) == [pytest.approx(10 / 39), pytest.approx(29 / 39)]


def test_without_anything_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no task is trained on"):
        effective_mixture.of_sources(mixture(tmp_path, train=()))


@pytest.mark.slow
def test_equal_to_what_is_prepared(tmp_path: Path) -> None:
    from iml_jax.bench import preparing
    from iml_jax.bench.mixtures import PrepareConfig
    from iml_jax.data.tokenizer import VocabularyConfig

    config = mixture(tmp_path / "files", maximum_eta=20)
    out = PrepareConfig(output_dir=str(tmp_path / "out"), length=64, workers=1)
    manifest = preparing.prepare(config, VocabularyConfig(size=300), out, lambda line: None)
    prepared = sorted(effective_mixture.of_manifest(manifest), key=lambda share: share.name)
    assert prepared == sorted(effective_mixture.of_sources(config), key=lambda share: share.name)


@pytest.fixture
def run_dir(make_prepared: Callable[..., Path], tmp_path: Path) -> Path:
    """A run directory as training leaves it after some batches."""
    rng = np.random.default_rng()
    tasks = [
        SyntheticTask(f"{name}:zero_shot", {"train": random_rows(rng, size)}, rate)
        for name, size, rate in (("one:t0", 5, 1.0), ("two:t1", 9, 2.0), ("two:t2", 30, 5.0))
    ]
    prepared = make_prepared(tasks)
    manifest = manifests.load(prepared)
    loader = make_loader(prepared, LoaderConfig(batch_size=8, prefetch=0))
    for _ in range(40):
        next(loader)
    run = tmp_path / "run"
    run.mkdir()
    manifests.save(manifest, run)
    sampled.save(run, 40, loader.state(), manifest)
    loader.close()
    return run


def test_what_a_run_drew_stands_beside_the_rates(run_dir: Path) -> None:
    shares = {share.name: share for share in effective_mixture.of_run(run_dir)}
    drawn = sampled.load(run_dir)
    assert {name: share.sampled for name, share in shares.items()} == drawn.counts
    for share in shares.values():
        assert (share.sampled or 0) / drawn.total == pytest.approx(share.rate, abs=0.05)
    lines = effective_mixture.render(tuple(shares.values())).splitlines()
    assert lines[0].split("\t") == [
        "task",
        "category",
        "examples",
        "cap",
        "rate",
        "sampled",
        "sampled rate",
    ]
    assert [line.split("\t")[0] for line in lines[1:4]] == sorted(shares)
    assert sum(int(line.split("\t")[5]) for line in lines[1:4]) == drawn.total
    assert [line.partition(":")[0] for line in lines[4:]] == ["# one", "# two", "# all"]
    assert lines[5].startswith("# two: 2 tasks in 1 categories, 39 examples, rate 0.875000, ")
    assert lines[6].endswith(f"rate 1.000000, {drawn.total} sampled, rate 1.000000")


def test_before_a_run_there_is_no_column_for_it(tmp_path: Path) -> None:
    lines = effective_mixture.render(effective_mixture.of_sources(mixture(tmp_path))).splitlines()
    assert lines[0].split("\t") == ["task", "category", "examples", "cap", "rate"]
    assert lines[-1] == "# all: 2 tasks in 1 categories, 39 examples, rate 1.000000"


def test_counts_of_another_run_are_refused(run_dir: Path) -> None:
    path = run_dir / sampled.FILE_NAME
    record = sealed.read_sealed(path, "")
    record["counts"]["two:t9:zero_shot"] = 3
    sealed.write_sealed(path, record)
    with pytest.raises(UserError, match="two:t9:zero_shot, which its manifest does not train on"):
        effective_mixture.of_run(run_dir)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        effective_mixture.of_run(tmp_path)
