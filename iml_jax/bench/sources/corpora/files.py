"""Which files of a folder hold texts or dialogues: of which set and split, and in which form."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from iml_jax.bench.sources.corpora import dialogue_formats as formats
from iml_jax.bench.sources.corpora import switchboard
from iml_jax.bench.sources.corpora.dialogue_formats import Dialogues
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.files import SPLIT_NAMES

_SPLIT_OF = SPLIT_NAMES | {"val": "validation", "valid": "validation", "trn": "train", "tst": "test"}
_SPLIT = re.compile(rf"(?i)(?<![a-z])({'|'.join(_SPLIT_OF)})(?![a-z])")
_PICKLE = "a pickle, which may run code when it is opened; convert it to JSON lines"

READERS: Mapping[str, Callable[[Path], Dialogues]] = {
    "sgd": formats.sgd,
    "meld": formats.meld,
    "numbered": formats.numbered,
    "nps_chat": formats.nps_chat,
    "switchboard": switchboard.discourse,
    "switchboard_tagged": switchboard.tagged,
    "parlai": formats.parlai_text,
    "text": formats.any_text,
    "generic": formats.generic,
}
# (what the end of a path looks like, the form, the task where the file lies in the data folder itself).
_DIALOGUES = (
    (r"dialogues_\d+\.json", "sgd", "sgd"),
    (r"(train|dev|test)_sent_emo\.csv", "meld", "meld"),
    (r"dialog-babi-.*(trn|dev|tst)(-OOV)?\.txt", "numbered", "babi_dialog"),
    (r"(train|valid|test)_(none|self|both|other)_(original|revised)(_no_cands)?\.txt", "numbered", "convai2"),
    (r".*posts\.xml", "nps_chat", "nps_chat"),
    (r"switchboard/discourse", "switchboard", "switchboard"),
    (r"switchboard/tagged", "switchboard_tagged", "switchboard"),
    (r"speech_(train|valid|test)(_unseen)?\.txt", "parlai", "light"),
    (r"(train|valid|test)\.txt", "text", ""),
    (r".*\.jsonl?", "generic", ""),
)
# Files of these distributions that hold no dialogue of their own; the first that matches says why.
_NO_DIALOGUES = (
    (r".*/schema\.json|.*/topic_splits\.json", "says what a set is made of"),
    (r".*\.metadata", "says how dialogues were made"),
    (r".*/kvret_entities\.json", "entities, no dialogues"),
    (r".*/dialog-babi-(candidates|kb)[^/]*", "candidates or facts, no dialogues"),
    (r".*(?<!_no)_cands\.txt", "candidates, no dialogues"),
    (r".*/(human_annotations|[^/]*persona[^/]*)\.(json|txt)", "personas or annotations, no dialogues"),
    (r".*/msc_personasummary/.*|.*/(sessionlevel_)?summaries_[^/]*\.json", "summaries of other dialogues"),
    (r".*/(action|emote|which)_(train|valid|test)(_unseen)?\.txt", "the dialogues of speech_*.txt once more"),
    (r".*\.(pkl|pickle)", _PICKLE),
    (r".*/README[^/]*|.*/LICEN[CS]E[^/]*", "about the files beside it"),
)
# Where a set comes in several forms, only the first that is there is read, per folder and split.
_TWINS = (
    tuple(
        rf"(train|valid|test)_{who}_{how}{more}\.txt"
        for how in ("original", "revised")
        for who in ("none", "self", "both", "other")
        for more in ("_no_cands", "")
    ),
    (r"(train|valid|test)\.jsonl?", r"(train|valid|test)\.txt"),
    (r"discourse", r"tagged"),
    (r"train\.json", r"data\.json"),
)


@dataclasses.dataclass(frozen=True)
class CorpusFile:
    """A file of a corpus.

    Attributes:
      path: the file.
      task: its set.
      split: one of ``data.terms.SPLITS``.
      kind: its form: a key of ``READERS``; of texts ``text`` or ``json``.
    """

    path: Path
    task: str
    split: str
    kind: str

    @property
    def stem(self) -> str:
        """The file's name without its endings."""
        return _bare(self.path.name)


def find_texts(root: Path) -> tuple[list[CorpusFile], dict[Path, str]]:
    """Plain texts and JSON lines below a folder, and the other files with why they are not read."""
    files: list[CorpusFile] = []
    found, unread = copies.files_below(root)
    for path, relative in found:
        name = relative.removesuffix(".gz")
        kind = "text" if name.endswith(".txt") else "json" if name.endswith((".jsonl", ".json")) else ""
        if reason := _reason(f"/{relative}", ""):
            unread[path] = reason
        elif kind:
            files.append(CorpusFile(path, _task(relative) or root.name, split_of(relative), kind))
        elif name.endswith((".zst", ".xz", ".bz2", ".zip", ".tar")):
            unread[path] = "packed in a form that is not read; unpack it or use gzip"
        else:
            unread[path] = "neither .txt nor .jsonl"
    return files, unread


def find_dialogues(root: Path) -> tuple[list[CorpusFile], dict[Path, str]]:
    """Dialogue files below a folder, and the other files with the reason why they are not read."""
    files: list[CorpusFile] = []
    found, unread = copies.files_below(root)
    for path, relative in found:
        whole = f"{root.name}/{relative}".removesuffix(".gz")
        if reason := _reason(f"/{whole}", ""):
            unread[path] = reason
            continue
        for pattern, kind, task in _DIALOGUES:
            if re.fullmatch(f"(?i)(.*/)?{pattern}", whole):
                folder = relative.partition("/")[0] if "/" in relative else ""
                name = folder or task or _task(relative) or root.name
                files.append(CorpusFile(path, name, split_of(relative), kind))
                break
        else:
            unread[path] = "no known form of a dialogue set"
    return _without_twins(files, unread), unread


def split_of(relative: str) -> str:
    """The split that a path names: its file name, else the innermost folder that does; ``train`` if none."""
    for part in reversed(relative.split("/")):
        if match := _SPLIT.search(part):
            return _SPLIT_OF[match[1].lower()]
    return "train"


def _task(relative: str) -> str:
    """A path's first folder that is not named after a split; in no folder, the file's name without one."""
    *folders, name = relative.split("/")
    for folder in folders:
        if folder.lower() not in _SPLIT_OF:
            return folder
    stem = _bare(name)
    return (
        "" if folders else re.sub(rf"[-_.]?{_SPLIT.pattern.removeprefix('(?i)')}[-_.]?", "", stem, flags=re.I)
    )


def _bare(name: str) -> str:
    return name.removesuffix(".gz").rpartition(".")[0] or name.removesuffix(".gz")


def _reason(path: str, default: str) -> str:
    bare = path.removesuffix(".gz")
    return next((why for pattern, why in _NO_DIALOGUES if re.fullmatch(f"(?i){pattern}", bare)), default)


def _without_twins(files: list[CorpusFile], unread: dict[Path, str]) -> list[CorpusFile]:
    kept = list(files)
    for forms in _TWINS:
        best: dict[tuple[Path, str], tuple[int, CorpusFile]] = {}
        for file in kept.copy():
            name = file.path.name.removesuffix(".gz")
            rank = next((i for i, form in enumerate(forms) if re.fullmatch(f"(?i){form}", name)), None)
            if rank is None:
                continue
            place = (file.path.parent, file.split)
            other = best.get(place)
            if other is None:
                best[place] = (rank, file)
                continue
            if other[0] == rank:
                continue
            (_, first), (_, second) = sorted((other, (rank, file)), key=lambda each: each[0])
            best[place] = (min(rank, other[0]), first)
            kept.remove(second)
            unread[second.path] = f"the dialogues of {first.path.name} once more"
    return kept
