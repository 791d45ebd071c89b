"""Rows of reasoning sets as the tests write them, and the examples that files of them make."""

from __future__ import annotations

import collections
import csv
import io
import json
from pathlib import Path

from iml_jax.bench.example import Example
from iml_jax.bench.sources.reasoning.source import INSTRUCTION, Reasoning

QUESTION = {
    "id": "q1",
    "answerKey": "B",
    "question": {
        "stem": "Where is milk?",
        "choices": [{"label": "A", "text": "car"}, {"label": "B", "text": "fridge"}],
    },
}


def lines(*rows: object) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def table(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def examples(folder: Path, files: dict[str, str], split: str = "") -> tuple[list[Example], dict[str, int]]:
    """The examples of the only task that the files make, of its only split unless one is given."""
    for name, content in files.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    source = Reasoning(str(folder / "data"))
    (task,) = source.tasks()
    skipped: collections.Counter[str] = collections.Counter()
    if not split:
        (split,) = task.splits
    made = list(source.examples(task, split, skipped))
    assert all(example.instruction == INSTRUCTION and not example.options for example in made)
    assert len({example.example_id for example in made}) == len(made)
    return made, dict(skipped)


def only(folder: Path, files: dict[str, str], split: str = "") -> Example:
    (example,), skipped = examples(folder, files, split)
    assert not skipped
    return example


def theory(**questions: dict[str, object]) -> dict[str, object]:
    """The theory that ProofWriter's README shows, cut short."""
    return {
        "id": "RelNeg-OWA-D2-1717",
        "theory": "The cow is big. If the cow chases the dog then the cow sees the rabbit.",
        "triples": {"triple1": {"text": "The cow is big."}, "triple2": {"text": "The dog is red."}},
        "rules": {
            "rule2": {"text": "If the cow chases the dog then the cow sees the rabbit."},
            "rule3": {"text": "If something is big then it chases the dog."},
        },
        "questions": questions,
    }


def proved(representation: str, answer: object = True, **texts: str) -> dict[str, object]:
    intermediates = {name: {"text": text} for name, text in texts.items()} or []
    proof = {"representation": representation, "intermediates": intermediates}
    return {"question": "It is so.", "answer": answer, "proofsWithIntermediates": [proof]}
