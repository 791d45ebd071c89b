"""Datasets on disk, by name, in the row formats that their publishers use.

A name is ``DATASET`` or ``DATASET/SUBSET``, as Hugging Face and TensorFlow Datasets spell it. Under the data
folder it may be:

* ``DATASET[/SUBSET]/SPLIT.{jsonl,json,csv,tsv,parquet}[.gz]``, also in shards ``SPLIT-00000-of-00003``;
* a clone from the Hugging Face hub: ``DATASET/data/SPLIT-00000-of-00001.parquet``,
  ``DATASET/SUBSET/SPLIT-…``, ``DATASET/data/SUBSET/SPLIT-…`` or ``DATASET/SUBSET/SPLIT/0000.parquet``;
* a folder of ``datasets.save_to_disk`` (``arrow_folders``);
* what ``tensorflow_datasets`` prepared, ``DATASET[/SUBSET]/VERSION/`` (``tfds_folders``).

Where it is there in several of these ways, one is read by a rule (``locate``), and ``LocalDataset.copies``
says what is not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats import arrow_folders, copies, tfds_folders
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.formats.rows import located_rows
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries, is_there, walk

FORMATS = ("rows", "arrow", "tfds")
# Names that publishers give to the only subset of a dataset without subsets.
_ONLY_SUBSET = ("default", "plain_text")
_DATA = "data"
_WORD = (
    "train|training|validation|valid|val|dev|devel|test|testing|eval|evaluation|unsupervised|unlabeled"
    "|extra|auxiliary|challenge"
)
_FILE = re.compile(
    r"(?P<split>[\w.-]+?)(-(?P<index>\d{5})-of-(?P<shards>\d{5})(-[0-9a-f]{8,})?)?"
    r"\.(?P<kind>jsonl|json|csv|tsv|parquet)(\.gz)?"
)
_SPLIT = re.compile(rf"(?:{_WORD})(?:[-_.][\w.-]+)?")
_NUMBERED = re.compile(r"\d{4,}\.parquet")  # the hub's own conversion: SPLIT/0000.parquet


@dataclasses.dataclass(frozen=True)
class LocalDataset:
    """One dataset (or subset) found on disk.

    Attributes:
      name: as asked for.
      folder: what holds it.
      kind: one of ``FORMATS``.
      splits: published split name -> its files, sorted.
      metadata: files besides those of the splits that decide how rows come out.
      copies: files with rows of the same dataset that are not read -> why.
    """

    name: str
    folder: Path
    kind: str
    splits: Mapping[str, tuple[Path, ...]]
    metadata: tuple[Path, ...] = ()
    copies: Mapping[Path, str] = dataclasses.field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the rows are made from, split by split, then the metadata."""
        return (*(path for paths in self.splits.values() for path in paths), *self.metadata)

    def rows(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Streams (number from 1 within the split, row) in the order of the files.

        Raises:
          UserError: no such split; or a file is malformed: names file, place and remedy.
        """
        return ((number, row.values) for number, row in enumerate(self.records(split), start=1))

    def records(self, split: str) -> Iterator[Record]:
        """Streams the rows as records; the values of one that is too long to be parsed are a ``LongRow``.

        The place of a record is ``FILE:LINE`` or ``FILE:ROW``; for TFDS the file is the version's folder.

        Raises:
          UserError: as ``rows``.
        """
        if split not in self.splits:
            has = ", ".join(self.splits)
            raise UserError(f"{self.folder}: no split {split!r} of {self.name}; it has {has}")
        if self.kind == "tfds":
            for number, row in tfds_folders.tfds_rows(self.folder, split):
                yield Record(f"{self.folder}:{number}", number, row)
            return
        read = arrow_folders.arrow_rows if self.kind == "arrow" else located_rows
        for path in self.splits[split]:
            for number, row in read(path):
                yield Record(f"{path}:{number}", number, row)

    def label_names(self, column: str) -> tuple[str, ...] | None:
        """The names of a class label's numbers, first that of 0; None where the format does not know them.

        Raises:
          UserError: the metadata are malformed.
        """
        if self.kind == "tfds":
            return tfds_folders.tfds_class_names(self.folder, column)
        for split, paths in self.splits.items():
            if self.kind == "arrow":
                features = arrow_folders.arrow_features(self.folder, split)
            elif paths[0].suffix == ".parquet":
                features = arrow_folders.parquet_features(paths[0])
            else:
                continue
            if names := arrow_folders.class_names(features.get(column)):
                return names
        return None


def locate(data_dir: Path, name: str) -> LocalDataset | None:
    """The dataset of that name under ``data_dir``, or None where nothing is.

    ``-`` and ``_`` count as the same. A version (``glue/rte:2.0.0``) chooses among those that TFDS prepared,
    of which the highest is read otherwise; other formats carry none and it is not looked at.

    Of several folders with the dataset the one with the most splits is read, and of these the nearest: the
    exact spelling before others, the folder itself before ``data`` and ``default`` below it. Of several
    formats in one folder it is ``save_to_disk``'s, then TFDS's, then ``copies.TABLES``.

    Raises:
      UserError: the name is none, or the files of the dataset or of a copy are incomplete or malformed.
    """
    parts, version = _parse(name)
    found: list[LocalDataset] = []
    for folder in _candidates(data_dir, parts):
        for dataset in _read(folder, name, version):
            if dataset.folder not in [other.folder for other in found if other.kind == dataset.kind]:
                found.append(dataset)
    return _one(found)


def locate_first(data_dir: Path, names: Sequence[str]) -> LocalDataset | None:
    """As ``locate``, of a dataset that has several names: the first of them that is there is read."""
    found = [dataset for name in names if (dataset := locate(data_dir, name))]
    return _with_copies(found[0], found[1:]) if found else None


def _one(found: Sequence[LocalDataset]) -> LocalDataset | None:
    if not found:
        return None
    most = max(len(dataset.splits) for dataset in found)
    read = next(dataset for dataset in found if len(dataset.splits) == most)
    return _with_copies(read, [dataset for dataset in found if dataset is not read])


def _with_copies(read: LocalDataset, others: Sequence[LocalDataset]) -> LocalDataset:
    left = dict(read.copies)
    for other in others:
        left |= {**dict.fromkeys(other.files, copies.same(read.folder, "dataset")), **other.copies}
    own = set(read.files)
    kept = {path: reason for path, reason in sorted(left.items()) if path not in own}
    return dataclasses.replace(read, copies=kept)


def missing(data_dir: Path, name: str, how: str) -> str:
    """One line: that no rows of ``name`` are there, where they belong, and ``how`` a person gets them."""
    parts, version = _parse(name)
    place = data_dir.joinpath(*parts)
    text = f"no rows of {name}; they belong into {place}/ as SPLIT.jsonl (or csv, tsv, parquet), "
    text += "a datasets.save_to_disk folder or a TFDS folder"
    for folder in _candidates(data_dir, parts):
        if version and (others := tfds_folders.versions(folder)):
            text = f"no version {version} of {'/'.join(parts)}; {folder} has {', '.join(others)}"
    return f"{text}: {how}" if how else text


def present(data_dir: Path) -> list[str]:
    """The names of every dataset and subset under ``data_dir``, sorted, without opening files.

    Raises:
      UserError: it is no folder, or rows lie in it outside any dataset's folder.
    """
    if not data_dir.is_dir():
        raise UserError(f"{data_dir}: no such folder; give the one that holds the datasets")
    names: set[str] = set()
    for here, below, files in walk(data_dir, follow_links=True):
        below[:] = [part for part in below if not part.startswith("_")]
        if not _holds(here, files, below):
            continue
        parts = list(here.relative_to(data_dir).parts)
        if not parts:
            raise UserError(f"{data_dir}: rows belong into DATASET[/SUBSET]/ below it; move the files there")
        names.add("/".join(_named(parts)))
    return sorted(names)


def _holds(folder: Path, files: list[str], below: list[str]) -> bool:
    """Whether a folder is a dataset; takes from ``below`` what is inside of it."""
    if arrow_folders.is_arrow_folder(folder) or (
        tfds_folders.FEATURES in files and tfds_folders.is_version(folder)
    ):
        below[:] = []
        return True
    inside = set(tfds_folders.versions(folder)) | set(_split_folders(folder, below))
    below[:] = [part for part in below if part not in inside]
    return bool(inside) or any(map(_file, files))


def _named(parts: list[str]) -> list[str]:
    """A dataset's name from its path: the hub's ``data`` folders and ``default`` are no part of it."""
    if len(parts) > 1 and parts[-1] in (_DATA, "default"):
        return _named(parts[:-1])
    if len(parts) > 2 and parts[-2] == _DATA:
        return [*parts[:-2], parts[-1]]
    return parts


def _parse(name: str) -> tuple[tuple[str, ...], str]:
    """Path parts and version of a name."""
    path, _, version = name.removeprefix("huggingface:").partition(":")
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UserError(f"{name!r} is no name of a dataset; give DATASET or DATASET/SUBSET")
    return parts, version


def _candidates(data_dir: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Existing folders that may hold the dataset, nearest first."""
    for base in _variants(data_dir, parts):
        yield base
        yield from (
            base / part for part in (_DATA, *_ONLY_SUBSET, f"default/{_DATA}") if (base / part).is_dir()
        )
    if len(parts) > 1:
        yield from _variants(data_dir, (*parts[:-1], _DATA, parts[-1]))


def _variants(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Folders whose path is ``parts`` under ``folder``, the exact spelling first."""
    if not parts:
        yield folder
        return
    if not folder.is_dir():
        return
    wanted = same_name(parts[0])
    exact = folder / parts[0]
    others = [path for path in entries(folder) if same_name(path.name) == wanted and path != exact]
    for path in (exact, *others):
        if path.is_dir():
            yield from _variants(path, parts[1:])


def same_name(name: str) -> str:
    """The spelling that stands for all those of a name: ``-`` and ``_`` count as the same."""
    return name.replace("-", "_")


def _read(folder: Path, name: str, version: str) -> Iterator[LocalDataset]:
    """The datasets that lie in this very folder, in the order in which they are preferred."""
    if arrow_folders.is_arrow_folder(folder):
        splits, metadata = arrow_folders.arrow_splits(folder)
        yield LocalDataset(name, folder, "arrow", splits, metadata)
    if is_there(folder / tfds_folders.FEATURES) and tfds_folders.is_version(folder):
        splits, metadata = tfds_folders.tfds_splits(folder)
        yield LocalDataset(name, folder, "tfds", splits, metadata)
    known = tfds_folders.versions(folder)
    if chosen := [other for other in known if _matches(other, version)]:
        splits, metadata = tfds_folders.tfds_splits(folder / chosen[-1])
        others = Copies()
        for other in known:
            if other != chosen[-1]:
                others |= copies.below(folder / other, folder / chosen[-1], "dataset")
        yield LocalDataset(name, folder / chosen[-1], "tfds", splits, metadata, others)
    files, twins = _row_files(folder)
    if files and not (known and not chosen):  # rows carry no version, those beside TFDS's are of another
        yield LocalDataset(name, folder, "rows", files, copies=twins)


def _matches(version: str, wanted: str) -> bool:
    """Whether a version is the one asked for; TFDS also writes ``1.*.*``."""
    pairs = zip(version.split("."), wanted.split("."), strict=False)
    return not wanted or all(asked in ("*", own) for own, asked in pairs)


def _row_files(folder: Path) -> tuple[dict[str, tuple[Path, ...]], Copies]:
    """Split -> files of a folder of row files, splits sorted; and their copies."""
    names = [path.name for path in entries(folder)]
    found: dict[str, list[Path]] = {}
    for name in names:
        if (match := _file(name)) and (folder / name).is_file():
            found.setdefault(match["split"], []).append(folder / name)
    splits: dict[str, tuple[Path, ...]] = {}
    left = Copies()
    for split, paths in found.items():
        splits[split], others = copies.whole_split(paths)
        left |= others
    for split in _split_folders(folder, names):
        inside = _numbered(folder / split)
        if split in splits:
            left |= dict.fromkeys(inside, copies.same(splits[split][0], "split"))
        else:
            splits[split] = inside
    return dict(sorted(splits.items())), left


def _numbered(folder: Path) -> tuple[Path, ...]:
    """The files of a split of the hub's own conversion.

    Raises:
      UserError: they are not numbered from 0 without a gap.
    """
    files = tuple(path for path in entries(folder) if _NUMBERED.fullmatch(path.name))
    for number, path in enumerate(files):
        if int(path.stem) != number:
            raise UserError(f"{path}: {number:04d}.parquet is not there; fetch the files before it")
    return files


def _split_folders(folder: Path, names: list[str]) -> list[str]:
    """The folders among ``names`` that are a split of the hub's own conversion."""
    folders = (folder / name for name in names if _SPLIT.fullmatch(name) and (folder / name).is_dir())
    return [path.name for path in folders if any(_NUMBERED.fullmatch(file.name) for file in entries(path))]


def _file(name: str) -> re.Match[str] | None:
    """The parts of a row file's name; any name may be a split's if it is numbered as a shard."""
    match = _FILE.fullmatch(name)
    return match if match and (match["shards"] or _SPLIT.fullmatch(match["split"])) else None
