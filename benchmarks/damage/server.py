"""A fork server: one process that has the libraries imported, and a forked child for each command.

JAX starts no backend and TensorFlow runs nothing in the parent, so a fork copies no running thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LIGHT = (
    "jax",
    "flax.nnx",
    "optax",
    "orbax.checkpoint",
    "grain",
    "tensorstore",
    "safetensors.numpy",
    "iml_jax.cli",
    "iml_jax.commands.train",
    "iml_jax.commands.evaluate",
    "iml_jax.commands.generate",
    "iml_jax.commands.convert",
    "iml_jax.commands.report",
    "iml_jax.training.loop",
    "iml_jax.evaluation.engine.runner",
    "iml_jax.evaluation.engine.generation",
    "iml_jax.checkpoints.huggingface",
)
IML, LM_EVAL = "iml", "iml-lm-eval"  # the programs
HEAVY = ("tensorflow", "seqio", "apache_beam", "iml_jax.bench.preparing", "iml_jax.bench.caching")
HARNESS = ("lm_eval.models", "lm_eval.__main__", "datasets", "iml_jax.evaluation.engine.harness")


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a command left: its exit status (negative: the signal), output, cost, and its result's digest."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int
    digest: dict[str, str]
    hung: bool


def prepare_parent(heavy: bool, harness: bool) -> None:
    """Imports what the commands import, so that a child starts at once.

    Args:
      heavy: also what reads the sources.
      harness: also lm-evaluation-harness.
    """
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TOKENIZERS_PARALLELISM="false")
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    from iml_jax import cli

    cli.quiet(verbose=False)
    for name in (*LIGHT, *(HEAVY if heavy else ()), *(HARNESS if harness else ())):
        importlib.import_module(name)


def run(
    argv: Sequence[str],
    folder: Path,
    digest: Callable[[Path, str], dict[str, str]],
    before: Callable[[], None] = lambda: None,
    *,
    program: str = IML,
    seconds: float = 30.0,
    peak_bytes: int = 2 << 30,
) -> Ended:
    """Runs ``PROGRAM ARGV`` in a forked child with the working directory ``folder``.

    Args:
      argv: the arguments after the program's name.
      folder: the working directory; standard output and error are kept in files beside it.
      digest: called in the child after exit status 0 with the folder and the standard output; hashes by
        name of what the command made.
      before: called in the child before the command.
      program: ``IML`` or ``LM_EVAL``.
      seconds: after which the child is killed and counts as hung.
      peak_bytes: of resident memory, at which the child is killed.
    """
    out, err, made = (folder.with_name(f"{folder.name}.{kind}") for kind in ("out", "err", "digest"))
    made.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _child((program, *argv), folder, digest, before, (out, err, made))
    peak, hung = 0, False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        peak = max(peak, _resident(child))
        hung = time.monotonic() - began > seconds
        if hung or peak > peak_bytes:
            _kill(child)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.02)
    _kill(child)  # what it left in its process group
    exit_status = os.waitstatus_to_exitcode(status)
    return Ended(
        exit_status,
        out.read_text("utf-8", "backslashreplace"),
        err.read_text("utf-8", "backslashreplace"),
        time.monotonic() - began,
        max(peak, usage.ru_maxrss * 1024),
        json.loads(made.read_text()) if made.is_file() else {},
        hung,
    )


def _kill(child: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _child(
    argv: Sequence[str],
    folder: Path,
    digest: Callable[[Path, str], dict[str, str]],
    before: Callable[[], None],
    files: tuple[Path, Path, Path],
) -> None:
    status = 70
    try:
        os.setsid()
        out, err, made = files
        for path, number in ((out, 1), (err, 2)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(descriptor, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace")
        os.chdir(folder)
        before()
        sys.argv = list(argv)
        if argv[0] == LM_EVAL:
            from iml_jax.commands import lm_eval as lm_eval_command

            status = lm_eval_command.main()
        else:
            from iml_jax import cli

            status = cli.main(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
        if status == 0:
            made.write_text(json.dumps(digest(folder, out.read_text("utf-8", "backslashreplace"))))
    except BaseException:  # the child must never return into the parent's loop
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
