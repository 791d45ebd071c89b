"""``iml-lm-eval``: lm_eval's command line with the model ``iml``; lm_eval 0.4 finds no plug-ins itself."""

from __future__ import annotations

import contextlib
import os
import sys

from iml_jax import cli, extras, printing
from iml_jax.errors import Fault, UserError


def register() -> None:
    """Makes ``model="iml"`` known to lm_eval, without importing the model yet.

    Raises:
      UserError: lm_eval is not installed.
    """
    extras.require("lm_eval", what="iml-lm-eval")
    import lm_eval.models  # noqa: F401  registers its own, which it does only while none is registered
    from lm_eval.api.registry import model_registry

    if "iml" not in model_registry:
        model_registry.register("iml", target="iml_jax.evaluation.harness:Harness")


def main() -> int:
    """Runs lm_eval's command line on ``sys.argv``.

    ``--cpu_devices=N`` before all else computes on the CPU as N simulated devices, as in ``iml`` itself.

    Returns:
      The exit status: 0 done, 2 the user's mistake (one line), 1 anything else.
    """
    printing.tolerate_any_text()
    try:
        cli.check_encoding(sys.argv[1:])
        _simulate()
        register()
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except (UserError, Fault) as error:
        with contextlib.suppress(OSError, ValueError):
            print(f"iml-lm-eval: {printing.one_line(str(error))}", file=sys.stderr, flush=True)
        return cli.MISTAKE if isinstance(error, UserError) else cli.FAULT
    return cli.DONE


def _simulate() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if len(sys.argv) > 1 and sys.argv[1].startswith("--cpu_devices="):
        count = sys.argv.pop(1).partition("=")[2]
        if not count.isdecimal() or not 1 <= int(count) <= 1024:
            raise UserError(f"--cpu_devices={count}: not a number of devices from 1 to 1024")
        cli.simulate_devices(int(count))


if __name__ == "__main__":
    sys.exit(main())
