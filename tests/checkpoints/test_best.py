"""Which checkpoint did best, and that it stays."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import pytest

from iml_jax.checkpoints import best, locate
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointConfig, CheckpointStore
from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import OptConfig

MODEL = OptConfig(
    vocab_rows=16, vocab_tokens=16, hidden=8, layers=1, heads=2, ffn=16, embed_dim=8, max_positions=8
)


def test_the_first_of_the_highest_is_the_best(tmp_path: Path) -> None:
    assert best.read(tmp_path) is None
    assert best.offer(tmp_path, 10, 41.5) == best.Best(10, 41.5)
    assert best.offer(tmp_path, 20, 41.5) == best.Best(10, 41.5)
    assert best.offer(tmp_path, 30, float("nan")) == best.Best(10, 41.5)
    assert best.offer(tmp_path, 40, 42.0) == best.Best(40, 42.0) == best.read(tmp_path)


def _metadata(step: int) -> dict[str, object]:
    return make_metadata(
        MODEL, step, manifest_fingerprint="", vocabulary_fingerprint="", vocabulary_tokens=16
    )


def _save(run: Path, config: CheckpointConfig, scores: dict[int, float]) -> list[int]:
    with CheckpointStore(run, config) as store:
        for step, score in scores.items():
            store.save(step, {"params": {"w": jnp.full(4, step)}}, {}, _metadata(step))
            store.wait()
            best.offer(run, step, score)
    return locate.steps_on_disk(run / locate.FOLDER)


def test_it_stays_when_newer_ones_come(tmp_path: Path) -> None:
    scores = {1: 10.0, 2: 30.0, 3: 20.0, 4: 25.0, 5: 1.0}
    kept = _save(tmp_path / "run", CheckpointConfig(every=1, keep=1), scores)
    assert kept == [2, 5]
    assert locate.resolve(tmp_path / "run" / "best").name == "2"
    assert locate.resolve(tmp_path / "run").name == "5"
    without = _save(tmp_path / "other", CheckpointConfig(every=1, keep=1, keep_best=False), scores)
    assert without == [5]
    with pytest.raises(UserError, match="no such run or checkpoint"):
        locate.resolve(tmp_path / "other" / "best")  # its checkpoint is gone


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    _save(tmp_path, CheckpointConfig(every=1, keep=2), {1: 1.0})
    (tmp_path / best.FILE).write_text('{"step": "x"}')
    with pytest.raises(UserError, match=r"best\.json: does not name the best checkpoint"):
        locate.resolve(tmp_path / "best")
    best.offer(tmp_path / "other", 10, 41.5)
    written = (tmp_path / "other" / best.FILE).read_text()
    (tmp_path / best.FILE).write_text(written.replace("10", "1"))
    with pytest.raises(UserError, match=r"best\.json: damaged \(its checksum is not that of its content\)"):
        locate.resolve(tmp_path / "best")
    (tmp_path / best.FILE).unlink()
    with pytest.raises(UserError, match="no evaluation has chosen a best checkpoint yet"):
        locate.resolve(tmp_path / "best")


def test_a_damaged_file_deletes_nothing(tmp_path: Path) -> None:
    _save(tmp_path, CheckpointConfig(every=1, keep=1), {1: 2.0, 2: 1.0})
    (tmp_path / best.FILE).write_text("{")
    with CheckpointStore(tmp_path, CheckpointConfig(every=1, keep=1)) as store:
        store.save(3, {"params": {"w": jnp.zeros(4)}}, {}, _metadata(3))
    assert locate.steps_on_disk(tmp_path / locate.FOLDER) == [1, 2, 3]
