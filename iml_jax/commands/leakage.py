"""`iml leakage`: which training tasks overlap with which evaluation tasks of a prepared directory."""

from __future__ import annotations

import argparse
from typing import Any

from iml_jax.foundation.printing import show

HELP = "Audit a prepared directory for 13-gram overlap between training and evaluation tasks."
CONFIGS = ("Leakage",)
EXAMPLE = "iml leakage --gin.Leakage.prepared_dir=prepared --gin.Leakage.drop=decisions.tsv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--pipeline_options``."""
    parser.add_argument(
        "--pipeline_options",
        default="",
        metavar="OPTIONS",
        help="Apache Beam's options, separated by commas, e.g. --runner=DirectRunner; the training side is "
        "then read by Beam's workers instead of this process",
    )


def run(arguments: argparse.Namespace, config: Any) -> None:
    """Audits, writes leakage.json and leakage.txt, prints the table.

    Raises:
      UserError: the prepared directory, the decisions or the options are wrong.
      Fault: the disk is full.
    """
    from iml_jax.bench import leakage

    options = tuple(option for option in arguments.pipeline_options.split(",") if option)
    report = leakage.audit(config.build("Leakage"), options, _log)
    show(leakage.render(report), end="")


def _log(line: str) -> None:
    show(f"leakage: {line}", flush=True)
