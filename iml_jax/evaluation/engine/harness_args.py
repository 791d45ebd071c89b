"""What ``--model_args`` of ``iml-lm-eval`` may hold, checked before a task or the checkpoint is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iml_jax.foundation.errors import UserError
from iml_jax.foundation.suggestions import nearest

TEXTS = ("checkpoint", "prefix", "compute_dtype", "tokenizer")
NUMBERS = ("data", "fsdp", "tensor")
NAMES = (*TEXTS, *NUMBERS)
_DTYPES = ("float32", "bfloat16")
NO_TEMPLATE = "OPT has no chat template"


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the types that ``harness.Harness`` takes; lm_eval makes numbers of some texts.

    Raises:
      UserError: an unknown name, a wrong value, or no checkpoint.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in NAMES:
            near = nearest(str(name), NAMES, quote="")
            raise UserError(f"--model_args: no argument {name!r}{near or '; there are ' + ', '.join(NAMES)}")
        if name in NUMBERS:
            if type(value) is not int or not (value >= 1 or value == -1):
                raise UserError(f"--model_args: {name}={value}: must be a number of devices, or -1")
            found[name] = value
        else:
            found[name] = str(value)
    if not found.get("checkpoint"):
        raise UserError("--model_args: no checkpoint; give --model_args checkpoint=RUN")
    if found.get("compute_dtype", "") not in ("", *_DTYPES):
        near = nearest(found["compute_dtype"], _DTYPES, quote="")
        remedy = near or f"; it must be one of {', '.join(_DTYPES)}"
        raise UserError(f"--model_args: compute_dtype={found['compute_dtype']}{remedy}")
    return found


def check_chat(apply_chat_template: object, fewshot_as_multiturn: object) -> None:
    """Raise UserError where a chat template is asked for."""
    for flag, value in (
        ("--apply_chat_template", apply_chat_template),
        ("--fewshot_as_multiturn", fewshot_as_multiturn),
    ):
        if value:
            raise UserError(f"{flag}: {NO_TEMPLATE}; leave the flag out (--system_instruction is plain text)")
