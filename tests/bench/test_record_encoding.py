"""Records of prompted examples: the token rule, batches of the tokenizer, what a training record has."""

from __future__ import annotations

import numpy as np
import pytest

from iml_jax.bench import record_encoding
from iml_jax.bench.prompting import PromptedExample
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.records import parse_example

TOKENIZER = tokenizers.train(["What is the colour of 1?\n Answer: deep blue red green"] * 9, 300)


def encoded(*examples: PromptedExample, training: bool = False) -> list[record_encoding.EncodedExample]:
    return list(record_encoding.encode(examples, TOKENIZER, training=training))


@pytest.mark.parametrize(
    ("prompt", "target", "prompt_read", "target_read"),
    [
        ("What is it?\n", "red", "What is it?\n", " red"),  # only spaces are removed from a prompt's end
        ("What is it?  ", "red \n", "What is it?", " red"),
        ("", "  Once.\n\nThe end. \n", "", "  Once.\n\nThe end."),  # a corpus is its text exactly
        ("   ", "red", "", "red"),
    ],
)
def test_token_rule(prompt: str, target: str, prompt_read: str, target_read: str) -> None:
    (one,) = encoded(PromptedExample(prompt, target, (target,), ("blue ", "red"), "id", "a template"))
    record = parse_example(one.record)
    assert record["prompt_ids"].tolist() == TOKENIZER.encode(prompt_read)
    assert record["target_ids"].tolist() == [*TOKENIZER.encode(target_read), 2]
    ids = [[*TOKENIZER.encode(f" {option}"), 2] for option in ("blue", "red")]
    assert record["option_ids"].tolist() == [*ids[0], *ids[1]]
    assert record["option_lengths"].tolist() == [len(ids[0]), len(ids[1])]
    assert (record["prompt_text"], record["target_text"]) == ([prompt.encode()], [target.encode()])
    assert (record["example_id"], record["template"]) == ([b"id"], [b"a template"])
    assert (one.prompt_tokens, one.target_tokens) == (len(record["prompt_ids"]), len(record["target_ids"]))


def test_training_records_hold_ids_only() -> None:
    (one,) = encoded(PromptedExample("a?", "b", ("b",), ("b", "c"), "7", "t"), training=True)
    assert set(parse_example(one.record)) == {"prompt_ids", "target_ids", "example_id", "template"}


@pytest.mark.parametrize("training", [True, False])
def test_batches_of_the_tokenizer_change_nothing(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    rng = np.random.default_rng()
    words = ["red ", "deep blue", "é", "colour of 1", " x"]
    examples = [
        PromptedExample(
            "".join(rng.choice(words, rng.integers(0, 9))),
            "".join(rng.choice(words, rng.integers(1, 4))),
            ("r",),
            tuple(rng.choice(words, rng.integers(0, 4))),
            str(number),
        )
        for number in range(60)
    ]
    alone = [one for example in examples for one in encoded(example, training=training)]
    assert encoded(*examples, training=training) == alone
    monkeypatch.setattr(record_encoding, "_BATCH_EXAMPLES", 7)
    assert encoded(*examples, training=training) == alone
    monkeypatch.setattr(record_encoding, "_BATCH_CHARACTERS", 40)
    assert encoded(*examples, training=training) == alone
