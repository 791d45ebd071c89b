"""Apache Beam's pipeline options as a person writes them: Beam itself drops what it does not know."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from iml_jax.bench.quiet_beam import beam
from iml_jax.foundation import extras
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.suggestions import nearest

_FLAG = "--pipeline_options"
PipelineOptions = beam.options.pipeline_options.PipelineOptions
_HERE = ("direct", "bundle", "fnapi", "prism", "dataflow", "dask", "interactive")


def check(options: Sequence[str]) -> None:
    """Checks pipeline options before anything is done with them.

    A job server may know options of its own, which Beam asks it for when the job is submitted. So for runners
    that have one, an unknown option is refused only where it is spelt much like one that Beam knows.

    Args:
      options: each ``--name`` or ``--name=value``, or a value after ``--name``.

    Raises:
      UserError: an option that Beam does not know, a wrong value, or a runner that is not installed.
    """

    def look(parser: argparse.ArgumentParser) -> None:
        parser.error = _refuse  # type: ignore[method-assign]  # else it prints its usage and exits
        flags = [flag for action in parser._actions for flag in action.option_strings]
        parsed, unknown = parser.parse_known_args(list(options))
        runner = parsed.runner or ""
        _check_installed(runner)
        elsewhere = not any(word in runner.lower() for word in _HERE) and bool(runner)
        for word in unknown:
            _check_unknown(word, flags, elsewhere)

    for option in options:
        if option in ("-h", "--help"):
            _refuse(f"{option} is no option of a pipeline")
    PipelineOptions(list(options)).get_all_options(add_extra_args_fn=look)


def pipeline(options: Sequence[str]) -> beam.Pipeline:
    """A pipeline with checked options.

    Raises:
      UserError: as ``check``, or Beam refuses the options.
    """
    check(options)
    try:
        return beam.Pipeline(options=PipelineOptions(list(options)))
    except (ValueError, SystemExit) as error:
        raise UserError(f"{_FLAG}: {error}") from error


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{_FLAG}: {message}")


def _check_installed(runner: str) -> None:
    if "dask" in runner.lower():
        extras.require("dask", "distributed", what=f"{_FLAG}=--runner={runner}")


def _check_unknown(word: str, flags: Sequence[str], elsewhere: bool) -> None:
    name = word.partition("=")[0]
    spelt = "--" + name.lstrip("-").replace("-", "_")
    if elsewhere and name.startswith("--"):
        close = difflib.get_close_matches(spelt, flags, n=1, cutoff=0.8)
        if not close:
            return
    near = nearest(spelt, flags, quote="") or f"; options are written {_FLAG}=--NAME=VALUE,--NAME=VALUE"
    _refuse(f"Apache Beam has no option {name!r}{near}")
