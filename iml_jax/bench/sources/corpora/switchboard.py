"""The Switchboard sample of NLTK: calls with discourse annotation, or with parts of speech."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

from iml_jax.bench.sources.corpora.dialogue_formats import Dialogues, Talk
from iml_jax.bench.sources.formats.bounds import Block
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_bounded_lines

_DISCOURSE = re.compile(r"\s*\S+\s+(?P<speaker>[AB])\.\d+\s+utt\d+:(?P<said>.*)")
_TAGGED = re.compile(r"(?P<speaker>[AB])\.\d+:(?P<said>.*)")
# What annotators added: remarks, noises, slash units, overlap; {D well, } marks a discourse word that stays.
_REMARK = re.compile(r"\*\[\[.*?\]\]|<+[^<>]*>+")
_MARK = re.compile(r"\{[A-Z]\s|[{}#\[\]+]|\(\(|\)\)|(?<=\s)-{1,2}(?=\s|/|$)|-?/\s*$|\*")
_ODD_SPACE = re.compile(r"\s+([,.?!;:])")
_CLITIC = re.compile(r" (?=n't\b|'(s|m|re|ve|d|ll)\b)|\s+(?=[,.?!;:])")


def discourse(path: Path) -> Dialogues:
    """``ACT SPEAKER.TURN uttN: words``, calls set apart by empty lines; utterances of a speaker make a turn.

    Lines that are no utterance are remarks on a call's recording. False starts stay as they were said.
    """
    yield from _calls(path, _DISCOURSE, _words)


def tagged(path: Path) -> Dialogues:
    """``SPEAKER.TURN: word/TAG word/TAG``, calls set apart by empty lines."""
    yield from _calls(path, _TAGGED, _untagged)


def _calls(path: Path, pattern: re.Pattern[str], clean: Callable[[str], str]) -> Dialogues:
    turns: list[str] = []
    speaker = ""
    start = 0
    any_line = False
    call = Block(path)
    for number, line in itertools.chain(read_bounded_lines(path), [(0, "")]):
        if line is not None and not line.strip():
            if call.ends() and any(turns):
                yield Talk(str(start), turns)
            turns, speaker, start = [], "", 0
        elif not call.takes(number, line) or line is None:
            turns, any_line = [], True
        elif match := pattern.fullmatch(line):
            any_line = True
            start = start or number
            said = clean(match["said"])
            if match["speaker"] == speaker and turns:
                turns[-1] = f"{turns[-1]} {said}".strip()
            else:
                turns.append(said)
            speaker = match["speaker"]
    if not any_line:
        raise UserError(f"{path}: no line of a call (such as 'A.1: ...'); is it NLTK's Switchboard sample?")


def _words(said: str) -> str:
    bare = _MARK.sub(" ", _REMARK.sub(" ", said))
    return _ODD_SPACE.sub(r"\1", " ".join(bare.split())) if bare.strip(" .,-") else ""


def _untagged(said: str) -> str:
    words = (word.rpartition("/")[0] or word for word in said.split())
    return _CLITIC.sub("", " ".join(words))
