"""The raw official forms of T5's datasets: which files hold them, and their rows in TFDS's schema.

SuperGLUE's JSONL, SST-2's labelled sentences, the XML of the RTE challenges, definite pronoun resolution's
blocks, line-aligned or SGML parallel text, and rows of summaries.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.blocks import read_blocks
from iml_jax.bench.sources.formats.bounds import bounded_lines
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import SPLIT_NAMES
from iml_jax.bench.sources.formats.parallel_text import Aligned, aligned, parallel_rows
from iml_jax.bench.sources.formats.rows import Row, read_rows
from iml_jax.bench.sources.shared_datasets.rte import read_rte
from iml_jax.bench.sources.shared_datasets.superglue import CONFIGS, is_labelled, superglue_rows
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import walk

_SPLITS = SPLIT_NAMES | {
    "val": "validation",
    "valid": "validation",
    "unlabeled": "train",
    "unlabelled": "train",
}
_SUPERGLUE = re.compile(r"(?P<split>train|val|validation|dev|test|unlabell?ed|AX-[bg])([._-].+)?\.jsonl")
_SENTENCES = re.compile(r"stsa\.binary(\.phrases)?\.(?P<split>train|dev|test)")
_RTE = re.compile(r"(?i)rte-?\d.*?(?P<split>dev|test).*\.xml")
_BLOCKS = re.compile(r"(?P<split>train|test)\.c\.txt")
_SUMMARIES = re.compile(
    r"(?P<dataset>xsum|cnn_dailymail)[_-](?P<split>train|validation|val|dev|test)\.(jsonl|csv|tsv|parquet)"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One file (parallel text: two) with rows of a dataset.

    Attributes:
      dataset: name of the dataset, TFDS's where it has one, else ``FOLDER:SOURCE:TARGET`` (parallel text).
      split: one of ``data.terms.SPLITS``.
      paths: the files.
      kind: their format.
      labelled: False where the file holds no labels.
    """

    dataset: str
    split: str
    paths: tuple[Path, ...]
    kind: str
    labelled: bool = True

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(number of the row, row in TFDS's schema), in file order.

        Raises:
          UserError: the file is malformed.
        """
        path = self.paths[0]
        match self.kind:
            case "superglue":
                yield from superglue_rows(path, self.dataset.rpartition("/")[2])
            case "sentences":
                yield from _labelled_sentences(path)
            case "rte":
                yield from read_rte(path)
            case "blocks":
                for number, block in read_blocks(path):
                    yield number, dataclasses.asdict(block)
            case "parallel":
                source, target = self.dataset.split(":")[-2:]
                yield from parallel_rows(path, self.paths[1], source, target)
            case _:
                for row_number, row in read_rows(path):
                    yield str(row_number), row


def find(data_dir: Path, claimed: frozenset[Path]) -> tuple[dict[str, list[Part]], dict[Path, str], Copies]:
    """The parts of every dataset below a folder, and the files that are not read with the reason.

    Args:
      data_dir: the folder.
      claimed: folders below it whose files are not looked at.

    Returns:
      Dataset -> its parts; the files of no known form; and copies of files that are read.
    """
    parts: dict[str, list[Part]] = collections.defaultdict(list)
    unread: dict[Path, str] = {}
    aside = Copies()
    for folder, folders, files in walk(data_dir):
        folders[:] = [inner for inner in folders if folder / inner not in claimed]
        if folder in claimed:
            continue
        found, twins = copies.once(((name.removesuffix(".gz"), folder / name) for name in files), "file")
        aside |= twins
        pairs, unused = aligned(folder, found)
        used = set(unused)
        unread.update(unused)
        for pair in pairs:
            parts[f"{folder.name}:{pair.languages[0]}:{pair.languages[1]}"].append(_parallel(folder, pair))
            used.update(pair.paths)
        for bare, path in found.items():
            if path in used:
                continue
            if part := _part(path, bare):
                parts[part.dataset].append(part)
            else:
                unread[path] = "no known form of a dataset"
    return dict(parts), unread, aside


def _parallel(folder: Path, pair: Aligned) -> Part:
    source, target = pair.languages
    return Part(f"{folder.name}:{source}:{target}", pair.split, pair.paths, "parallel")


def _part(path: Path, bare: str) -> Part | None:
    config = CONFIGS.get(path.parent.name.lower())
    if config and (match := _SUPERGLUE.fullmatch(bare)):
        split = _SPLITS.get(match["split"], "test")
        return Part(f"super_glue/{config}", split, (path,), "superglue", is_labelled(path, config))
    if match := _SENTENCES.fullmatch(bare):
        return Part("glue/sst2", SPLIT_NAMES[match["split"]], (path,), "sentences")
    if match := _RTE.fullmatch(bare):
        return Part("glue/rte", SPLIT_NAMES[match["split"].lower()], (path,), "rte")
    if match := _BLOCKS.fullmatch(bare):
        return Part("definite_pronoun_resolution", match["split"], (path,), "blocks")
    if match := _SUMMARIES.fullmatch(f"xsum_{bare}" if path.parent.name == "xsum" else bare):
        return Part(match["dataset"], _SPLITS[match["split"]], (path,), "rows")
    return None


def _labelled_sentences(path: Path) -> Iterator[tuple[str, Row]]:
    """SST-2 as ``LABEL SENTENCE`` a line."""
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        label, space, sentence = line.partition(" ")
        if label not in ("0", "1") or not space:
            raise UserError(f"{path}:{number}: not 0 or 1, a space and a sentence; fix the line")
        yield str(number), {"sentence": sentence, "label": int(label)}
