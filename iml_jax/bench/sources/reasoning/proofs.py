"""ProofWriter: questions about small theories, with their proofs as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.records import Record, json_records
from iml_jax.bench.sources.reasoning.questions import Question, sentence, sentences, with_options

_TOKEN = re.compile(r"\s*(->|[()%]|[^\s()%]+)")
_DEEPEST = 200  # nesting of a proof; the deepest published ones stay below 30
# What a statement without a proof comes to. The open world knows a third answer; in the closed world what
# does not follow is false, and its negation true (ProofWriter, section 2).
_UNPROVED = {
    "Unknown": "Neither the statement nor its opposite follows from the facts and rules.",
    "True": "The opposite of the statement does not follow from the facts and rules, so the statement holds.",
    "False": "The statement does not follow from the facts and rules, so it does not hold.",
}


class _UnreadableError(Exception):
    """A proof that is not of the published form."""


def proofwriter(path: Path) -> Iterator[Question]:
    """``meta-SPLIT.jsonl``: a ``theory`` and its ``questions``; the first proof is the rationale.

    A step of a proof is its premises, its rule and what follows; proofs come shallowest first. Theories of
    the open world have "Unknown" among their options (their ``id`` has no "CWA").
    """
    for row in json_records(path):
        identity, theory = row.text("id"), row.text("theory")
        options = ("True", "False") if "CWA" in identity else ("True", "False", "Unknown")
        for key in row.mapping("questions"):
            question = row.record("questions").record(key)
            answer = _answer(question, options)
            text = with_options(f"{theory}\nIs it true? {question.text('question')}", options)
            try:
                rationale = _rationale(row, question, answer)
            except _UnreadableError:
                yield Question(f"{identity}.{key}", text, unusable="proof that cannot be read")
                continue
            yield Question(f"{identity}.{key}", text, ((rationale, answer),))


def _answer(question: Record, options: tuple[str, ...]) -> str:
    answer = question.values.get("answer")
    answer = str(answer) if isinstance(answer, bool | str) else ""
    if answer not in options:
        raise question.error(f"'answer' must be one of {', '.join(options)}")
    return answer


def _rationale(theory: Record, question: Record, answer: str) -> str:
    proofs = question.records("proofsWithIntermediates")
    if not proofs:
        return _UNPROVED[answer]
    proof = proofs[0]
    texts = _texts(theory.mapping("triples")) | _texts(theory.mapping("rules"))
    texts |= _texts(proof.mapping("intermediates"))
    steps: list[str] = []
    tree, rest = _parse(_TOKEN.findall(proof.text("representation")), 0)
    if rest:
        raise _UnreadableError
    conclusion = _told(tree, texts, steps)
    return sentences(steps) if steps else sentence(conclusion)


def _texts(entries: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: entry["text"]
        for name, entry in entries.items()
        if isinstance(entry, dict) and isinstance(entry.get("text"), str)
    }


def _parse(tokens: list[str], depth: int) -> tuple[Any, list[str]]:
    """The tree of the first expression, and the tokens after it.

    ``triple1`` is a leaf; ``(A B)`` the list of its parts; ``(A -> (rule1 % int1))`` a tuple (premises, rule,
    conclusion), without a conclusion where there is no ``%``.
    """
    if not tokens or depth > _DEEPEST:
        raise _UnreadableError
    head, *rest = tokens
    if head in (")", "->", "%"):
        raise _UnreadableError
    if head != "(":
        return head, rest
    parts: list[Any] = []
    while rest and rest[0] not in (")", "->", "%"):
        part, rest = _parse(rest, depth + 1)
        parts.append(part)
    if rest[:1] == ["%"] and len(parts) == 1:
        named, rest = _parse(rest[1:], depth + 1)
        tree: Any = (parts[0], named)
    elif rest[:1] == ["->"]:
        rule, rest = _parse(rest[1:], depth + 1)
        if rest[:1] == ["%"]:
            named, rest = _parse(rest[1:], depth + 1)
            rule = (rule, named)
        tree = (parts, *(rule if isinstance(rule, tuple) else (rule, None)))
    else:
        tree = parts
    if rest[:1] != [")"]:
        raise _UnreadableError
    return tree, rest[1:]


def _told(tree: Any, texts: Mapping[str, str], steps: list[str]) -> str:
    """What a tree proves, as text; appends the sentences of its inferences to ``steps``."""
    if isinstance(tree, str):
        if tree not in texts:
            raise _UnreadableError
        return texts[tree]
    if isinstance(tree, list):
        return sentences(_told(part, texts, steps) for part in tree)
    if len(tree) != 3:
        raise _UnreadableError
    premises, rule, conclusion = tree
    given = [_told(part, texts, steps) for part in premises]
    if not isinstance(rule, str) or not isinstance(conclusion, str):
        raise _UnreadableError
    # What an earlier step concluded need not be said again right after it.
    fresh = [text for text in given if not steps or not steps[-1].endswith(f"Therefore: {sentence(text)}")]
    proved = sentence(_told(conclusion, texts, steps))
    steps.append(sentences([*fresh, _told(rule, texts, steps)]) + f" Therefore: {proved}")
    return proved
