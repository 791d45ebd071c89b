"""The exit statuses of every command, and what a command does to its process before it computes."""

from __future__ import annotations

from collections.abc import Sequence

from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable

# ``interrupts.STATUS`` is that of Ctrl-C.
DONE, FAULT, MISTAKE, PREEMPTED = 0, 1, 2, 143


def check_encoding(arguments: Sequence[str]) -> None:
    """Refuses arguments that are not text: no prompt, setting or path of a run's records can hold them.

    Raises:
      UserError: one is not valid in the encoding of the locale, or holds half of a surrogate pair.
    """
    for argument in arguments:
        if not encodable(argument):
            raise UserError(f"argument {argument!r} is not valid Unicode; rename the file, or type it again")


def simulate_devices(count: int) -> None:
    """Makes the CPU appear as ``count`` devices; must precede the first use of a device.

    Raises:
      UserError: a backend is running already, with another number of devices.
    """
    import jax

    try:
        jax.config.update("jax_platforms", "cpu")
        if jax.config.jax_num_cpu_devices != count:  # type: ignore[attr-defined]
            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise UserError(f"--cpu_devices={count}: {error}") from error
