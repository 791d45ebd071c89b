"""Reasons under which a source counts prompts made of a part of a row; these rows are not lost.

They stand among the reasons of rows without an example (``skipped``), distinguished by their prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

_BEGIN = "shortened: "


def shortened(what: str) -> str:
    """The reason: ``what`` lost its end."""
    return _BEGIN + what


def lost(reasons: Mapping[str, int]) -> dict[str, int]:
    """Of counts by reason: those of rows and prompts without an example."""
    return {reason: count for reason, count in reasons.items() if not reason.startswith(_BEGIN)}


def kept(reasons: Mapping[str, int]) -> dict[str, int]:
    """Of counts by reason: those of shortened prompts, by what lost its end."""
    return {
        reason.removeprefix(_BEGIN): count for reason, count in reasons.items() if reason.startswith(_BEGIN)
    }
