"""Imports a module of the user's own, named on the command line."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from iml_jax.foundation.errors import Fault, UserError


def import_module(name: str, flag: str) -> ModuleType:
    """Imports a module from the working directory or from where Python finds it.

    Args:
      name: as in an import statement, such as ``my_hooks`` or ``my_package.hooks``.
      flag: how messages name the argument.

    Raises:
      UserError: there is no such module, or it raises an exception; the message names its line.
    """
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        advice = f"; write {Path(name).stem}" if name.endswith(".py") else ""
        raise UserError(f"{flag}={name}: not the name of a module{advice}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (UserError, Fault):
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"{flag}={name}: no such module in {here}, on PYTHONPATH or among the installed packages"
            ) from error
        raise UserError(f"{flag}={name}: {place_of(error, __file__)}: {error}") from error
    except Exception as error:
        raise UserError(
            f"{flag}={name}: {place_of(error, __file__)}: {type(error).__name__}: {error}"
        ) from error


def place_of(error: BaseException, caller: str) -> str:
    """``FILE:LINE`` of the user's code that raised: the first frame below that of the calling module.

    Args:
      error: what the user's code raised.
      caller: ``__file__`` of the module that called it.
    """
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != caller and "importlib" not in frame.filename]
    frame = own[0] if own else frames[-1]
    return f"{frame.filename}:{frame.lineno}"
