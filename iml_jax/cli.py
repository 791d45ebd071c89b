"""``iml COMMAND --gin_file=F --gin.NAME=VALUE``: parses flags and gin, turns errors into exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from iml_jax import __version__
from iml_jax.commands import COMMANDS, Command
from iml_jax.foundation import extras, interrupts, printing
from iml_jax.foundation.errors import Fault, Preempted, UserError
from iml_jax.foundation.libtpu import calm_libtpu
from iml_jax.foundation.process import DONE, FAULT, MISTAKE, PREEMPTED, check_encoding, simulate_devices
from iml_jax.foundation.suggestions import nearest
from iml_jax.storage import paths

_OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # never the program's doing


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are UserErrors: one line, no usage text before it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 2 the user's mistake, 1 anything else.

    A UserError or Fault is one line on stderr; what else escapes is a bug and keeps its traceback. Ctrl-C is
    one line and status 130, a second one ends the process at once.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    printing.tolerate_any_text()
    with interrupts.listening(to_the_end=argv is None) as interrupt:
        try:
            return _guarded(arguments, interrupt)
        except KeyboardInterrupt:
            return _interrupted(interrupt)


def _guarded(arguments: list[str], interrupt: interrupts.Interrupts) -> int:
    try:
        check_encoding(arguments)
        _dispatch(arguments)
        sys.stdout.flush()
        return DONE
    except Exception as error:
        if not interrupt.received:
            return _failed(error)
        # A library made it of the KeyboardInterrupt, or it came while leaving.
        told = f": {error}" if isinstance(error, (UserError, Fault, Preempted)) else ""
        return _interrupted(interrupt, told)


def _interrupted(interrupt: interrupts.Interrupts, told: str = "") -> int:
    interrupt.reported = True
    return _log(f"interrupted{told}", interrupts.STATUS)


def _failed(error: Exception) -> int:
    if isinstance(error, ModuleNotFoundError) and (missing := extras.message(error)):
        error = UserError(missing)
    if isinstance(error, UserError):
        return _log(f"error: {error}", MISTAKE)
    if isinstance(error, Fault):
        return _log(f"fault: {error}", FAULT)
    if isinstance(error, Preempted):
        return _log(str(error), PREEMPTED)
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) has left; keep the interpreter from flushing into the void at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # noqa: TID251
        return FAULT
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        return _log(f"fault: {error.strerror or error}: {error.filename or 'while writing'}", FAULT)
    traceback.print_exception(error)
    return _log("this is a bug in iml_jax; the traceback above belongs in its report", FAULT)


def _log(message: str, status: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"iml: {printing.one_line(message)}", file=sys.stderr, flush=True)
    return status


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    if arguments[0] == "--version":
        print(f"iml_jax {__version__}")
        return
    name = arguments[0]
    if name.startswith("-"):
        raise UserError(
            f"{name}: the command comes first: iml COMMAND {name}; commands: {', '.join(COMMANDS)}"
        )
    if name not in COMMANDS:
        from iml_jax.foundation.suggestions import nearest

        near = nearest(name, COMMANDS, quote="")
        raise UserError(f"no command {name!r}{near or ';'} commands: {', '.join(COMMANDS)}")
    _run(COMMANDS[name], arguments[1:])


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {command.name:<{width}}{command.help}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "usage: iml COMMAND [--gin_file=FILE ...] [--gin.NAME=VALUE ...]",
            "",
            "Instruction-tunes OPT on a device mesh, from SeqIO tasks to PyTorch checkpoints.",
            "",
            "commands:",
            *lines,
            "",
            "iml COMMAND --help shows its arguments and every gin parameter with its default.",
            "iml --version prints the version.",
        ]
    )


def _run(command: Command, arguments: list[str]) -> None:
    """Parses one command's arguments, sets the process up and calls the command."""
    rest, flags = split_gin_flags(arguments)
    before_dashes = rest[: rest.index("--")] if "--" in rest else rest
    asks_help = "-h" in before_dashes or "--help" in before_dashes
    quiet(verbose="--verbose" in before_dashes)  # before the command's module brings in its libraries
    module = command.load()
    parser = _parser(command, module)
    if asks_help:
        from iml_jax.config.describe import describe_configs

        parser.epilog = f"{describe_configs(module.CONFIGS)}\n\nexample:\n  {_example(command, module)}"
        print(parser.format_help())
        return
    parsed = _parse(parser, rest)

    from iml_jax import config

    if hasattr(module, "before_configuration"):
        module.before_configuration(parsed)
    bound = config.load(parsed.gin_file, flags)
    if parsed.cpu_devices:
        simulate_devices(parsed.cpu_devices)
    module.run(parsed, bound)


def _parser(command: Command, module: ModuleType) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"iml {command.name}",
        description=module.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    for name, text in getattr(module, "POSITIONALS", ()):
        parser.add_argument(name, type=paths.required_argument, help=text)  # every one is a path
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    common = parser.add_argument_group("flags of every command")
    common.add_argument(
        "--gin_file",
        type=paths.argument,
        action="append",
        default=[],
        metavar="FILE",
        help="gin file; may be repeated, later ones override",
    )
    common.add_argument(
        "--gin.NAME",
        dest="_shown_in_help_only",
        metavar="VALUE",
        help="bind one gin parameter; overrides all files",
    )
    common.add_argument(
        "--cpu_devices", type=_count, default=0, metavar="N", help="compute on the CPU as N simulated devices"
    )
    common.add_argument("--verbose", action="store_true", help="show what the libraries log")
    common.add_argument("-h", "--help", action="store_true", help="show this text")
    return parser


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of devices from 1 to 1024")
    return count


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        word = unknown[0].partition("=")[0]
        flags = [flag for action in parser._actions for flag in action.option_strings]
        near = nearest(word, flags, quote="") if word.startswith("-") else ""
        kind = "flag" if word.startswith("-") else "argument"
        parser.error(f"unknown {kind} {word!r}{near}")
    return parsed


def _example(command: Command, module: ModuleType) -> str:
    return getattr(module, "EXAMPLE", f"iml {command.name} --gin_file=runs/miniature.gin")


def split_gin_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates ``--gin.NAME=VALUE`` (or ``--gin.NAME VALUE``) from the other arguments; stops at ``--``."""
    rest: list[str] = []
    flags: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return [*rest, argument, *waiting], flags
        if argument.startswith("--gin."):
            if "=" not in argument and waiting and not waiting[0].startswith("--"):
                argument = f"{argument}={waiting.pop(0)}"
            flags.append(argument)
        else:
            rest.append(argument)
    return rest, flags


def quiet(verbose: bool) -> None:
    """Keeps the libraries' logs and warnings off the terminal unless ``verbose``."""
    import logging
    import warnings

    from absl import logging as absl_logging

    level = logging.INFO if verbose else logging.WARNING
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "2")
    calm_libtpu()
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    absl_logging.set_verbosity(absl_logging.INFO if verbose else absl_logging.ERROR)
    if not verbose:
        for library in ("jax", "orbax", "grain", "flax", "apache_beam", "tensorflow", "seqio"):
            logging.getLogger(library).setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")


if __name__ == "__main__":
    sys.exit(main())
