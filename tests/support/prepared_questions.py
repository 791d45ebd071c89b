"""A prepared directory with evaluation records and a real (byte-level) tokenizer, made without TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.manifest import load, save
from support.fixtures_prepared import SyntheticTask, write_prepared

LEVELS = ("fully_held_out", "partially_supervised", "fully_supervised")


def record(
    tokenizer: tokenizers.Tokenizer,
    number: int,
    prompt: str,
    references: list[str],
    options: tuple[str, ...] = (),
    *,
    template: str = "",
) -> dict[str, Any]:
    """One evaluation record, as `iml prepare` stores it (token rule: " " + answer, then </s>)."""

    def answer_ids(text: str) -> list[int]:
        return [*tokenizer.encode(" " + text), tokenizers.EOS]

    option_ids = [answer_ids(option) for option in options]
    return {
        "prompt_ids": np.array(tokenizer.encode(prompt), np.int64),
        "target_ids": np.array(answer_ids(references[0]), np.int64),
        "example_id": [f"{template}-{number}".encode()],
        "template": [template.encode()],
        "prompt_text": [prompt.encode()],
        "target_text": [references[0].encode()],
        "references": [reference.encode() for reference in references],
        "options": [option.encode() for option in options],
        "option_ids": np.array([token for ids in option_ids for token in ids], np.int64),
        "option_lengths": np.array([len(ids) for ids in option_ids], np.int64),
    }


def make_questions(directory: Path, examples: int = 6) -> tokenizers.Tokenizer:
    """Four tasks over the three levels: two with options (one under two templates), two written."""
    tokenizer = tokenizers.train(["yes no maybe one two three what is the answer"] * 4, 300)
    tokenizer.save(directory / "tokenizer")
    rng = np.random.default_rng(3)
    words = ["yes", "no", "maybe"]

    def options(template: str) -> list[dict[str, Any]]:
        golds = [words[0] if number % 3 else words[1] for number in range(examples)]
        return [
            record(
                tokenizer,
                n,
                f"{template} question {rng.integers(99)}?\nAnswer:",
                [gold],
                tuple(words),
                template=template,
            )
            for n, gold in enumerate(golds)
        ]

    def written(count: int) -> list[dict[str, Any]]:
        return [
            record(tokenizer, n, f"what is {n}? <script>alert({n})</script>", ["one two", f"three {n}"])
            for n in range(count)
        ]

    def task(name: str, rows: list[Any], level: int, category: str, metric: str) -> SyntheticTask:
        return SyntheticTask(
            f"bench:{name}:zero_shot", {"test": rows}, trained=False, level=LEVELS[level],
            evaluation_split="test", category=category, metric=metric, shards=2,
        )  # fmt: skip

    tasks = [
        task("choose", options("a") + options("b")[:2], 0, "Choosing", "accuracy"),
        task("write", written(examples), 1, "Writing", "rouge_l"),
        task("spell", written(examples), 2, "Writing", "exact_match"),
        task("pick", options(""), 2, "Choosing", "accuracy"),
    ]
    write_prepared(directory, tasks)
    manifest = load(directory)
    vocabulary = dataclasses.replace(
        manifest.vocabulary, tokens=tokenizer.tokens, rows=tokenizer.rows, fingerprint=tokenizer.fingerprint
    )
    save(dataclasses.replace(manifest, vocabulary=vocabulary), directory)
    return tokenizer
