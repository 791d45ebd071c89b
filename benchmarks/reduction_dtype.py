"""What it changes in training that gradients are summed over chips in bfloat16: loss curves, and errors.

    python benchmarks/reduction_dtype.py                                # the tables of reduction_dtype.json
    taskset -c 0 python benchmarks/reduction_dtype.py --train --seeds 0 # trains what is missing in it

A small OPT learns text (the sources of Python's standard library), the model, loss, gradient and optimizer
being the project's own in bfloat16. The rows of each batch lie on 8, 64 or 256 simulated shards, and the
gradients of the matrices are summed over these as ``reduction_emulation`` says: in float32, or in bfloat16
along one ring, or in the two stages that the project's programs use on a TPU
(``parallel.staged_collectives``). All other gradients are summed in float32 in every arm, as in those
programs. The arms of one seed have the same initial weights and batches. Two controls show how much a run
changes by what nobody would call an error: float32 sums over another number of shards, which differ by
float32's rounding only, and other batches.

A difference is that of one arm from ``float32, 256 shards`` of the same seed, in nats a token; its interval
is Student's t over the seeds (95%, seeds - 1 degrees of freedom). ``--train`` also measures the errors of the
gradients at the end of the float32 run of seed 0. A run of 1,000 steps takes two or three minutes of a core.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import functools
import json
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradient_precision
import jax
import jax.numpy as jnp
import numpy as np
import optax
from reduction_emulation import Reduction, emulated
from scipy import stats

from iml_jax.data import tokenizer
from iml_jax.data.batch import Batch
from iml_jax.models import opt
from iml_jax.models.cross_entropy import token_losses
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import single_device
from iml_jax.parallel.staged_collectives import stages
from iml_jax.training import step
from iml_jax.training.optimizer import OptimizerConfig, make_optimizer

RESULTS = Path(__file__).with_suffix(".json")
VOCABULARY, ROWS, LENGTH, HELD_OUT_ROWS = 512, 256, 16, 4096
BLOCK = 50  # steps of one point of a curve
LAST = 100  # steps whose mean loss is the final one
MODEL = OptConfig(
    vocab_rows=VOCABULARY, vocab_tokens=VOCABULARY, hidden=48, layers=2, heads=3, ffn=192, embed_dim=48,
    max_positions=LENGTH, dropout=0.0, embedding_dropout=0.0, compute_dtype="bfloat16",
)  # fmt: skip
OPTIMIZER = OptimizerConfig(peak_learning_rate=3e-3, warmup_steps=100)
# Of the standard library: neither tests nor what a distribution may leave out.
LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip"}
MATRICES = ("_proj.weight", "fc1.weight", "fc2.weight")  # of the layers, by transformers' names
Results = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train; ``order`` numbers the order of the data of one seed."""

    name: str
    reduction: Reduction
    order: int = 0


REFERENCE = Arm("float32, 256 shards", Reduction(256))
RINGS = tuple(Arm(f"bfloat16, ring of {n}", Reduction(n, (n,))) for n in (8, 64, 256))
STAGED = tuple(
    Arm("bfloat16, {} x {}".format(*stages(n)), Reduction(n, stages(n))) for n in (64, 256)
)  # fmt: skip
ROUNDED = (*RINGS, *STAGED)
CONTROLS = (
    Arm("float32, 8 shards", Reduction(8)),
    Arm("float32, other batches", Reduction(256), order=1),
)
ARMS = (REFERENCE, *RINGS, STAGED[-1], *CONTROLS)  # those that are trained


def main() -> None:
    """Trains what is missing, if asked to; prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true", help="what the file lacks; else only print")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    names = [arm.name for arm in ARMS]
    parser.add_argument("--arms", nargs="+", default=names, choices=names, metavar="ARM", help="(all)")
    parser.add_argument("--steps", type=int, default=1000, help="at least 1,000 (1000)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON, read and written")
    given = parser.parse_args()
    if given.train:
        jax.config.update("jax_platforms", "cpu")
        train_missing(given.results, given.seeds, given.arms, given.steps)
    if not given.results.exists():
        sys.exit(f"{given.results}: no such file; make it with --train")
    for line in report(json.loads(given.results.read_text(encoding="utf-8"))):
        print(line)


def texts() -> list[str]:
    """The sources of the standard library, by name."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts))
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def windows() -> tuple[np.ndarray, np.ndarray]:
    """Token ids to train on and held out, int32 [n, LENGTH + 1]; every twentieth file is held out."""
    found = texts()
    kept = [text for number, text in enumerate(found) if number % 20]
    vocabulary = tokenizer.train(kept, VOCABULARY)

    def cut(some: Sequence[str]) -> np.ndarray:
        ids = np.concatenate([np.asarray(vocabulary.encode(text), np.int32) for text in some])
        size = LENGTH + 1
        return ids[: len(ids) // size * size].reshape(-1, size)

    held_out = cut(found[::20])
    chosen = np.random.default_rng(0).choice(len(held_out), HELD_OUT_ROWS, replace=False)
    return cut(kept), held_out[chosen]


def batches(found: np.ndarray, steps: int, seed: int, order: int) -> np.ndarray:
    """int32 [steps, ROWS, LENGTH + 1]: all windows in random order, and again in another one."""
    random = np.random.default_rng([seed, order])
    passes = -(-steps * ROWS // len(found))
    rows = np.concatenate([random.permutation(len(found)) for _ in range(passes)])[: steps * ROWS]
    return found[rows].reshape(steps, ROWS, LENGTH + 1)


def as_batch(ids: jax.Array) -> Batch:
    """[rows, LENGTH + 1] -> a batch whose loss is the mean over all positions of a batch of ``ROWS``."""
    shape = (ids.shape[0], LENGTH)
    return Batch(
        inputs=ids[:, :-1],
        targets=ids[:, 1:],
        loss_weights=jnp.full(shape, 1 / (ROWS * LENGTH), jnp.float32),
        segment_ids=jnp.ones(shape, jnp.int32),
        positions=jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), shape),
    )


def gradient(params: Any, ids: jax.Array) -> tuple[jax.Array, Any]:
    """Loss and gradient of one batch as the project's step computes them, float32."""
    return step.loss_and_gradient(MODEL, params, as_batch(ids), jax.random.key(0), 1)


@functools.cache
def trainer(reduction: Reduction, steps: int) -> tuple[Any, Callable[..., Any]]:
    """The optimizer, and the compiled training over batches: (state, ids) -> (state, losses)."""
    optimizer = make_optimizer(dataclasses.replace(OPTIMIZER, total_steps=steps), VOCABULARY)

    def one(state: tuple[Any, Any], ids: jax.Array) -> tuple[Any, jax.Array]:
        loss, found = gradient(state[0], ids)
        updates, moments = optimizer.update(found, state[1], state[0])
        return (optax.apply_updates(state[0], updates), moments), loss

    params = opt.abstract_params(MODEL)
    state = (params, jax.eval_shape(optimizer.init, params))
    ids = jax.ShapeDtypeStruct((BLOCK, ROWS, LENGTH + 1), jnp.int32)
    with single_device(), emulated(reduction):
        return optimizer, jax.jit(lambda *given: jax.lax.scan(one, *given)).lower(state, ids).compile()


@functools.cache
def measurer() -> Callable[[Any, jax.Array], jax.Array]:
    """The compiled mean loss of a token."""

    def measure(params: Any, ids: jax.Array) -> jax.Array:
        batch = as_batch(ids)
        hidden = opt.forward(MODEL, params, batch.inputs, batch.positions, batch.segment_ids)
        return jnp.mean(token_losses(MODEL, params, hidden, batch.targets))

    ids = jax.ShapeDtypeStruct((HELD_OUT_ROWS, LENGTH + 1), jnp.int32)
    with single_device():
        return jax.jit(measure).lower(opt.abstract_params(MODEL), ids).compile()


def train(arm: Arm, seed: int, ids: np.ndarray, held_out: np.ndarray) -> tuple[Results, Any]:
    """One run: its record, and the parameters at its end."""
    began = time.process_time()
    optimizer, run = trainer(arm.reduction, len(ids))
    params = opt.init_params(MODEL, jax.random.key(seed))
    state, losses = (params, optimizer.init(params)), []
    for start in range(0, len(ids), BLOCK):
        state, found = run(state, jnp.asarray(ids[start : start + BLOCK]))
        losses.append(np.asarray(found, np.float64))
    by_step = np.concatenate(losses)
    record = {
        "arm": arm.name,
        "seed": seed,
        "steps": len(by_step),
        "training_loss": round(float(by_step[-LAST:].mean()), 6),
        "held_out_loss": round(float(measurer()(state[0], jnp.asarray(held_out))), 6),
        "curve": [round(float(block.mean()), 4) for block in losses],
        "cpu_seconds": round(time.process_time() - began),
    }
    return record, state[0]


def train_missing(path: Path, seeds: Sequence[int], arms: Sequence[str], steps: int) -> None:
    """Adds to the file each run of these seeds and arms that it lacks, and the errors of the gradients."""
    if steps < 1000 or steps % BLOCK:
        sys.exit(f"--steps={steps}: must be a multiple of {BLOCK} and at least 1,000")
    found, held_out = windows()
    print(f"{len(found):,} rows of {LENGTH} tokens", flush=True)
    trained = None
    for arm in (arm for arm in ARMS if arm.name in arms):
        for seed in seeds:
            if any((one["arm"], one["seed"]) == (arm.name, seed) for one in saved(path, steps)["runs"]):
                continue
            record, params = train(arm, seed, batches(found, steps, seed, arm.order), held_out)
            saved(path, steps, run=record)
            print(json.dumps(record), flush=True)
            trained = params if (arm, seed) == (REFERENCE, 0) else trained
    if REFERENCE.name in arms and 0 in seeds and not saved(path, steps)["errors"]:
        if trained is None:
            _, trained = train(REFERENCE, 0, batches(found, steps, 0, REFERENCE.order), held_out)
        errors = {
            "of_sums": errors_of_sums(trained, held_out),
            "of_gradients": errors_of_gradients(trained, held_out),
        }
        saved(path, steps, errors=errors)


def saved(
    path: Path, steps: int, run: Results | None = None, errors: Results | None = None
) -> dict[str, Any]:
    """The file's content, after what is given has been added to it; several processes may add at once."""
    setting = {
        "model": dataclasses.asdict(MODEL),
        "optimizer": dataclasses.asdict(dataclasses.replace(OPTIMIZER, total_steps=steps)),
        "rows": ROWS,
        "length": LENGTH,
        "text": f"the standard library of Python {platform.python_version()}",
    }
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        whole: Results = json.loads(text) if text else {"setting": setting, "errors": {}, "runs": []}
        if whole["setting"] != setting:
            sys.exit(f"{path}: made with another setting; name another file with --results")
        if run is not None or errors is not None:
            whole["runs"] += [] if run is None else [run]
            whole["errors"] |= errors or {}
            file.truncate(0)
            file.write(json.dumps(whole, indent=1) + "\n")
    return whole


def kernels(tree: Any) -> dict[str, np.ndarray]:
    """The layers' matrices by name, all layers stacked."""
    found = jax.tree_util.tree_flatten_with_path(tree["layers"])[0]
    return {
        "/".join(key.key for key in path[:-1]): np.asarray(leaf)
        for path, leaf in found
        if path[-1].key == "kernel"
    }


def errors_of_sums(params: Any, held_out: np.ndarray) -> dict[str, dict[str, float]]:
    """By arm and matrix, how far the sum of the shards' bfloat16 gradients is from their sum in float64.

    The error is the norm of the difference over the norm. A float32 sum is rounded to bfloat16 once, at the
    end, as the program does.
    """
    ids = jnp.asarray(held_out[:ROWS])

    @functools.cache
    def parts(shards: int) -> dict[str, np.ndarray]:
        with single_device():
            by_shard = jax.jit(jax.vmap(lambda rows: gradient(params, rows)[1]))(
                ids.reshape(shards, -1, LENGTH + 1)
            )
        return {name: found.reshape(shards, -1) for name, found in kernels(by_shard).items()}

    def error(arm: Arm, flat: np.ndarray) -> float:
        total = jnp.asarray(jax.jit(arm.reduction.sum)(flat), jnp.bfloat16)
        exact = flat.astype(np.float64).sum(axis=0)
        return round(gradient_precision.error(np.asarray(total, np.float64), exact), 6)

    return {
        arm.name: {name: error(arm, flat) for name, flat in parts(arm.reduction.shards).items()}
        for arm in (REFERENCE, *ROUNDED)
    }


def errors_of_gradients(params: Any, held_out: np.ndarray) -> dict[str, dict[str, float]]:
    """By arm and matrix, how far the whole gradient is from transformers' in float64, as norms.

    It holds what bfloat16 costs in the forward and backward pass, whatever the sum.
    """
    from support.torch_opt import torch_names

    ids = held_out[:ROWS]
    exact = gradient_precision.by_torch(MODEL, params, as_batch(jnp.asarray(ids)))
    found: dict[str, dict[str, float]] = {}
    for arm in (REFERENCE, *ROUNDED):
        with single_device(), emulated(arm.reduction):
            ours = torch_names(MODEL, jax.jit(lambda *given: gradient(*given)[1])(params, ids))
        found[arm.name] = {
            name: round(gradient_precision.error(ours[name], exact[name]), 6)
            for name in exact
            if name.endswith(MATRICES)
        }
    return found


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean and ends of the 95% interval by Student's t; NaN ends for fewer than two."""
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return float(values.mean()), float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def report(results: Results) -> Iterator[str]:
    """The tables, as Markdown."""
    runs = {(run["arm"], run["seed"]): run for run in results["runs"]}
    seeds = sorted(seed for name, seed in runs if name == REFERENCE.name)
    for key, title in (("training_loss", f"Training loss, mean of the last {LAST} steps"),
                       ("held_out_loss", "Held-out loss")):  # fmt: skip
        yield f"\n{title}; differences from {REFERENCE.name} in 0.001 nats"
        yield f"\n| | mean | {' | '.join(f'seed {seed}' for seed in seeds)} | mean difference | 95% (t) |"
        yield "|---|" + "---|" * (len(seeds) + 3)
        for arm in ARMS:
            if not all((arm.name, seed) in runs for seed in seeds):
                continue
            values = [runs[arm.name, seed][key] for seed in seeds]
            against = [runs[REFERENCE.name, seed][key] for seed in seeds]
            apart = [1000 * (value - other) for value, other in zip(values, against, strict=True)]
            mean, low, high = interval(apart)
            cells = [f"{one:+.2f}" for one in apart] + [f"{mean:+.2f}", f"{low:+.2f} to {high:+.2f}"]
            cells = [""] * len(cells) if arm is REFERENCE else cells
            yield f"| {arm.name} | {np.mean(values):.4f} | {' | '.join(cells)} |"
    yield from _curves(runs, seeds)
    for key, title in (("of_sums", "Error of the sum of the shards' bfloat16 gradients against float64"),
                       ("of_gradients", "Error of the whole gradient against float64")):  # fmt: skip
        found = results["errors"].get(key, {})
        yield f"\n{title}\n\n| | {' | '.join(found)} |\n|---|" + "---|" * len(found)
        for name in next(iter(found.values()), {}):
            yield f"| {name} | {' | '.join(f'{column[name]:.2%}' for column in found.values())} |"


def _curves(runs: dict[tuple[str, int], Results], seeds: Sequence[int]) -> Iterator[str]:
    """Mean training loss over the seeds at some steps."""
    length = min((len(run["curve"]) for run in runs.values()), default=0)
    points = [round(length * part) - 1 for part in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)] if length else []
    yield f"\nTraining loss, mean over {BLOCK} steps and all seeds, up to step\n"
    yield f"| | {' | '.join(f'{(point + 1) * BLOCK:,}' for point in points)} |"
    yield "|---|" + "---|" * len(points)
    for arm in ARMS:
        curves = [runs[arm.name, seed]["curve"] for seed in seeds if (arm.name, seed) in runs]
        if len(curves) == len(seeds) and curves:
            means = np.mean(curves, axis=0)
            yield f"| {arm.name} | {' | '.join(f'{means[point]:.4f}' for point in points)} |"


if __name__ == "__main__":
    main()
