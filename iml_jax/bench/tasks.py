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
from rouge_score import rouge_scorer
from t5.evaluation import metrics

from iml_jax.bench.mixtures import PlannedTask
from iml_jax.bench.prompted_examples import Room, prompted_examples
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

# Features of a row of which it has one, and of which it has several.
SINGLE = ("inputs_pretokenized", "targets_pretokenized", "example_id", "template")
SEVERAL = ("references", "options")
TOKENIZED = ("inputs", "targets", "option_ids", "option_lengths")
# A block of rows has: ``texts`` [4, rows], the features of SINGLE; under its name each feature of SEVERAL
# and, once tokenised, TOKENIZED: the values of all rows, flat; ``counts`` [2 or 6, rows]: how many each row
# has of these. Few tensors, because tracing each one costs milliseconds a task.
_BLOCK_ROWS = 256
_BLOCK_BYTES = 1 << 20


class PromptedSource(seqio.FunctionDataSource):
    """A planned task as a seqio.DataSource: blocks of prompted rows (see ``rows``).

    TensorFlow takes about a millisecond to get one element from Python and back, whatever is in it; hence
    up to 256 rows an element. Capping and prompting happen while reading, not as tf.data steps, because what
    they drop must be counted by reason and a user's mistake in a file must leave TensorFlow's runtime
    unchanged, as the UserError it is. After a split was read to its end, ``dropped[split]``,
    ``demonstrations[split]`` and ``failure`` hold that.
    """

    def __init__(self, planned: PlannedTask, seed: int, room: Room | None = None) -> None:
        """``seed`` and ``room`` as ``prompted_examples``."""
        self._planned = planned
        self._seed = seed
        self._room = room
        self.dropped: dict[str, collections.Counter[str]] = {}
        self.demonstrations: dict[str, collections.Counter[str]] = {}
        self.failure: Exception | None = None
        super().__init__(dataset_fn=self._dataset, splits=tuple(planned.caps))

    def _dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # our own seed, so that neither Beam nor SeqIO changes the examples
        signature = {
            "texts": tf.TensorSpec((len(SINGLE), None), tf.string),
            **{name: tf.TensorSpec((None,), tf.string) for name in SEVERAL},
            "counts": tf.TensorSpec((len(SEVERAL), None), tf.int32),
        }
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
            yield from prompted_examples(
                self._planned, split, self._seed, dropped, room=self._room, demonstrations=shown
            )
        except Exception as error:
            self.failure = error


def _block_of(part: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "texts": [[row[name] for row in part] for name in SINGLE],
        **{name: [value for row in part for value in row[name]] for name in SEVERAL},
        "counts": [[len(row[name]) for row in part] for name in SEVERAL],
    }


def tokenized(dataset: tf.data.Dataset, vocabulary: OptVocabulary) -> tf.data.Dataset:
    """SeqIO preprocessor of blocks: adds ``inputs``, ``targets``, ``option_ids``, ``option_lengths`` (int32).

    A prompt loses its trailing spaces and gets no ``</s>`` or beginning token; a target or option follows it
    as one space, the text, ``</s>`` (OPT-IML section 3). After an empty prompt (a corpus) there is no
    space: the whole text is the target exactly.
    """

    def encode(texts: np.ndarray, options: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        sources, targets = texts[:2]
        prompts = [text.decode().rstrip(" ") for text in sources]
        spaces = [" " if prompt else "" for prompt in prompts] + [" "] * len(options)
        texts_after = zip(spaces, (*targets, *options), strict=True)
        answers = [space + text.decode().rstrip() for space, text in texts_after]
        ids = vocabulary.tokenizer.encode_all(prompts + answers)
        of_prompts, of_answers = ids[: len(sources)], [[*answer, EOS] for answer in ids[len(sources) :]]
        of_targets, of_options = of_answers[: len(targets)], of_answers[len(targets) :]
        lengths = np.array([len(option) for option in of_options], np.int32)
        ends = np.cumsum(counts[SEVERAL.index("options")])
        before = np.concatenate([[0], np.cumsum(lengths)])
        made = [
            [len(prompt) for prompt in of_prompts],
            [len(target) for target in of_targets],
            np.diff(before[np.concatenate([[0], ends])]),
            counts[SEVERAL.index("options")],
        ]
        all_counts = np.concatenate([counts, np.array(made, np.int32)])
        return _flat(of_prompts), _flat(of_targets), _flat(of_options), lengths, all_counts

    def add(block: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = [block[name] for name in ("texts", "options", "counts")]
        *made, counts = tf.numpy_function(encode, given, [tf.int32] * (len(TOKENIZED) + 1), stateful=False)
        for tensor in made:
            tensor.set_shape([None])
        counts.set_shape([len(SEVERAL) + len(TOKENIZED), None])
        return {**block, **dict(zip(TOKENIZED, made, strict=True)), "counts": counts}

    return dataset.map(add, num_parallel_calls=None)


def _flat(lists: Sequence[list[int]]) -> np.ndarray:
    """int32: the values of all lists."""
    return np.fromiter(itertools.chain.from_iterable(lists), np.int32, sum(map(len, lists)))


def rows(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """SeqIO preprocessor: blocks into rows, each feature a text or a vector of its own length."""

    def ragged(block: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = dict(zip(SINGLE, tf.unstack(block["texts"]), strict=True))
        for name, lengths in zip((*SEVERAL, *TOKENIZED), tf.unstack(block["counts"]), strict=True):
            features[name] = tf.RaggedTensor.from_row_lengths(block[name], lengths, validate=False)
        return features

    return dataset.map(ragged).unbatch().map(lambda row: row)


def rows_of(block: Mapping[str, np.ndarray], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """As ``rows``, of one block in numpy: ``names`` of each row, texts as a list of one."""
    parts: list[Sequence[Any]] = []
    for name in names:
        if name in SINGLE:
            parts.append([[text] for text in block["texts"][SINGLE.index(name)]])
        else:
            counts = block["counts"][(*SEVERAL, *TOKENIZED).index(name)]
            values = block[name].tolist() if name in SEVERAL else block[name]
            ends = np.cumsum(counts)
            parts.append([values[end - count : end] for count, end in zip(counts, ends, strict=True)])
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
