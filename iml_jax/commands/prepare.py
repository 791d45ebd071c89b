"""`iml prepare`: task files -> tokenised, cached tasks, a manifest and a mixture table."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from iml_jax.bench.sources import SOURCES
from iml_jax.commands.registry import PROMPTS
from iml_jax.foundation.printing import show
from iml_jax.storage.reading import read_text

HELP = "Turn task files into a directory of tokenised, cached tasks and a mixture table."
CONFIGS = ("Prepare", "Mixture", "Subset", "Vocabulary", *PROMPTS, *SOURCES)
EXAMPLE = "iml prepare --gin_file=mixtures/miniature.gin --gin.Prepare.output_dir=prepared"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--pipeline_options``."""
    parser.add_argument(
        "--pipeline_options",
        default="",
        metavar="OPTIONS",
        help="Apache Beam's options, separated by commas, e.g. --runner=FlinkRunner,--parallelism=64; "
        "they replace Prepare.workers",
    )


def run(arguments: argparse.Namespace, config: Any) -> None:
    """Prepares the mixture and prints its table.

    Raises:
      UserError: anything wrong in configuration or source files.
      Fault: the disk is full, or a worker died.
    """
    began = time.monotonic()
    # TensorFlow reads these when it is imported, in Beam's worker processes too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # tf.data needs no accelerator
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from iml_jax.bench import missing_tasks, mixture_table, preparing

    prepare = config.build("Prepare")
    if arguments.pipeline_options:
        options = tuple(option for option in arguments.pipeline_options.split(",") if option)
        prepare = dataclasses.replace(prepare, pipeline_options=options)
    mixture = config.build("Mixture")
    manifest = preparing.prepare(mixture, config.build("Vocabulary"), prepare, _log)
    show(read_text(Path(prepare.output_dir, mixture_table.TEXT)), end="")
    _log(mixture_table.summary(manifest))
    for line in missing_tasks.notes(mixture, manifest):
        _log(line)
    _log(f"{prepare.output_dir}: done in {time.monotonic() - began:.1f} s")


def _log(line: str) -> None:
    show(f"prepare: {line}", flush=True)
