"""The SeqIO registry: one seqio.Task per planned task, one seqio.Mixture over them.

SeqIO defines what is prepared; ``caching`` writes the same without TensorFlow; a test holds the two equal.
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
from rouge_score import rouge_scorer
from t5.evaluation import metrics

from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.prompted_examples import TokenBudget, prompted_examples
from iml_jax.bench.vocabulary import OptVocabulary
from iml_jax.data.answer_extraction import stated_answer
from iml_jax.data.tokenizer import EOS


def _rouge_l(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    return metrics.rouge(targets, predictions, score_keys=("rougeL",))


def _rouge_l_stemmed(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    points = [scorer.score(*pair)["rougeL"].fmeasure for pair in zip(targets, predictions, strict=True)]
    return {"rougeL": 100 * sum(points) / len(points)}


def _stated_answer(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    found = metrics.sequence_accuracy(targets, [stated_answer(text) for text in predictions])
    return {"stated_answer": found["sequence_accuracy"]}


# What a SeqIO evaluation of these tasks would compute; `iml evaluate` computes the same without TensorFlow.
METRIC_FNS = {
    "accuracy": metrics.accuracy,
    "exact_match": metrics.sequence_accuracy,
    "rouge_l": _rouge_l,
    "rouge_l_stemmed": _rouge_l_stemmed,
    # Of single answers: SeqIO's targets do not say which of them belong to one question.
    "question_accuracy": metrics.accuracy,
    "stated_answer": _stated_answer,
}

# The features of an element that are one text each, several texts each, and vectors of ids or lengths.
SINGLE = ("inputs_pretokenized", "targets_pretokenized", "example_id", "template")
SEVERAL = ("references", "options")
TOKENIZED = ("inputs", "targets", "option_ids", "option_lengths")


class PromptedSource(seqio.FunctionDataSource):
    """A planned task as a seqio.DataSource of prompted examples, with the text features SINGLE and SEVERAL.

    Sampling and prompting happen while reading, not as tf.data steps, because what they drop must be counted
    by reason and a user's mistake in a file must leave TensorFlow's runtime unchanged, as the UserError that
    it is. After a split was read to its end, ``dropped[split]``, ``demonstrations[split]`` and ``failure``
    hold these.
    """

    def __init__(self, planned: PlannedTask, seed: int, budget: TokenBudget | None = None) -> None:
        """``seed`` and ``budget`` as ``prompted_examples``."""
        self._planned = planned
        self._seed = seed
        self._budget = budget
        self.dropped: dict[str, collections.Counter[str]] = {}
        self.demonstrations: dict[str, collections.Counter[str]] = {}
        self.failure: Exception | None = None
        super().__init__(dataset_fn=self._dataset, splits=tuple(planned.caps))

    def _dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # our own seed, so that SeqIO does not change the examples
        signature = {name: tf.TensorSpec((), tf.string) for name in SINGLE}
        signature |= {name: tf.TensorSpec((None,), tf.string) for name in SEVERAL}
        return tf.data.Dataset.from_generator(
            functools.partial(self._elements, split), output_signature=signature
        )

    def _elements(self, split: str) -> Iterator[dict[str, Any]]:
        dropped = self.dropped[split] = collections.Counter()
        shown = self.demonstrations[split] = collections.Counter()
        examples = prompted_examples(
            self._planned, split, self._seed, dropped, budget=self._budget, demonstrations=shown
        )
        try:
            for example in examples:
                texts = (example.prompt_text, example.target_text, example.example_id, example.template)
                yield {
                    **dict(zip(SINGLE, texts, strict=True)),
                    "references": list(example.references),
                    "options": list(example.options),
                }
        except Exception as error:
            self.failure = error


def tokenized(dataset: tf.data.Dataset, vocabulary: OptVocabulary) -> tf.data.Dataset:
    """SeqIO preprocessor: adds ``inputs``, ``targets``, ``option_ids``, ``option_lengths`` (int32 vectors).

    A prompt loses its trailing spaces and gets no ``</s>`` or beginning token; a target or option follows it
    as one space, the text, ``</s>`` (OPT-IML section 3). After an empty prompt (a corpus) there is no
    space: the target is exactly the text.
    """

    def encode(prompt: bytes, target: bytes, options: np.ndarray) -> tuple[np.ndarray, ...]:
        text = prompt.decode().rstrip(" ")
        answers = [(" " if text else "") + target.decode(), *(" " + option.decode() for option in options)]
        ids = [[*vocabulary.tokenizer.encode(answer.rstrip()), EOS] for answer in answers]
        flat = list(itertools.chain.from_iterable(ids[1:]))
        vectors = (vocabulary.tokenizer.encode(text), ids[0], flat, list(map(len, ids[1:])))
        return tuple(np.array(vector, np.int32) for vector in vectors)

    def add(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = [element[name] for name in (*SINGLE[:2], "options")]
        vectors = tf.numpy_function(encode, given, [tf.int32] * len(TOKENIZED), stateful=False)
        for vector in vectors:
            vector.set_shape([None])
        return {**element, **dict(zip(TOKENIZED, vectors, strict=True))}

    return dataset.map(add)


def build_task(planned: PlannedTask, vocabulary_dir: str, seed: int, length: int = 2048) -> seqio.Task:
    """The seqio.Task of a planned task, in the registry under its name (an older one is replaced).

    It defines the records that ``iml prepare`` writes. Its elements have SeqIO's feature names
    (``inputs_pretokenized``, ``targets``); records have those of ``data.record_format``.

    Args:
      planned: what to read.
      vocabulary_dir: directory of the tokenizer.
      seed: as ``PromptedSource``.
      length: positions of a row, which demonstrations must fit.
    """
    vocabulary = OptVocabulary(vocabulary_dir)
    budget = TokenBudget(lambda text: len(vocabulary.tokenizer.encode(text)), length)
    feature = seqio.Feature(vocabulary, add_eos=False)  # `targets` end in </s> already
    if planned.name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(planned.name)
    return seqio.TaskRegistry.add(
        planned.name,
        source=PromptedSource(planned, seed, budget),
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
