"""Prompts of UnifiedSKG's items: OPT-IML's keywords, or UnifiedSKG's own joining."""

from __future__ import annotations

from iml_jax.bench.sources.unifiedskg.linearise import TURNS
from iml_jax.bench.sources.unifiedskg.tasks import Keywords

FORMS = ("opt_iml", "unifiedskg")


def keyword_prompt(keywords: Keywords, text_in: str, struct_in: str) -> str:
    """One field a line after its keyword, the request last, then the keyword of what is asked for.

    OPT-IML's appendix C shows ``database:``, ``question:``, ``SQL query:``, ``table:`` and ``textual
    description:``; the other keywords, the order and the line breaks are ours. The request stands behind the
    structure, because prompts that are too long lose their beginning. Empty fields are left out.
    """
    # Elsewhere the separator is text, such as SQL's operator.
    latest, _, earlier = text_in.partition(TURNS) if keywords.context else (text_in, "", "")
    fields = (
        (keywords.structure, struct_in),
        (keywords.context, earlier),
        (keywords.text, latest),
    )
    lines = [f"{keyword}: {value.strip()}" for keyword, value in fields if value.strip()]
    return "\n".join([*lines, f"{keywords.target}:"])


def joined(text_in: str, struct_in: str, description: str = "") -> str:
    """What UnifiedSKG feeds its models (utils/dataset.py).

    Args:
      text_in: the request; of a conversation ``latest || the one before | ...``.
      struct_in: the structured knowledge.
      description: put in front where it is not empty.
    """
    latest, turns, earlier = text_in.partition(TURNS)
    if not text_in:
        sequence = f"structured knowledge: {struct_in}"
    elif turns:
        sequence = f"{latest} ; structured knowledge: {struct_in} ; context: {earlier}"
    else:
        sequence = f"{text_in} ; structured knowledge: {struct_in}"
    return f"{description} ; {sequence}" if description else sequence
