"""Prompted examples -> token ids -> serialised records (no TensorFlow).

``tasks.build_task`` defines the same records as a seqio.Task; a test holds the two equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from iml_jax.bench.prompting import PromptedExample
from iml_jax.data import record_format
from iml_jax.data.records import serialise_example
from iml_jax.data.tokenizer import EOS, Tokenizer

_BATCH_EXAMPLES = 256  # tokenised together, so that an instruction they share is tokenised once
_BATCH_CHARACTERS = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedExample:
    """A serialised record, and the number of its prompt and target tokens before truncation."""

    record: bytes
    prompt_tokens: int
    target_tokens: int


def encode(
    examples: Iterable[PromptedExample], tokenizer: Tokenizer, *, training: bool
) -> Iterator[EncodedExample]:
    """Tokenises and serialises examples, in their order.

    A prompt loses its trailing spaces and gets no ``</s>`` or beginning token; a target or option follows it
    as one space, the text, ``</s>`` (OPT-IML section 3). After an empty prompt (a corpus) there is no space:
    the target is exactly the text.

    Args:
      examples: what to encode.
      tokenizer: of the prepared directory.
      training: records of a training split, which hold neither texts nor options.
    """
    for batch in _batches(examples):
        yield from _encode_batch(batch, tokenizer, training=training)


def _batches(examples: Iterable[PromptedExample]) -> Iterator[list[PromptedExample]]:
    batch: list[PromptedExample] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.prompt_text) + len(example.target_text)
        if len(batch) == _BATCH_EXAMPLES or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _encode_batch(
    batch: Sequence[PromptedExample], tokenizer: Tokenizer, *, training: bool
) -> Iterator[EncodedExample]:
    prompts = [example.prompt_text.rstrip(" ") for example in batch]
    answers = [
        (" " if prompt else "") + example.target_text.rstrip()
        for prompt, example in zip(prompts, batch, strict=True)
    ]
    options = [] if training else [" " + option.rstrip() for example in batch for option in example.options]
    ids = tokenizer.encode_all([*prompts, *answers, *options])
    option_ids = iter(ids[2 * len(batch) :])
    for number, example in enumerate(batch):
        prompt_ids = np.array(ids[number], np.int64)
        target_ids = np.array([*ids[len(batch) + number], EOS], np.int64)
        if training:
            record = _training_record(example, prompt_ids, target_ids)
        else:
            own = [[*next(option_ids), EOS] for _ in example.options]
            record = _question_record(example, prompt_ids, target_ids, own)
        yield EncodedExample(record, len(prompt_ids), len(target_ids))


def _training_record(example: PromptedExample, prompt_ids: np.ndarray, target_ids: np.ndarray) -> bytes:
    prompt_ids, target_ids = record_format.truncate_example(prompt_ids, target_ids)
    return serialise_example(
        {
            record_format.PROMPT_IDS: prompt_ids,
            record_format.TARGET_IDS: target_ids,
            record_format.EXAMPLE_ID: [example.example_id.encode()],
            record_format.TEMPLATE: [example.template.encode()],
        }
    )


def _question_record(
    example: PromptedExample, prompt_ids: np.ndarray, target_ids: np.ndarray, options: Sequence[Sequence[int]]
) -> bytes:
    prompt_ids, target_ids, cut = record_format.truncate_question(prompt_ids, target_ids)
    features: dict[str, np.ndarray | Sequence[bytes]] = {
        record_format.PROMPT_IDS: prompt_ids,
        record_format.TARGET_IDS: target_ids,
        record_format.PROMPT_TEXT: [example.prompt_text.encode()],
        record_format.TARGET_TEXT: [example.target_text.encode()],
        record_format.REFERENCES: [reference.encode() for reference in example.references],
        record_format.OPTIONS: [option.encode() for option in example.options],
        record_format.OPTION_IDS: np.array([index for ids in options for index in ids], np.int64),
        record_format.OPTION_LENGTHS: np.array([len(ids) for ids in options], np.int64),
        record_format.EXAMPLE_ID: [example.example_id.encode()],
        record_format.TEMPLATE: [example.template.encode()],
    }
    if cut:
        features[record_format.PROMPT_TOKENS_CUT] = np.array([cut], np.int64)
    return serialise_example(features)
