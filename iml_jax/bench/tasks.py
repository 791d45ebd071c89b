"""The SeqIO registry: one seqio.Task a planned task, one seqio.Mixture over them."""

from __future__ import annotations

import collections
import functools
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

_TEXT_FEATURES = {
    "inputs_pretokenized": tf.TensorSpec((), tf.string),
    "targets_pretokenized": tf.TensorSpec((), tf.string),
    "references": tf.TensorSpec((None,), tf.string),
    "options": tf.TensorSpec((None,), tf.string),
    "example_id": tf.TensorSpec((), tf.string),
    "template": tf.TensorSpec((), tf.string),
}


class PromptedSource(seqio.FunctionDataSource):
    """A planned task as a seqio.DataSource of prompted text.

    Capping and prompting happen while reading, not as tf.data steps, because what they drop must be
    counted by reason and a user's mistake in a file must leave TensorFlow's runtime unchanged, as the
    UserError it is. After a split was read to its end, ``dropped[split]``, ``demonstrations[split]`` and
    ``failure`` hold that.
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
        return tf.data.Dataset.from_generator(
            functools.partial(self._rows, split), output_signature=_TEXT_FEATURES
        )

    def _rows(self, split: str) -> Iterator[dict[str, Any]]:
        dropped = self.dropped[split] = collections.Counter()
        shown = self.demonstrations[split] = collections.Counter()
        try:
            yield from prompted_rows(
                self._planned, split, self._seed, dropped, room=self._room, demonstrations=shown
            )
        except Exception as error:
            self.failure = error


def target_ids(vocabulary: OptVocabulary, text: str) -> list[int]:
    """Ids of a target or option as it follows a prompt: one space, the text, ``</s>`` (OPT-IML section 3)."""
    return [*vocabulary.encode(" " + text.rstrip()), EOS]


def source_ids(vocabulary: OptVocabulary, text: str) -> list[int]:
    """Ids of a prompt, without trailing spaces, without ``</s>`` or beginning token (OPT-IML section 3)."""
    return list(vocabulary.encode(text.rstrip(" ")))


def tokenized(dataset: tf.data.Dataset, vocabulary: OptVocabulary) -> tf.data.Dataset:
    """SeqIO preprocessor: adds ``inputs``, ``targets``, ``option_ids``, ``option_lengths`` (int32, [n])."""

    def encode(source: bytes, target: bytes, options: np.ndarray) -> tuple[np.ndarray, ...]:
        encoded = [target_ids(vocabulary, option.decode()) for option in options]
        lists = (
            source_ids(vocabulary, source.decode()),
            target_ids(vocabulary, target.decode()),
            [index for option in encoded for index in option],
            [len(option) for option in encoded],
        )
        return tuple(np.asarray(values, np.int32) for values in lists)

    def add(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        texts = [features["inputs_pretokenized"], features["targets_pretokenized"], features["options"]]
        ids = tf.numpy_function(encode, texts, [tf.int32] * 4, stateful=False)
        for tensor in ids:
            tensor.set_shape([None])
        return {
            **features,
            **dict(zip(("inputs", "targets", "option_ids", "option_lengths"), ids, strict=True)),
        }

    return dataset.map(add, num_parallel_calls=None)


def build_task(planned: PlannedTask, vocabulary_dir: str, seed: int, length: int = 2048) -> seqio.Task:
    """The seqio.Task of a planned task, in the registry under its name (an older one is replaced).

    Args:
      planned: what to read.
      vocabulary_dir: directory of the tokenizer.
      seed: as ``PromptedSource``.
      length: positions of a row, which demonstrations must fit.
    """
    vocabulary = OptVocabulary(vocabulary_dir)
    room = Room(lambda text: len(vocabulary.encode(text)), length)
    feature = seqio.Feature(vocabulary, add_eos=False)  # `targets` end in </s> already
    if planned.name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(planned.name)
    return seqio.TaskRegistry.add(
        planned.name,
        source=PromptedSource(planned, seed, room),
        output_features={"inputs": feature, "targets": feature},
        preprocessors=[
            functools.partial(tokenized, vocabulary=vocabulary),
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
) -> seqio.Mixture | None:
    """Registers a planned mixture with SeqIO: its tasks, and a seqio.Mixture of the trained ones.

    Without a trained one (a suite of evaluation sets) there is no mixture: SeqIO has none without tasks.

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
    return seqio.MixtureRegistry.add(name, list(rates.items())) if rates else None
