"""What a seed may be: the same numbers everywhere, those that ``jax.random.key`` takes apart in 32 bits."""

from __future__ import annotations

from iml_jax.foundation.errors import UserError

LARGEST = 2**32 - 1


def check_seed(name: str, seed: int) -> None:
    """Checks a setting that seeds random choices.

    Args:
      name: of the setting, as gin spells it.
      seed: its value.

    Raises:
      UserError: it is outside 0 .. 2**32 - 1, where JAX would overflow or take two seeds for one.
    """
    if not 0 <= seed <= LARGEST:
        shown = str(seed) if seed.bit_length() <= 64 else f"a number of {seed.bit_length()} bits"
        raise UserError(f"{name} is {shown}; it must be from 0 to {LARGEST}")
