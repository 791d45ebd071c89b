"""``iml convert``: checkpoints between Orbax and Hugging Face's PyTorch, checked by their logits."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.foundation import extras
from iml_jax.foundation.printing import show
from iml_jax.storage import local

if TYPE_CHECKING:
    from iml_jax.config import Config
    from iml_jax.evaluation.engine.stages import Stages
    from iml_jax.models.sizes import OptConfig

HELP = "Convert checkpoints between Orbax and PyTorch (Hugging Face)."
CONFIGS = ("Compilation",)
POSITIONALS = (
    (
        "source",
        "RUN or RUN/checkpoints/STEP (--to huggingface), a Hugging Face OPT directory (--to orbax)",
    ),
    ("out", "directory to write; must not exist or be empty"),
)
EXAMPLE = "iml convert --to huggingface run exported"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("--to", choices=("huggingface", "orbax"), required=True, help="the format to write")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="of the weights written with --to huggingface (Orbax parameters are always float32)",
    )
    parser.add_argument(
        "--max_shard_gb", type=float, default=5.0, help="largest safetensors file in 10^9 bytes (5)"
    )
    parser.add_argument(
        "--no_compare",
        action="store_true",
        help="do not compare the logits afterwards (the comparison holds the model twice in memory)",
    )


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Converts, compares, and only then puts the result in place.

    Raises:
      UserError: source or out are not what they must be, or a tensor does not fit.
      Fault: the logits differ, or something cannot be read or written.
    """
    from iml_jax.foundation.errors import UserError
    from iml_jax.parallel import compilation

    if not 0 < arguments.max_shard_gb < 1e6:
        raise UserError(f"--max_shard_gb {arguments.max_shard_gb}: must be more than 0")
    compilation.use_cache(config.build("Compilation"))
    if arguments.to == "huggingface":
        to_huggingface(arguments)
        return
    if arguments.dtype != "float32":
        raise UserError("--dtype goes with --to huggingface; Orbax parameters are always float32")
    to_orbax(arguments)


def to_huggingface(arguments: argparse.Namespace) -> None:
    """Streams a checkpoint's parameters into a Hugging Face directory."""
    from iml_jax.checkpoints import huggingface, locate, restore
    from iml_jax.checkpoints.verifying import read_newest
    from iml_jax.evaluation.engine.stages import Stages
    from iml_jax.storage.reading import read_text

    with Stages("convert", in_log=True) as stages, huggingface.staged(arguments.out) as staging:

        def export(place: Path) -> tuple[Path, int]:
            local.clear_directory(staging)  # of a checkpoint that turned out to be damaged
            model, params, metadata = restore.open_params(place)
            run_config = place.parent.parent / "config.gin"
            files = huggingface.export(
                staging,
                model,
                params,
                locate.tokenizer_of(place),
                dtype=arguments.dtype,
                run_config=read_text(run_config) if run_config.is_file() else "",
                updates=metadata["updates"],
                max_shard_bytes=int(arguments.max_shard_gb * 1e9),
                progress=Tensors(stages, "written"),
                source=metadata.get("huggingface"),
                fingerprint=metadata["vocabulary"]["fingerprint"],
            )
            return place, len(files)

        place, files = read_newest(arguments.source, export)
        stages.pause()
        if _will_compare(arguments):
            stages("reading the parameters again, to compare the logits with transformers")
            model, params, _ = restore.restore_params(place)
            _report(stages, staging, model, params, arguments.dtype)
    show(f"wrote {arguments.out}: {files} weight file(s), {arguments.dtype}, from {place}")


def to_orbax(arguments: argparse.Namespace) -> None:
    """Reads a Hugging Face directory into a run-like directory: checkpoints/0, tokenizer."""
    from iml_jax.checkpoints import huggingface, locate, places
    from iml_jax.checkpoints.metadata import make_metadata
    from iml_jax.checkpoints.restore import restore_params
    from iml_jax.checkpoints.store import CheckpointStore
    from iml_jax.evaluation.engine.stages import Stages

    places.check_saveable(Path(arguments.out))
    with Stages("convert", in_log=True) as stages, huggingface.staged(arguments.out) as staging:
        model, params, tokenizer = huggingface.load(arguments.source, progress=Tensors(stages, "read"))
        metadata = make_metadata(
            model,
            0,
            manifest_fingerprint="",
            vocabulary_fingerprint=tokenizer.fingerprint,
            vocabulary_tokens=tokenizer.tokens,
            huggingface=huggingface.source_config(arguments.source),
        )
        stages("writing the checkpoint")
        with CheckpointStore(staging) as store:
            store.save(0, {"params": params}, None, metadata)
        del params  # on disk now, and read back for the comparison
        tokenizer.save(staging / locate.TOKENIZER)
        stages.pause()
        if _will_compare(arguments):
            _report(stages, Path(arguments.source), model, restore_params(staging)[1], "float32")
    show(f"wrote {arguments.out}: float32 parameters, usable as Train.initial_checkpoint")


class Tensors:
    """Tells ``stages`` how many tensors are done, no more often than somebody reads."""

    def __init__(
        self, stages: Callable[[str], None], verb: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is shown before the first tensor.

        Args:
          stages: takes a line.
          verb: what happens to them: ``read`` or ``written``.
          clock: seconds.
        """
        self._stages, self._verb, self._clock = stages, verb, clock
        self._seconds = 0.2 if sys.stderr.isatty() else 30.0
        self._told = -math.inf

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` are done."""
        now = self._clock()
        if done == total or now - self._told >= self._seconds:
            self._told = now
            self._stages(f"{done:,} of {total:,} tensors {self._verb}")


def _will_compare(arguments: argparse.Namespace) -> bool:
    from iml_jax.checkpoints import parity

    if arguments.no_compare:
        show("logits not compared: --no_compare")
    elif not parity.available():
        remedy = extras.remedy("torch")
        show(f"logits not compared: torch and transformers are not both installed ({remedy})")
    return parity.available() and not arguments.no_compare


def _report(stages: Stages, directory: Path, model: OptConfig, params: dict[str, Any], dtype: str) -> None:
    from iml_jax.checkpoints import parity

    stages("comparing the logits with transformers")
    difference = parity.compare(directory, model, params, dtype)
    stages.pause()
    show(f"logits: max abs difference to transformers {difference:.2e} (float32, same random tokens)")
