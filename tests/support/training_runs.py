"""Short training runs of a tiny model, and what tells whether two of them are the same."""

from __future__ import annotations

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from iml_jax.checkpoints.store import CheckpointConfig
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.loader import LoaderConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig
from iml_jax.training.job import TrainConfig, TrainingJob
from iml_jax.training.loop import train
from iml_jax.training.optimizer import OptimizerConfig
from support.fixtures_prepared import SyntheticTask, random_rows

STEPS = 12


TOKENIZER = tokenizers.train(["yes no maybe"] * 4, 280)


MODEL = OptConfig(
    vocab_rows=0,
    vocab_tokens=0,
    hidden=32,
    layers=2,
    heads=4,
    ffn=64,
    embed_dim=32,
    max_positions=64,
    compute_dtype="float32",
)


@pytest.fixture
def prepare(make_prepared):
    """``prepare(seed) -> Path``: three synthetic tasks, and a tokenizer directory to be copied."""

    def make(seed):
        rng = np.random.default_rng(seed)
        return make_prepared(
            [
                SyntheticTask(f"bench:task{i}:zero_shot", {"train": random_rows(rng, 50)}, rate=rate)
                for i, rate in enumerate((0.5, 0.3, 0.2))
            ],
            tokenizer=TOKENIZER,
        )

    return make


@pytest.fixture
def prepared(prepare):
    return prepare(seed=7)


def make_job(prepared, run_dir, **changes) -> TrainingJob:
    train_fields = {"steps": STEPS, "log_every": 1, **changes.pop("train", {})}
    parts = {
        "model": MODEL,
        "optimizer": OptimizerConfig(peak_learning_rate=1e-2, warmup_steps=2),
        "loader": LoaderConfig(batch_size=8, seed=3),
        "mesh": MeshConfig(2, 2, 2),
        "checkpoints": CheckpointConfig(every=2, keep=20),
        "evaluate": EvaluateConfig(),
        **changes,
    }
    return TrainingJob(
        train=TrainConfig(run_dir=str(run_dir), prepared_dir=str(prepared), **train_fields), **parts
    )


def no_evaluation(job, mesh):
    def refuse(step, params, log):
        raise AssertionError("nothing asked for an evaluation")

    return refuse


def run(job):
    return train(job, "resolved = 1\n", lambda *known: (), no_evaluation)


def losses(run_dir) -> dict[int, float]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return {record["step"]: record["loss"] for record in map(json.loads, lines)}


def checkpoint_arrays(run_dir, step):
    """Every array of a checkpoint, by name, as stored (optimizer state included)."""
    folder = run_dir / "checkpoints" / str(step) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        saved = reader.metadata(folder).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        tree = reader.restore(folder, restore_args=as_numpy)
    return {jax.tree_util.keystr(path): _bits(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def _bits(leaf):
    is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def data_state(run_dir, step):
    """The data stream's place; how its counts are split over processes' lives does not belong to it."""
    state = json.loads((run_dir / "checkpoints" / str(step) / "data" / "metadata").read_text())
    before, since = state.pop("sampled_before"), state.pop("sampled_since")
    return {**state, "sampled": np.add(before, since).tolist()}


def assert_same_checkpoints(one, other, step):
    first, second = checkpoint_arrays(one, step), checkpoint_arrays(other, step)
    assert first.keys() == second.keys()
    assert any("opt_state" in name for name in first)
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name
    assert data_state(one, step) == data_state(other, step)
