"""Corpora: pre-training text and dialogue, whose whole text is the target (OPT-IML sections 3.2, table 6)."""

from __future__ import annotations

import abc
import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.sources.base import Item, NothingFoundError, Outcome, Source, TaskInfo, TaskSource
from iml_jax.bench.sources.corpora import files as corpus
from iml_jax.bench.sources.corpora.documents import documents
from iml_jax.bench.sources.corpora.files import CorpusFile
from iml_jax.bench.sources.formats.bounds import drop
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.records import json_records
from iml_jax.config.paths import SourcePath
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_bounded_lines

REST = "rest of a file from a malformed place on"


@dataclasses.dataclass(frozen=True)
class _Corpus(TaskSource):
    """What both corpora share: a folder's sets, each a task; examples without source and instruction.

    A corpus is trained on; ``splits`` says of which of its splits, so that those set apart stay apart. A
    malformed file of a set that ``sets`` names is refused; of another set what stands before the malformed
    place is read, and the rest of the file is counted as one row.
    """

    data_dir: SourcePath
    splits: tuple[str, ...] = dataclasses.field(
        default=("train",),
        metadata={
            "help": 'which splits are read; files are of "train" unless their name or folder says otherwise.'
        },
    )
    sets: tuple[str, ...] = ()

    category = ""

    def __post_init__(self) -> None:
        if not self.splits or (unknown := [split for split in self.splits if split not in SPLITS]):
            wrong = f"has {unknown[0]!r}" if self.splits else "is empty"
            raise UserError(f"{type(self).__name__}.splits {wrong}; it may have {', '.join(SPLITS)}")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"splits": sorted(self.splits), "sets": sorted(self.sets)}

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``: the sets with files of the splits asked for; no file is opened."""
        found = self._find()
        if not found:
            splits = ", ".join(self.splits)
            raise NothingFoundError(
                f"{self.data_dir}: no file of a set of {self.name} (of the splits {splits}); bind its folder"
            )
        return {task: functools.partial(self._info, task, files) for task, files in found.items()}

    def _info(self, task: str, files: Sequence[CorpusFile]) -> TaskInfo:
        held = {file.split for file in files}
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=self.category,
            role="train",
            splits=tuple(split for split in SPLITS if split in held),
            metric="rouge_l",
            files=tuple(file.path for file in files),
        )

    def unread(self) -> dict[Path, str]:
        """The files below the folder that no task is made from, sorted, with the reason."""
        files, unread = self._walk()
        other = {f.path: f"of the split {f.split}" for f in files if f.split not in self.splits}
        return dict(sorted((unread | other).items()))

    def _find(self) -> dict[str, list[CorpusFile]]:
        found: dict[str, list[CorpusFile]] = collections.defaultdict(list)
        for file in self._walk()[0]:
            if file.split in self.splits:
                found[file.task].append(file)
        return dict(found)

    def _walk(self) -> tuple[list[CorpusFile], dict[Path, str]]:
        """The files that are read, sorted, and the others with the reason why not."""
        own = type(self).__name__
        files, unread = self._files(directory(self.data_dir, f"{own}.data_dir"))
        if not self.sets:
            return files, unread
        here = {file.task for file in files}
        if gone := [name for name in self.sets if name not in here]:
            has = ", ".join(sorted(here)) or "none"
            raise UserError(f"{own}.sets: {self.data_dir} has no set {gone[0]}; it has {has}")
        others = [file.path for file in files if file.task not in self.sets]
        unread |= dict.fromkeys(others, f"{own}.sets does not name its set")
        return [file for file in files if file.task in self.sets], unread

    @staticmethod
    @abc.abstractmethod
    def _files(folder: Path) -> tuple[list[CorpusFile], dict[Path, str]]:
        """The files of every set below a folder, sorted, and the others with the reason why not."""

    @abc.abstractmethod
    def _whole(self, file: CorpusFile) -> Iterator[tuple[str, str, str]]:
        """(identity, text, why it is left out or "") of each document or dialogue.

        Raises:
          UserError: the file is malformed from some place on.
        """

    def _texts(self, file: CorpusFile) -> Iterator[tuple[str, str, str]]:
        """As ``_whole``; the rest of a malformed file counts as one that is left out, unless it was named."""
        try:
            yield from self._whole(file)
        except UserError as error:
            if file.task in self.sets:
                raise
            yield "", "", f"{REST}: {error}"

    def asked_for(self, task: str) -> Source:
        """As ``Source.asked_for``."""
        return dataclasses.replace(self, sets=(task,))

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, of documents or dialogues."""
        used: collections.Counter[str] = collections.Counter()
        files = self._find().get(task.task)
        if not files:
            raise UserError(f"{self.data_dir}: the files of {task.task} are gone; put them back")
        for file in files:
            if file.split != split:
                continue
            for identity, text, unusable in self._texts(file):
                name = f"{file.stem}:{identity}"
                used[name] += 1
                reason = unusable or ("" if text.strip() else "empty text")
                yield name if used[name] == 1 else f"{name}#{used[name]}", reason or Item("", (text,))


def _paragraph_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text; where one is too long and dropped, a paragraph ends."""
    for number, line in read_bounded_lines(path):
        if line is None:
            drop(path, number)
        yield number, line or ""


@dataclasses.dataclass(frozen=True)
class PretrainingText(_Corpus):
    """Plain texts (``.txt``) and JSON lines with a ``text`` each (as the Pile's), plain or ``.gz``.

    A file in the folder is a task of its own, a folder in it is one task. Longer texts are cut at paragraphs:
    what does not fit into a row would be lost.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder of the texts."})
    sets: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata={
            "help": "the sets to read; empty: every one. A malformed file of a set that is named here is "
            "refused; of another set its texts up to the malformed one are read, and the rest of it is "
            "counted as one row."
        },
    )
    document_characters: int = dataclasses.field(
        default=6000,
        metadata={"help": "most characters of a document; 6,000 of English prose are below 2,048 tokens."},
    )

    name = "pretrain"
    category = "Pre-training Text"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.document_characters < 1:
            raise UserError(f"PretrainingText.document_characters = {self.document_characters}: must be >= 1")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return super().settings() | {"document_characters": self.document_characters}

    @staticmethod
    def _files(folder: Path) -> tuple[list[CorpusFile], dict[Path, str]]:
        return corpus.find_texts(folder)

    def _whole(self, file: CorpusFile) -> Iterator[tuple[str, str, str]]:
        size = self.document_characters
        if file.kind == "text":
            for number, text in documents(_paragraph_lines(file.path), size):
                yield str(number), text, ""
            return
        for row in json_records(file.path, cut_later=True):
            value = row.values.get("text")
            if not isinstance(value, str):
                raise row.error("'text' must be a string")
            lines = enumerate((line.removesuffix("\r") for line in value.split("\n")), start=1)
            if not value.strip():
                yield str(row.number), "", ""
            for number, text in documents(lines, size):
                yield f"{row.number}.{number}", text, ""


@dataclasses.dataclass(frozen=True)
class Dialogue(_Corpus):
    """Dialogues: turns joined by one newline, without the names of the speakers (OPT-IML section 3.2).

    Each folder is a task. Read are SGD, MELD, bAbI dialogues, NPS chat, NLTK's Switchboard, and the sets of
    BlenderBot 3 that OPT-IML takes (Blended Skill Talk, ConvAI2, Wizard of Wikipedia, Wizard of the Internet,
    Multi-Session Chat, LIGHT and LIGHT WILD) in their own or in ParlAI's forms, and any JSON lines with a
    ``dialogue`` each; plain or ``.gz``. ``docs/reasoning_and_corpora.md`` names the files.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder of the sets."})
    sets: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata={
            "help": "the sets to read; empty: every one. A malformed file of a set that is named here is "
            "refused; of another set its dialogues up to the malformed one are read, and the rest of it is "
            "counted as one row."
        },
    )
    dialogue_characters: int = dataclasses.field(
        default=4500,
        metadata={"help": "most characters of an example; longer sessions are cut between turns."},
    )

    name = "dialogue"
    category = "Dialogue"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dialogue_characters < 1:
            raise UserError(f"Dialogue.dialogue_characters = {self.dialogue_characters}: must be >= 1")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return super().settings() | {"dialogue_characters": self.dialogue_characters}

    @staticmethod
    def _files(folder: Path) -> tuple[list[CorpusFile], dict[Path, str]]:
        return corpus.find_dialogues(folder)

    def _whole(self, file: CorpusFile) -> Iterator[tuple[str, str, str]]:
        for talk in corpus.READERS[file.kind](file.path):
            if talk.unusable or len(talk.text) <= self.dialogue_characters:
                yield talk.identity, talk.text, talk.unusable
                continue
            turns = enumerate(talk.text.split("\n"), start=1)
            for turn, text in documents(turns, self.dialogue_characters):
                yield f"{talk.identity}.{turn}", text, ""
