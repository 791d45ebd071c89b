"""The mistake of a folder that holds nothing of a benchmark: its files lie differently, or there are none."""

from __future__ import annotations

from iml_jax.foundation.errors import UserError


class NothingFoundError(UserError):
    """No task was found in the folder of a source; nothing in it is malformed as far as is known."""
