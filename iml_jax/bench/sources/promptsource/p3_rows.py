"""P3, the rendered prompts of PromptSource, in its public forms: names, files and rows.

* ``bigscience/P3``: a folder ``DATASET_SUBSET_TEMPLATE/`` for each prompt, with ``SPLIT.tfrecord-…`` as on
  the hub or with the rows in any format that ``datasets`` knows: inputs_pretokenized, targets_pretokenized
  and, where the template has them, answer_choices. Folders ``…_score_eval`` hold one row for each candidate
  (idx, is_correct, weight).
* JSON Lines (or JSON, Parquet), one file ``DATASET_SUBSET_TEMPLATE.jsonl`` for each prompt, of prompt and
  completion, which ends in ``<|endoftext|>``; or of inputs and targets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.base import Item
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.arrow_folders import arrow_rows
from iml_jax.bench.sources.formats.bounds import LONG_ROW, LongRow, is_long
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.datasets import locate
from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.formats.rows import located_rows
from iml_jax.bench.sources.promptsource.filter import flat
from iml_jax.foundation import extras
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries, is_there
from iml_jax.storage.reading import parse_json, read_text, regular_file

RANKED = "_score_eval"
END = "<|endoftext|>"
_PAIRS = (
    ("inputs_pretokenized", "targets_pretokenized"),
    ("prompt", "completion"),
    ("inputs", "targets"),
)
_FILE = re.compile(r"(?P<name>(?!info\.|stats\.).+?)\.(jsonl|json|parquet)(\.gz)?")
_RECORDS = re.compile(r"(?P<split>\w+)\.tfrecord-\d{5}-of-(?P<shards>\d{5})")
_CANDIDATES = 4096  # of one example
CANDIDATE = "another candidate of the same example"


@dataclasses.dataclass(frozen=True, slots=True)
class PromptFiles:
    """The files of one prompt.

    Attributes:
      name: as its file or folder is named, without ``_score_eval``.
      task, template: ``DATASET[/SUBSET]``, and the rest of the name.
      splits: published split -> (its files, whether they have one row for each candidate).
    """

    name: str
    task: str
    template: str
    splits: Mapping[str, tuple[tuple[Path, ...], bool]]


@functools.cache
def _known() -> dict[str, str]:
    """Flat name of a dataset -> its name."""
    return {flat(row.task): row.task for row in known_tasks.every("promptsource")}


def parse_name(name: str) -> tuple[str, str]:
    """``DATASET_SUBSET_TEMPLATE`` -> (``DATASET/SUBSET``, the template as P3 spells it).

    The longest known dataset counts; a name without one is a task of its own.
    """
    spelled = flat(name)
    starts = (spelled[:end] for end in range(len(spelled), 0, -1) if spelled[end : end + 1] in ("_", ""))
    for start in starts:
        if start in _known():
            return _known()[start], spelled[len(start) + 1 :]
    return name, ""


def find(folder: Path) -> tuple[tuple[PromptFiles, ...], Copies]:
    """Every prompt in a folder, sorted by name, and the files of the same prompts that are not read.

    Of one split of a prompt plain rows are read before those of its candidates, which hold no more; the hub's
    records before other files of its folder, and these before a file of the prompt beside the folders.

    Raises:
      UserError: shards are missing.
    """
    every: dict[tuple[str, str], list[tuple[tuple[Any, ...], tuple[Path, ...], bool]]] = {}
    left = Copies()
    for place, (name, split, files) in enumerate(
        itertools.chain(_folders(folder, left), _flat_files(folder))
    ):
        ranked = name.endswith(RANKED)
        beside = files[0].parent == folder
        order = (ranked, beside, *(copies.by_form(files[0]) if beside else (place,)))
        every.setdefault((name.removesuffix(RANKED), split), []).append((order, files, ranked))
    found: dict[str, dict[str, tuple[tuple[Path, ...], bool]]] = {}
    for (name, split), held in every.items():
        (_, files, ranked), *others = sorted(held, key=lambda one: one[0])
        found.setdefault(name, {})[split] = (files, ranked)
        left |= {path: copies.why(path, files[0], "prompt") for _, more, _ in others for path in more}
    prompts = tuple(PromptFiles(name, *parse_name(name), splits) for name, splits in sorted(found.items()))
    read = {path for prompt in prompts for files, _ in prompt.splits.values() for path in files}
    return prompts, {path: why for path, why in left.items() if path not in read}


def _flat_files(folder: Path) -> Iterator[tuple[str, str, tuple[Path, ...]]]:
    for path in entries(folder):
        if (match := _FILE.fullmatch(path.name)) and path.is_file():
            yield match["name"], "train", (path,)


def _folders(folder: Path, left: Copies) -> Iterator[tuple[str, str, tuple[Path, ...]]]:
    """(name, split, files) of each prompt's folder; ``left`` receives the copies in it."""
    for inner in [path for path in entries(folder) if path.is_dir() and path.name[0] != "_"]:
        records: dict[str, list[Path]] = {}
        for path in entries(inner):
            if match := _RECORDS.fullmatch(path.name):
                records.setdefault(match["split"], []).append(path)
        for split, shards in records.items():
            files, others = copies.whole_split(shards)
            left |= others
            yield inner.name, split, files
        dataset = None if records else locate(folder, inner.name)
        if dataset and dataset.kind == "tfds":
            raise UserError(f"{inner}: a TFDS folder; give the hub's records, or the rows as JSON Lines")
        if dataset:
            left |= dataset.copies
        for split, files in dataset.splits.items() if dataset else ():
            yield inner.name, split, files


def has_options(prompt: PromptFiles) -> bool:
    """Whether the rows give their options, judged by the first of the first file (or what describes it)."""
    for split, (files, ranked) in prompt.splits.items():
        if ranked:
            return True
        described = files[0].parent / f"info.{split}.json"
        if _RECORDS.fullmatch(files[0].name) and is_there(described):
            with contextlib.suppress(UserError):  # the first row shows it as well
                info = parse_json(read_text(described), described)
                return isinstance(info, dict) and "answer_choices" in (info.get("features") or {})
        rows = (row.values for row in _rows(files[:1]) if not isinstance(row.values, LongRow))
        return bool(next(rows, {}).get("answer_choices"))
    return False


def filled(prompt: PromptFiles, split: str) -> Iterator[Item | str]:
    """The rows of one split in the order of the files, or why a row (or candidate) is of no use.

    Raises:
      UserError: a file is malformed, or its rows are none of P3's.
    """
    files, ranked = prompt.splits[split]
    rows = _rows(files)
    if not ranked:
        for row in rows:
            yield LONG_ROW if isinstance(row.values, LongRow) else _filled(row)
        return
    before: Any = None

    def example(row: Record) -> Any:
        """What the candidates of one example share; one that is too long is taken for one more of them."""
        nonlocal before
        if not isinstance(row.values, LongRow):
            idx = row.values.get("idx")
            before = idx[0] if isinstance(idx, list | tuple) and idx else row.values.get(_PAIRS[0][0])
        return before

    for _, group in itertools.groupby(rows, key=example):
        yield from _ranked(list(itertools.islice(group, _CANDIDATES + 1)))


def _ranked(candidates: list[Record]) -> Iterator[Item | str]:
    if len(candidates) > _CANDIDATES:
        place = candidates[0].place
        raise UserError(f"{place}: more than {_CANDIDATES} candidates of one example; fix the file")
    group = [row for row in candidates if not isinstance(row.values, LongRow)]
    for _ in candidates[len(group) :]:
        yield LONG_ROW
    if not group:
        return
    prompt, _ = _pair(group[0])
    targets = [(_pair(row)[1], row.values.get("is_correct")) for row in group]
    options = tuple(dict.fromkeys(text for texts, _ in targets for text in texts))
    correct = tuple(dict.fromkeys(text for texts, right in targets if _one(right) for text in texts))
    for _ in group[1:]:
        yield CANDIDATE
    if not prompt:
        yield "empty prompt"
    elif not correct:
        yield "no candidate is correct"
    else:
        yield Item(prompt, correct, options)


def _one(value: Any) -> bool:
    return bool(value[0]) if isinstance(value, list | tuple) and value else bool(value)


def _filled(row: Record) -> Item | str:
    prompt, targets = _pair(row)
    if not prompt:
        return "empty prompt"
    if not targets:
        return "empty target"
    given = row.values.get("answer_choices") or ()
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple):
        raise row.error(f"'answer_choices' is a {type(given).__name__}; it must be a list of texts")
    options = tuple(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))
    return Item(prompt, targets, options)


def _pair(row: Record) -> tuple[str, tuple[str, ...]]:
    """Prompt and distinct targets, stripped; either may be empty."""
    values = row.values
    for source, target in _PAIRS:
        prompt, given = values.get(source), values.get(target)
        if isinstance(prompt, str) and isinstance(given, str | list):
            texts = [given] if isinstance(given, str) else given
            kept = (text.strip().removesuffix(END).strip() for text in texts if isinstance(text, str))
            return prompt.strip(), tuple(dict.fromkeys(text for text in kept if text))
    has = ", ".join(map(str, values)) or "nothing"
    raise UserError(f"{row.place}: no texts inputs_pretokenized and targets_pretokenized; the row has {has}")


def _rows(files: tuple[Path, ...]) -> Iterator[Record]:
    """The rows of several files; the values of one that is too long are a ``LongRow``.

    The rows of the templates of a dataset belong together by their number: none may be missing in between.
    """
    for path in files:
        if _RECORDS.fullmatch(path.name):
            read = _records
        else:
            read = arrow_rows if path.suffix == ".arrow" else located_rows
        for number, row in read(path):
            yield Record(f"{path}:{number}", number, LongRow() if is_long(row) else row)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a TFRecord file of the hub: texts, lists of texts and lists of numbers."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(f"{path}: needs TensorFlow to read; {extras.remedy('tensorflow')}") from error
    from iml_jax.data.records import parse_example

    number = 0
    try:
        for record in tf.data.TFRecordDataset(str(regular_file(path))).as_numpy_iterator():
            number += 1
            features = parse_example(record, file=path, index=number - 1)
            yield number, {name: _plain(name, values) for name, values in features.items()}
    except tf.errors.OpError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged after record {number} ({reason}); fetch it again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: record {number} is not UTF-8; fetch it again") from error


def _plain(name: str, values: Any) -> Any:
    if isinstance(values, list):
        texts = [value.decode("utf-8") for value in values]
        return texts[0] if name.endswith("_pretokenized") and len(texts) == 1 else texts
    return values.tolist()
