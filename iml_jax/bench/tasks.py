"""The SeqIO registry: one seqio.Task a planned task, one seqio.Mixture over them."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
from t5.evaluation import metrics

from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.reading import Room, prompted_rows
from iml_jax.bench.vocabulary import OptVocabulary
from iml_jax.data.tokenizer import EOS


def _rouge_l(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    return metrics.rouge(targets, predictions, score_keys=("rougeL",))


# What a SeqIO evaluation of these tasks would compute; `iml evaluate` computes the same without TensorFlow.
METRIC_FNS = {
    "accuracy": metrics.accuracy,
    "exact_match": metrics.sequence_accuracy,
    "rouge_l": _rouge_l,
    # Of single answers: SeqIO's targets do not say which of them belong to one question.
    "question_accuracy": metrics.accuracy,
}

# A block's features: texts [rows]; of what a row has several of, the flat values of all rows, and how many
# each row has under ``counts_of`` its name [rows].
SINGLE = ("inputs_pretokenized", "targets_pretokenized", "example_id", "template")
SEVERAL = {"references": tf.string, "options": tf.string}
TOKENIZED = ("inputs", "targets", "option_ids", "option_lengths")
_BLOCK_ROWS = 256
_BLOCK_BYTES = 1 << 20


def counts_of(name: str) -> str:
    """The feature of a block that says how many values of ``name`` each row has."""
    return f"{name}/counts"


class PromptedSource(seqio.FunctionDataSource):
    """A planned task as a seqio.DataSource: blocks of prompted rows (see ``rows``).

    TensorFlow takes about a millisecond to get one element from Python and back, whatever is in it; hence
    up to 256 rows an element. Capping and prompting happen while reading, not as tf.data steps, because what
    they drop must be counted by reason and a user's mistake in a file must leave TensorFlow's runtime
    unchanged, as the UserError it is. After a split was read to its end, ``dropped[split]``,
    ``demonstrations[split]`` and ``failure`` hold that.
    """

    def __init__(self, planned: PlannedTask, seed: int, room: Room | None = None) -> None:
        """``seed`` and ``room`` as ``prompted_rows``."""
        self._planned = planned
        self._seed = seed
        self._room = room
        self.dropped: dict[str, collections.Counter[str]] = {}
        self.demonstrations: dict[str, collections.Counter[str]] = {}
        self.failure: Exception | None = None
        super().__init__(dataset_fn=self._dataset, splits=tuple(planned.caps))

    def _dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # our own seed, so that neither Beam nor SeqIO changes the examples
        signature = {name: tf.TensorSpec((None,), tf.string) for name in (*SINGLE, *SEVERAL)}
        signature |= {counts_of(name): tf.TensorSpec((None,), tf.int32) for name in SEVERAL}
        return tf.data.Dataset.from_generator(
            functools.partial(self._blocks, split), output_signature=signature
        )

    def _blocks(self, split: str) -> Iterator[dict[str, Any]]:
        block: list[dict[str, Any]] = []
        held = 0
        for row in self._rows(split):
            block.append(row)
            held += len(row["inputs_pretokenized"]) + len(row["targets_pretokenized"])
            if len(block) == _BLOCK_ROWS or held >= _BLOCK_BYTES:
                yield _block_of(block)
                block, held = [], 0
        if block:
            yield _block_of(block)

    def _rows(self, split: str) -> Iterator[dict[str, Any]]:
        dropped = self.dropped[split] = collections.Counter()
        shown = self.demonstrations[split] = collections.Counter()
        try:
            yield from prompted_rows(
                self._planned, split, self._seed, dropped, room=self._room, demonstrations=shown
            )
        except Exception as error:
            self.failure = error


def _block_of(part: Sequence[dict[str, Any]]) -> dict[str, Any]:
    block: dict[str, Any] = {name: [row[name] for row in part] for name in SINGLE}
    for name in SEVERAL:
        block[name] = [value for row in part for value in row[name]]
        block[counts_of(name)] = [len(row[name]) for row in part]
    return block


def tokenized(dataset: tf.data.Dataset, vocabulary: OptVocabulary) -> tf.data.Dataset:
    """SeqIO preprocessor of blocks: adds ``inputs``, ``targets``, ``option_ids``, ``option_lengths`` (int32).

    A prompt loses its trailing spaces and gets no ``</s>`` or beginning token; a target or option follows it
    as one space, the text, ``</s>`` (OPT-IML section 3).
    """

    def encode(
        sources: np.ndarray, targets: np.ndarray, options: np.ndarray, options_of: np.ndarray
    ) -> list[np.ndarray]:
        texts = [text.decode().rstrip(" ") for text in sources]
        texts += [" " + text.decode().rstrip() for text in (*targets, *options)]
        ids = vocabulary.tokenizer.encode_all(texts)
        for answer in ids[len(sources) :]:
            answer.append(EOS)
        of_options = ids[len(sources) + len(targets) :]
        lengths = [len(option) for option in of_options]
        ends = np.concatenate([[0], np.cumsum(options_of)])
        totals = np.concatenate([[0], np.cumsum(lengths)])[ends]
        made = [
            *_flat(ids[: len(sources)]),
            *_flat(ids[len(sources) : len(sources) + len(targets)]),
            _flat(of_options)[0],
            np.diff(totals),
            lengths,
            options_of,
        ]
        return [np.asarray(values, np.int32) for values in made]

    def add(block: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = ["inputs_pretokenized", "targets_pretokenized", "options", counts_of("options")]
        names = [part for name in TOKENIZED for part in (name, counts_of(name))]
        made = tf.numpy_function(
            encode, [block[name] for name in given], [tf.int32] * len(names), stateful=False
        )
        for tensor in made:
            tensor.set_shape([None])
        return {**block, **dict(zip(names, made, strict=True))}

    return dataset.map(add, num_parallel_calls=None)


def _flat(lists: Sequence[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The values of all lists, and the length of each; int32."""
    lengths = np.fromiter(map(len, lists), np.int32, len(lists))
    return np.fromiter(itertools.chain.from_iterable(lists), np.int32, int(lengths.sum())), lengths


def rows(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """SeqIO preprocessor: blocks into rows, each feature a text or a vector of its own length."""

    def ragged(block: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = {name: block[name] for name in SINGLE}
        for name in (*SEVERAL, *TOKENIZED):
            lengths = block[counts_of(name)]
            features[name] = tf.RaggedTensor.from_row_lengths(block[name], lengths, validate=False)
        return features

    return dataset.map(ragged).unbatch().map(lambda row: row)


def rows_of(block: Mapping[str, np.ndarray], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """As ``rows``, of one block in numpy: ``names`` of each row, texts as a list of one."""
    parts = []
    for name in names:
        if name in SINGLE:
            parts.append([[text] for text in block[name]])
        else:
            ends = np.cumsum(block[counts_of(name)])
            values = block[name].tolist() if block[name].dtype == object else block[name]
            parts.append(
                [values[end - count : end] for count, end in zip(block[counts_of(name)], ends, strict=True)]
            )
    for row in zip(*parts, strict=True):
        yield dict(zip(names, row, strict=True))


def build_task(
    planned: PlannedTask, vocabulary_dir: str, seed: int, length: int = 2048, *, in_blocks: bool = False
) -> seqio.Task:
    """The seqio.Task of a planned task, in the registry under its name (an older one is replaced).

    Args:
      planned: what to read.
      vocabulary_dir: directory of the tokenizer.
      seed: as ``PromptedSource``.
      length: positions of a row, which demonstrations must fit.
      in_blocks: leave the last step, ``rows``, to ``rows_of``, as the cache job does.
    """
    vocabulary = OptVocabulary(vocabulary_dir)
    room = Room(lambda text: len(vocabulary.tokenizer.encode(text)), length)
    feature = seqio.Feature(vocabulary, add_eos=False)  # `targets` end in </s> already
    if planned.name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(planned.name)
    return seqio.TaskRegistry.add(
        planned.name,
        source=PromptedSource(planned, seed, room),
        output_features={"inputs": feature, "targets": feature},
        preprocessors=[
            functools.partial(tokenized, vocabulary=vocabulary),
            *(() if in_blocks else (rows,)),
            seqio.CacheDatasetPlaceholder(required=False),
        ],
        metric_fns=[METRIC_FNS[planned.info.metric]] if planned.evaluation_split else [],
    )


def register(
    name: str,
    planned: Sequence[PlannedTask],
    rates: Mapping[str, float],
    vocabulary_dir: str,
    *,
    seed: int,
    length: int = 2048,
) -> seqio.Mixture:
    """Registers a planned mixture with SeqIO: its tasks, and a seqio.Mixture of the trained ones.

    Args:
      name: of the mixture; an older one is replaced.
      planned: its tasks.
      rates: trained task -> rate, as ``rates.mixing_rates`` gives.
      vocabulary_dir: directory of the tokenizer.
      seed: as ``PromptedSource``.
      length: as ``build_task``.
    """
    for task in planned:
        build_task(task, vocabulary_dir, seed, length)
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    return seqio.MixtureRegistry.add(name, list(rates.items()))
