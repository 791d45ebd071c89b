"""What a run reports to its user: metrics.jsonl, TensorBoard, and a progress bar or plain lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from iml_jax.foundation.printing import printable, show
from iml_jax.storage import journal
from iml_jax.training import stragglers
from iml_jax.training.board import Board
from iml_jax.training.flops import flops_per_step

__all__ = ["Telemetry", "Window", "flops_per_step", "to_host"]


class Window:
    """Sums over the steps since the last log line."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.steps = 0
        self.loss_sum = 0.0
        self.loss_tokens = 0.0
        self.tokens = 0.0
        self.empty = 0

    def add(self, metrics: dict[str, float]) -> None:
        """Adds one step's host-side metrics."""
        self.steps += 1
        self.loss_sum += metrics["loss"] * metrics["loss_tokens"]
        self.loss_tokens += metrics["loss_tokens"]
        self.tokens += metrics["tokens"]
        self.empty += metrics["loss_tokens"] == 0

    def summary(self, last: dict[str, float], positions: int, flops: float) -> dict[str, float]:
        """The log line's values.

        Args:
          last: metrics of the window's last step (gradient norm and learning rate are its own).
          positions: positions of one global batch, padding included.
          flops: model FLOPs of one step.
        """
        seconds = max(time.perf_counter() - self.started, 1e-9)
        found = {"empty_batches": float(self.empty)} if self.empty else {}
        return found | {
            "loss": self.loss_sum / max(self.loss_tokens, 1.0),
            "loss_tokens_per_second": self.loss_tokens / seconds,
            "tokens_per_second": self.tokens / seconds,
            "packing_fill": self.tokens / max(self.steps * positions, 1),
            "gradient_norm": last["gradient_norm"],
            "learning_rate": last["learning_rate"],
            "model_flops_per_second": self.steps * flops / seconds,
            "seconds_per_step": seconds / max(self.steps, 1),
        }


class Telemetry:
    """Writes a run's metrics; a context manager. Only the first host creates one.

    Args:
      run_dir: the run; gets ``metrics.jsonl`` and ``tensorboard/``.
      steps: updates that the whole run will do.
      first: updates done before this process began.
    """

    def __init__(self, run_dir: Path, steps: int, first: int) -> None:
        path = run_dir / "metrics.jsonl"
        damaged = journal.cut_after(path, first)  # a resumed run writes the lines after it again
        self._jsonl: TextIO = journal.open_to_append(path)
        self._board = Board(run_dir / "tensorboard", first + 1)
        self._steps = steps
        self._progress: Progress | None = None
        if sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[line]}"),
                console=Console(stderr=True),
            )
            self._bar = self._progress.add_task("train", total=steps, completed=first, line="")
            self._progress.start()
        if damaged:
            self.log(f"{path}: damaged lines are ignored: {damaged}")

    def advance(self, step: int) -> None:
        """Moves the progress bar to ``step`` updates done."""
        if self._progress:
            self._progress.update(self._bar, completed=step)

    def write(self, step: int, values: dict[str, float], prefix: str = "train") -> None:
        """Records ``values`` under ``step`` everywhere.

        Args:
          step: updates done.
          values: name to number.
          prefix: the TensorBoard group; lines of ``metrics.jsonl`` carry it as ``kind``.
        """
        self._jsonl.write(json.dumps({"step": step, "kind": prefix, **values}) + "\n")
        self._jsonl.flush()
        self._board.add(step, {f"{prefix}/{name}": value for name, value in values.items()})
        if prefix == "train":
            self._show(step, values)

    def _show(self, step: int, values: dict[str, float]) -> None:
        line = (
            f"loss {values['loss']:.4f}  {values['loss_tokens_per_second']:,.0f} loss tokens/s  "
            f"{values['tokens_per_second']:,.0f} tokens/s  fill {values['packing_fill']:.3f}  "
            f"gradient norm {values['gradient_norm']:.3f}  lr {values['learning_rate']:.2e}  "
            f"{values['model_flops_per_second'] / 1e9:,.1f} GFLOP/s"
        )
        if "mfu" in values:
            line += f"  MFU {100 * values['mfu']:.1f}%"
        if "hbm_gib" in values:
            line += f"  HBM {values['hbm_gib']:.1f} GiB (peak {values.get('hbm_peak_gib', 0.0):.1f})"
        if empty := values.get("empty_batches"):
            line += f"  {empty:.0f} batches without a loss token, which left the weights as they were"
        if slow := stragglers.words(values):
            line += f"  {slow}"
        if self._progress:
            self._progress.update(self._bar, completed=step, line=line)
        else:
            self.log(f"step {step}/{self._steps}  {line}")

    def log(self, text: str) -> None:
        """Prints one line beside the progress bar, or as a plain line in a log."""
        if self._progress:
            self._progress.console.print(printable(text, keep="\n\t"), highlight=False, markup=False)
        else:
            show(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Writes out what TensorBoard's writer holds back; call it with every save.

        A process that is killed must not lose the points of steps that are kept.
        """
        self._board.flush()

    def close(self) -> None:
        """Flushes and closes every sink."""
        if self._progress:
            self._progress.stop()
        self._jsonl.close()
        self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_host(steps: Sequence[Mapping[str, jax.Array]]) -> list[dict[str, float]]:
    """Reads the device scalars of several steps at once; waits for the last of them."""
    read = jax.device_get(list(steps))
    return [{name: float(value) for name, value in metrics.items()} for metrics in read]
