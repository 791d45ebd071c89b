"""A loop of small steps under a monitor."""

from __future__ import annotations

import jax

from iml_jax.models.sizes import OptConfig
from iml_jax.training.monitor import DATA
from iml_jax.training.watchdog import WatchdogConfig
from support.training_runs import make_job, prepare, prepared, run  # noqa: F401

SHAPE = (OptConfig(vocab_rows=100, vocab_tokens=100, hidden=8, layers=3, heads=2, ffn=32, embed_dim=8), 2, 16)


QUIET = WatchdogConfig(seconds=0)


def steps(watched, numbers):
    """A loop like the training loop's, of a matrix product."""
    update = jax.jit(lambda state, batch: (state @ batch, {"loss": batch.sum()}))
    state = batch = jax.numpy.ones((4, 4)) / 4
    for number in numbers:
        with watched.phase(DATA):
            pass
        watched.profiler.before(number)
        state, metrics = watched.step(number, update, state, batch)
        watched.profiler.after(number, metrics)
        metrics["loss"].block_until_ready()
    return state
