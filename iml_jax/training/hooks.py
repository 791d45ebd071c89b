"""Hooks: what happens beside the steps of a run, built in or a user's own, called in the same way.

A hook is a subclass of ``Hook`` that overrides the methods it needs. The loop (``training/loop.py``) calls
the built-in ones of ``training/builtin_hooks.py`` and the user's, in the order of ``Hooks.hooks``, before the
last of these, the evaluation. docs/training.md, "Hooks", has an example.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.foundation.errors import Fault, Preempted, UserError
from iml_jax.foundation.modules import place_of

if TYPE_CHECKING:
    from iml_jax.training.run import Run

_BUILT_IN = "iml_jax."
_PACKAGE = Path(__file__).parents[1]


class Hook:
    """What happens beside the steps; every method does nothing unless it is overridden.

    Every host calls the same methods after the same steps, so a hook may use collectives; a hook that writes
    files must do so on the first host only (``run.is_first_host``). ``run.state`` belongs to the next step,
    to which it is donated: use it inside a method and keep no reference to it. Between steps implicit
    transfers are disallowed (``jax.transfer_guard``): a value that a hook reads from a device must be read
    with ``jax.device_get``, which waits for the devices. Prefer ``on_log``, whose values are on the host.

    Attributes:
      every: ``after_step`` is called after the steps that are a multiple of it.
    """

    every: int = 1

    def on_start(self, run: Run) -> None:
        """Before the first step of this process; ``run.step`` updates are done."""

    def before_step(self, run: Run, step: int) -> None:
        """Before update number ``step`` is dispatched."""

    def after_step(self, run: Run) -> None:
        """After update number ``run.step`` was dispatched; ``run.metrics`` are its metrics on the devices."""

    def on_log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        """A log line of ``step`` was written with these values; it may be of a step before ``run.step``."""

    def on_save(self, run: Run) -> None:
        """A save of the state after ``run.step`` updates was started; it is written in the background."""

    def on_evaluation(self, run: Run, values: Mapping[str, float]) -> None:
        """The model after ``run.step`` updates was evaluated, with these values."""

    def on_end(self, run: Run) -> None:
        """The run is complete and its last checkpoint is written. Not called where a run ends otherwise."""


@dataclasses.dataclass(frozen=True)
class HooksConfig:
    """The user's own hooks; gin name ``Hooks``. They do not belong to the saved configuration of a run."""

    hooks: tuple[Hook, ...] = dataclasses.field(
        default=(),
        metadata={"help": "hooks that a module given with --module has registered, such as (@MyHook(),)."},
    )

    def __post_init__(self) -> None:
        for hook in self.hooks:
            if not isinstance(hook.every, int) or hook.every < 1:
                name = type(hook).__name__
                raise UserError(f"{name}.every = {hook.every!r}: must be an integer of at least 1")


def call(hooks: Sequence[Hook], method: str, *arguments: Any) -> None:
    """Calls one method of each hook.

    Raises:
      UserError: a user's hook raised something else than the errors of ``foundation.errors``.
    """
    for hook in hooks:
        bound = getattr(hook, method)
        if type(hook).__module__.startswith(_BUILT_IN):
            bound(*arguments)
            continue
        try:
            bound(*arguments)
        except (UserError, Fault, Preempted):
            raise
        except Exception as error:
            name = f"{type(hook).__name__}.{method}"
            message = f"{place_of(error, __file__)}: {name} failed: {_words(error)}"
            if raised_in := _raised_in(error):
                message += f" (raised by iml_jax, which it called: {raised_in})"
            raise UserError(message) from error


def _raised_in(error: Exception) -> str | None:
    """``FILE:LINE`` if code of this package raised, called by the user's; None if other code did."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    own = Path(frame.filename).is_relative_to(_PACKAGE)
    return f"{frame.filename}:{frame.lineno}" if own else None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
