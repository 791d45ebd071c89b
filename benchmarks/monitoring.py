"""What watching costs: the same compiled train step with and without training/monitor.py, in turn.

    PYTHONPATH=. .venv/bin/python benchmarks/monitoring.py [--rounds 20] [--steps 20] [--empty]

Both loops read the metrics one step late, as the training loop does. The watched one notes its phases, logs
every tenth step (goodput ledger on disk, memory, MFU) and has its step clock, watchdog and profiler on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import jax
from systems import OPTIMIZER, in_turn, make_batch, ratios

from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.training.monitor import DATA, Monitor, ObservabilityConfig, TelemetryConfig
from iml_jax.training.step import TrainStep

SHAPE = OptConfig(
    vocab_rows=1000, vocab_tokens=1000, hidden=64, layers=2, heads=4, ffn=256, embed_dim=64, max_positions=64
)
ROWS, LENGTH, LOG_EVERY = 4, 64, 10


def main() -> None:
    """Run the rounds and print milliseconds a step and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="a round and loop")
    parser.add_argument("--empty", action="store_true", help="a step of one addition: the cost alone")
    arguments = parser.parse_args()
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    train_step = TrainStep(SHAPE, OPTIMIZER, mesh)
    update: Any = train_step
    batch: Any = jax.device_put(make_batch(SHAPE, ROWS, LENGTH))
    states: dict[str, Any] = {name: train_step.init(0) for name in ("plain", "watched")}
    if arguments.empty:
        update = jax.jit(lambda state, rows: (state + 1, {"loss": state + rows}))
        states, batch = dict.fromkeys(states, jax.numpy.zeros(())), jax.numpy.ones(())
    done = 0

    def plain(steps: int) -> float:
        pending: dict[str, Any] | None = None
        for _ in range(steps):
            states["plain"], metrics = update(states["plain"], batch)
            if pending:
                float(pending["loss"])
            pending = metrics
        return float(metrics["loss"])

    with tempfile.TemporaryDirectory() as folder:
        config = ObservabilityConfig(telemetry=TelemetryConfig(peak_flops=1e12))
        with Monitor(config, Path(folder)) as monitor:
            monitor.begin(first=0, last=10**9, shape=(SHAPE, ROWS, LENGTH), devices=list(mesh.devices.flat))

            def watched(steps: int) -> float:
                nonlocal done
                pending: dict[str, Any] | None = None
                for _ in range(steps):
                    done += 1
                    with monitor.phase(DATA):
                        rows = batch
                    monitor.profiler.before(done)
                    states["watched"], metrics = monitor.step(done, update, states["watched"], rows)
                    monitor.profiler.after(done, metrics)
                    if pending:
                        float(pending["loss"])
                        if done % LOG_EVERY == 0:
                            monitor.log(1.0)
                    pending = metrics
                return float(metrics["loss"])

            plain(2), watched(2)
            times = in_turn({"plain": plain, "watched": watched}, arguments.rounds, arguments.steps)
    for name, each in times.items():
        wall, cpu = (1000 * statistics.median(one) for one in (each.wall, each.cpu))
        print(f"{name:8} {wall:.3f} ms a step (wall), {cpu:.3f} ms (CPU)")
    middle, least, most = ratios(times["watched"], times["plain"])
    print(f"watched takes {middle:.3f}x as long ({least:.3f}-{most:.3f} over {arguments.rounds} rounds)")
    more = 1e6 * (statistics.median(times["watched"].cpu) - statistics.median(times["plain"].cpu))
    print(f"CPU: {more:.0f} microseconds a step more")


if __name__ == "__main__":
    main()
