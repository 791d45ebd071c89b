"""Fixtures of the whole way through the commands, and of commands that must fail."""

from __future__ import annotations

from support.bad_input import refused, small_disk  # noqa: F401
from support.command_runs import way  # noqa: F401
