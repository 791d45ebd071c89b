"""A bench of any size in two public formats: Super-NaturalInstructions' task files and FLAN's prompts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from iml_jax.data import tokenizer as bpe
from iml_jax.data.manifest import FileEntry, Manifest, SplitEntry, TaskEntry, VocabularyEntry, save
from iml_jax.data.records import serialise_example

_CONSONANTS = ("b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "ch")
_SYLLABLES = [first + vowel for first in _CONSONANTS for vowel in ("a", "e", "i", "o", "u", "ea")]
_WORDS = 20_000
_POOL = 2_000_000  # words of running text that examples are cut from
_FLAN_SHARE = 0.25  # of the tasks
_FLAN_FILE_TASKS = 20
_EVALUATION_TASKS = 0.05  # of the number of trained tasks, besides these
_EVALUATION_INSTANCES = 100
_COPIES = 10  # of a task whose records are written directly


# What ``iml prepare`` makes of the sources that ``write`` writes.
MIXTURE = """
Mixture.name = "scale"
Mixture.sources = (@SuperNaturalInstructions(), @Flan())
SuperNaturalInstructions.data_dir = "{sources}/super_natural_instructions/tasks"
SuperNaturalInstructions.split_dir = "{sources}/super_natural_instructions/splits"
Flan.data_dir = "{sources}/flan"
Vocabulary.directory = "{sources}/tokenizer"
Prepare.output_dir = "{prepared}"
Prepare.workers = {workers}
"""


class _Text:
    """Running text of Zipf-distributed made-up words; examples are pieces of it."""

    def __init__(self, rng: np.random.Generator) -> None:
        drawn = sorted({"".join(rng.choice(_SYLLABLES, n)) for n in 1 + rng.poisson(1.4, _WORDS * 2)})
        words = rng.permutation(drawn)[:_WORDS]
        chances = 1 / np.arange(3, 3 + len(words))
        chosen = rng.choice(words, _POOL, p=chances / chances.sum())
        self._starts = np.concatenate([[0], np.cumsum(np.char.str_len(chosen) + 1)])
        self.whole = " ".join(chosen.tolist())
        self._rng = rng

    def pieces(self, words: np.ndarray) -> Iterator[str]:
        """A piece of each so many words."""
        firsts = self._rng.integers(0, _POOL - words)
        for begin, end in zip(self._starts[firsts], self._starts[firsts + words] - 1, strict=True):
            yield self.whole[begin:end]


def write(folder: Path, tasks: int, examples: int, mean_words: float, vocabulary: int) -> int:
    """Writes ``super_natural_instructions/``, ``flan/`` and ``tokenizer/`` into ``folder``.

    Tasks differ in size (log-normal, a factor of about 20 between the 5th and the 95th percentile) and in
    the length of their examples (log-normal about a median of their own).

    Args:
      folder: an empty folder.
      tasks: trained on; a quarter are FLAN's. There are 5% more, of 100 instances, to be evaluated.
      examples: of all trained tasks together.
      mean_words: of an example's input, on average.
      vocabulary: ids of the tokenizer, at most.

    Returns:
      Bytes written.
    """
    rng = np.random.default_rng(0)
    text = _Text(rng)
    sizes = _sizes(rng, tasks, examples)
    flan = int(tasks * _FLAN_SHARE)
    _write_flan(folder / "flan", sizes[:flan], text, rng, mean_words)
    named = [(f"task{number:04d}_scale", size) for number, size in enumerate(sizes[flan:])]
    evaluated = [f"task{9000 + number}_scale_test" for number in range(round(tasks * _EVALUATION_TASKS))]
    named += [(name, _EVALUATION_INSTANCES) for name in evaluated]
    _write_super_natural(folder / "super_natural_instructions", named, text, rng, mean_words)
    splits = folder / "super_natural_instructions" / "splits"
    splits.mkdir()
    (splits / "test_tasks.txt").write_text("".join(f"{name}\n" for name in evaluated))
    trained = [name for name, _ in named if name not in set(evaluated)]
    (splits / "train_tasks.txt").write_text("".join(f"{name}\n" for name in trained))
    bpe.train([text.whole[at : at + 1000] for at in range(0, 1_000_000, 1000)], vocabulary).save(
        folder / "tokenizer"
    )
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sizes(rng: np.random.Generator, tasks: int, examples: int) -> np.ndarray:
    """Examples of each task."""
    weights = rng.lognormal(0, 0.9, tasks)
    sizes = np.maximum(2, np.floor(weights / weights.sum() * examples)).astype(int)
    sizes[np.argmax(sizes)] += examples - sizes.sum()
    return sizes


def _lengths(rng: np.random.Generator, size: int, mean_words: float) -> np.ndarray:
    """Words of each example of a task."""
    median = mean_words * rng.lognormal(-0.305, 0.6)  # exp(-(0.6 ** 2 + 0.5 ** 2) / 2): the mean is kept
    return np.clip(median * rng.lognormal(0, 0.5, size), 3, 3000).astype(int)


def _write_super_natural(
    folder: Path, named: list[tuple[str, int]], text: _Text, rng: np.random.Generator, mean_words: float
) -> None:
    (folder / "tasks").mkdir(parents=True)
    for number, (name, size) in enumerate(named):
        definition = next(text.pieces(rng.integers(20, 60, 1)))
        inputs = text.pieces(_lengths(rng, size, mean_words))
        outputs = text.pieces(1 + rng.geometric(0.3, size))
        instances = [
            {"id": f"{name}-{place}", "input": f"{place} {source}", "output": [target]}
            for place, (source, target) in enumerate(zip(inputs, outputs, strict=True))
        ]
        shown = [{"input": one["input"], "output": one["output"][0], "explanation": ""} for one in instances]
        content = {
            "Contributors": ["Scale"],
            "Source": ["scale"],
            "Categories": [f"Category {number % 60}"],
            "Definition": [definition],
            "Positive Examples": shown[:2],
            "Negative Examples": [],
            "Instances": instances,
        }
        (folder / "tasks" / f"{name}.json").write_text(json.dumps(content))


def _write_flan(
    folder: Path, sizes: np.ndarray, text: _Text, rng: np.random.Generator, mean_words: float
) -> None:
    """Files of a few tasks each, their rows in mixed order."""
    folder.mkdir(parents=True)
    for first in range(0, len(sizes), _FLAN_FILE_TASKS):
        part = sizes[first : first + _FLAN_FILE_TASKS]
        owners = rng.permutation(np.repeat(np.arange(first, first + len(part)), part))
        lengths = {first + place: iter(_lengths(rng, size, mean_words)) for place, size in enumerate(part)}
        inputs = text.pieces(np.array([next(lengths[owner]) for owner in owners]))
        targets = text.pieces(1 + rng.geometric(0.3, len(owners)))
        with (folder / f"flan2021_zsnoopt_train_{first:05d}.jsonl").open("w") as file:
            for owner, source, target in zip(owners, inputs, targets, strict=True):
                row = {
                    "inputs": source,
                    "targets": target,
                    "task_source": "Flan2021",
                    "task_name": f"scale_{owner:04d}",
                    "template_type": "zs_noopt",
                }
                file.write(json.dumps(row) + "\n")


def write_records(prepared: Path, tasks: int, examples: int, mean_words: float, vocabulary: int) -> None:
    """Writes a prepared directory of such tasks without `iml prepare`: random ids, the same distributions.

    Of ten tasks each, nine are copies of the first.

    Args:
      prepared: an empty folder.
      tasks: all trained on.
      examples: of all tasks together.
      mean_words: of an example's input, on average; a word is about 1.3 tokens here.
      vocabulary: ids.
    """
    rng = np.random.default_rng(0)
    pool = rng.integers(4, vocabulary, _POOL).astype(np.int32)
    splits: list[SplitEntry] = []
    sizes = np.repeat(_sizes(rng, -(-tasks // _COPIES), -(-examples // _COPIES)), _COPIES)[:tasks]
    for number, size in enumerate(sizes):
        folder = Path("cache", "scale", f"task{number:04d}", "zero_shot")
        (prepared / folder).mkdir(parents=True)
        path = folder / "train.array_record-00000-of-00001"
        if number % _COPIES:
            (file,) = splits[-1].files
            shutil.copyfile(prepared / file.path, prepared / path)
            splits.append(dataclasses.replace(splits[-1], files=(dataclasses.replace(file, path=str(path)),)))
        else:
            splits.append(_write_shard(prepared, path, int(size), pool, rng, mean_words))
    rates = np.minimum(sizes, 4096) / np.minimum(sizes, 4096).sum()
    entries = tuple(
        TaskEntry(
            name=f"scale:task{number:04d}:zero_shot",
            benchmark="scale",
            task=f"task{number:04d}",
            category=f"Category {number % 60}",
            role="train",
            level="",
            metric="rouge_l",
            trained=True,
            evaluated=False,
            evaluation_split="",
            cap=min(split.examples, 4096),
            rate=float(rates[number]),
            fingerprint=str(number),
            splits={"train": split},
        )
        for number, split in enumerate(splits)
    )
    ids = VocabularyEntry(vocabulary, -(-vocabulary // 8) * 8, "none")
    save(Manifest(name="scale", length=2048, vocabulary=ids, tasks=entries), prepared)


def _write_shard(  # noqa: PLR0917
    prepared: Path, path: Path, size: int, pool: np.ndarray, rng: np.random.Generator, mean_words: float
) -> SplitEntry:
    instruction = rng.choice(pool, rng.integers(25, 80))
    sources = (_lengths(rng, size, mean_words) * 1.3).astype(int)
    targets = 1 + (rng.geometric(0.3, size) * 1.3).astype(int)
    firsts = rng.integers(0, _POOL - 4096, size)
    writer = ArrayRecordWriter(str(prepared / path), "group_size:1")
    for place, (first, source, target) in enumerate(zip(firsts, sources, targets, strict=True)):
        row: dict[str, np.ndarray | list[bytes]] = {
            "prompt_ids": np.concatenate([instruction, pool[first : first + source]]),
            "target_ids": np.append(pool[first + source : first + source + target], np.int32(bpe.EOS)),
            "example_id": [b"%d" % place],
            "template": [b""],
        }
        writer.write(serialise_example(row))
    writer.close()
    content = (prepared / path).read_bytes()
    file = FileEntry(str(path), size, len(content), hashlib.sha256(content).hexdigest())
    loss = int((targets + 1).sum())
    return SplitEntry((file,), size, int((len(instruction) + sources).sum()) + loss, loss, 0, {})
