"""``iml-lm-eval``: lm_eval's command line with the model ``iml``; lm_eval 0.4 finds no plug-ins itself."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

from iml_jax.evaluation.engine import harness_args
from iml_jax.foundation import extras, printing, process
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.writing import check_writable

# What lm_eval raises for a wrong flag, an unknown task or a task file that is not one.
_MISTAKES = (ValueError, LookupError, TypeError, OSError, NotImplementedError)


def register() -> None:
    """Makes ``model="iml"`` known to lm_eval, without importing the model yet.

    Raises:
      UserError: lm_eval is not installed.
    """
    extras.require("lm_eval", what="iml-lm-eval")
    import lm_eval.models  # noqa: F401  registers its own, which it does only while none is registered
    from lm_eval.api.registry import model_registry

    if "iml" not in model_registry:
        model_registry.register("iml", target="iml_jax.evaluation.engine.harness:Harness")


def main() -> int:
    """Runs lm_eval's command line on ``sys.argv``.

    ``--cpu_devices=N`` before all else computes on the CPU as N simulated devices, as in ``iml`` itself.

    Returns:
      The exit status: 0 done, 2 the user's mistake (one line), 1 anything else.
    """
    printing.tolerate_any_text()
    try:
        process.check_encoding(sys.argv[1:])
        _simulate()
        register()
        _evaluate()
    except Fault as error:
        return _fail(str(error), process.FAULT)
    except UserError as error:
        return _fail(str(error), process.MISTAKE)
    except ModuleNotFoundError as error:
        message = extras.message(error)
        if message is None:
            raise
        return _fail(message, process.MISTAKE)
    except _MISTAKES as error:
        if not _refused_by_lm_eval(error) or "DEBUG" in sys.argv:
            raise
        return _fail(f"lm_eval: {error} (--verbosity DEBUG shows where)", process.MISTAKE)
    return process.DONE


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"iml-lm-eval: {printing.one_line(message)}", file=sys.stderr, flush=True)
    return status


def _evaluate() -> None:
    """What ``lm_eval.__main__.cli_evaluate`` does, with our model's arguments checked first."""
    from lm_eval.__main__ import HarnessCLI, setup_logging

    setup_logging()
    parser = HarnessCLI()
    arguments = parser.parse_args()
    # What a --config file says is checked when the model is made and asked.
    given = vars(arguments)  # without the flags that were not given
    if given.get("model") == "iml":
        harness_args.check_chat(given.get("apply_chat_template"), given.get("fewshot_as_multiturn"))
        if isinstance(given.get("model_args"), dict) and not given.get("config"):
            harness_args.check(given["model_args"])
        if given.get("output_path"):
            output = Path(given["output_path"])
            file = output if output.suffix else output / "results.json"
            check_writable(file, "give another --output_path")
    parser.execute(arguments)


def _refused_by_lm_eval(error: BaseException) -> bool:
    """Whether no code of ours was running: lm_eval then refuses its flags, its tasks or its files."""
    own = Path(__file__).parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    return not any(Path(frame.filename).is_relative_to(own) for frame in frames if frame.filename != __file__)


def _simulate() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if len(sys.argv) > 1 and sys.argv[1].startswith("--cpu_devices="):
        count = sys.argv.pop(1).partition("=")[2]
        if not count.isdecimal() or not 1 <= int(count) <= 1024:
            raise UserError(f"--cpu_devices={count}: not a number of devices from 1 to 1024")
        process.simulate_devices(int(count))


if __name__ == "__main__":
    sys.exit(main())
