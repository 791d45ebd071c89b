"""Texts as word n-grams, and the evaluation side's n-grams as an index that counts exactly.

A word is a run of letters and digits, in any script, with the marks that they carry (accents, vowel signs,
tones); everything else separates, much as in GPT-3's overlap analysis (appendix C). Texts that a reader
does not distinguish have the same words: case is folded, characters are normalised to NFKC, and characters
without an appearance (soft hyphens, joiners, variation selectors) are left out, as in Unicode's
NFKC_Casefold. A text of fewer than ``LENGTH`` words is one n-gram of all its words where it has at least
``SHORTEST``, and equals only a text of just these words; a shorter one has none.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

LENGTH = 13
SHORTEST = 8  # as GPT-3's overlap analysis (appendix C), whose n-grams have 8 to 13 words
UNKNOWN, END = 0, 1  # word ids: separates texts and is in no n-gram; fills a short text up to LENGTH
_FIRST = 2
VERSION = 2  # of what a word is; leakage.json states it, since results of different versions do not compare
_WORD = re.compile(r"[^\W_]+")
# Unicode 15's property Default_Ignorable_Code_Point.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_BASE = 0x9E3779B97F4A7C15
_EXPANDED = 1 << 20  # places compared at once

Ids = np.ndarray[Any, np.dtype[Any]]


def words_of(text: str) -> list[str]:
    """The words of a text (see the module)."""
    if text.isascii():  # nothing to normalise, and most of what is compared
        return _WORD.findall(text.lower())
    # Ignorable characters may stand between a letter and its accent, so what is left is composed again.
    seen = _IGNORABLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return _marked_word().findall(unicodedata.normalize("NFKC", seen))


@functools.cache
def _marked_word() -> re.Pattern[str]:
    """A letter or digit, then letters, digits and marks: ``\\w`` has no marks."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1 >> 3):  # planes 0 and 1; marks of plane 14 are ignorable
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
    return re.compile(rf"[^\W_]+(?:[{marks}]+[^\W_]*)*")


class Words:
    """Word <-> id; ids count from 2 in the order in which words first come, so no two words share one."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._ids = {word: number for number, word in enumerate(known, start=_FIRST)}

    def add(self, words: Iterable[str]) -> list[int]:
        """Ids of words, new ones where needed."""
        ids = self._ids
        return [ids.setdefault(word, len(ids) + _FIRST) for word in words]

    def find(self, words: Iterable[str]) -> list[int]:
        """Ids of words, ``UNKNOWN`` for those never added."""
        get = self._ids.get
        return [get(word, UNKNOWN) for word in words]

    def listed(self) -> list[str]:
        """All words in the order of their ids, the first of which is 2."""
        return list(self._ids)


def padded(ids: list[int]) -> list[int]:
    """What a text of these words adds to a stream of ids: the words, ``END``s after few, then ``UNKNOWN``."""
    if len(ids) < SHORTEST:
        return [UNKNOWN]
    return [*ids, *[END] * (LENGTH - len(ids)), UNKNOWN]


def mix(values: Ids) -> Ids:
    """splitmix64's finaliser: uint64 [n] -> uint64 [n]."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hashes(stream: Ids, length: int = LENGTH) -> tuple[Ids, Ids]:
    """The n-grams of a stream of word ids.

    Args:
      stream: integers [n], texts as ``padded`` writes them.
      length: words of an n-gram.

    Returns:
      Their places (int64 [m], ascending) and their 64-bit hashes (uint64 [m]), the same on every machine.
    """
    count = len(stream) - length + 1
    if count <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    breaks = np.concatenate([[0], np.cumsum(stream == UNKNOWN)])
    places = np.flatnonzero(breaks[length:] == breaks[:count])
    words = mix(stream.astype(np.uint64) * np.uint64(_BASE))
    total = np.zeros(count, np.uint64)
    for offset in range(length):
        total = total * np.uint64(_BASE) + words[offset : offset + count]
    return places, mix(total[places])


@dataclasses.dataclass
class Index:
    """The n-grams of all evaluation examples, or of the part ``part`` of ``parts`` of the hashes.

    Attributes:
      words: of the evaluation side.
      stream: uint32 [n], its texts' word ids, see ``padded``.
      starts: int64 [examples], where each example begins in ``stream``.
      wording: bool [n], n-grams of ``stream`` that are boilerplate (``boilerplate.mask``); none by default.
      keys: uint64 [u], the different hashes, ascending.
      ends: int64 [u], where the places of each hash end in ``places``.
      places: uint32 or int64 [m], where n-grams begin in ``stream``, by hash, then ascending.
      filter: uint8 [2^b / 8], the bit of each hash's last b bits is set.
    """

    words: Words
    stream: Ids
    starts: Ids
    part: int = 0
    parts: int = 1
    wording: Ids = dataclasses.field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if not len(self.wording):
            self.wording = np.zeros(len(self.stream), bool)
        places, keys = [], []
        # By pieces, which overlap by an n-gram less a word: hashes of everything at once would be many times
        # the size of the part that is kept.
        for start in range(0, len(self.stream), _EXPANDED):
            found, values = hashes(self.stream[start : start + _EXPANDED + LENGTH - 1])
            mine = values % np.uint64(self.parts) == self.part
            places.append((found[mine] + start).astype(_place_type(self.stream)))
            keys.append(values[mine])
        all_keys = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
        all_places = np.concatenate(places) if places else np.zeros(0, np.uint32)
        del places, keys
        order = np.argsort(all_keys, kind="stable")
        self.places = all_places[order]
        all_keys = all_keys[order]
        last = np.flatnonzero(np.append(all_keys[1:] != all_keys[:-1], [True][: len(all_keys)]))
        self.keys, self.ends = all_keys[last], last + 1
        bits = max(10, len(self.keys).bit_length() + 3)
        self.filter = np.zeros(1 << (bits - 3), np.uint8)
        slots = self.keys & self._mask
        np.bitwise_or.at(
            self.filter, slots >> np.uint64(3), np.uint8(1) << (slots & np.uint64(7)).astype(np.uint8)
        )

    @property
    def _mask(self) -> np.uint64:
        return np.uint64(len(self.filter) * 8 - 1)

    def lookup(self, values: Ids) -> Ids:
        """Where each hash (uint64 [n]) is in ``keys``, -1 where it is not: int64 [n]."""
        found = np.full(len(values), -1, np.int64)
        slots = values & self._mask
        # One bit first: most n-grams of the training side are not here, and a search costs 30 cache misses.
        maybe = np.flatnonzero(
            self.filter[slots >> np.uint64(3)] >> (slots & np.uint64(7)).astype(np.uint8) & 1
        )
        if len(maybe):
            at = np.minimum(np.searchsorted(self.keys, values[maybe]), len(self.keys) - 1)
            same = self.keys[at] == values[maybe]
            found[maybe[same]] = at[same]
        return found

    def equal(self, stream: Ids, places: Ids, keys: Ids) -> Iterator[tuple[Ids, Ids, Ids]]:
        """Compares n-grams word by word with those of the same hash, so that no collision counts.

        Args:
          stream: another stream of ids of the same words.
          places: int64 [n], where n-grams begin in it.
          keys: int64 [n], the number of each one's hash in ``self.keys``.

        Yields:
          Piece by piece (which, place, whole): equal pairs as numbers into ``places`` and places in
          ``self.stream``, int64 both; and the numbers of n-grams that equalled every place of their hash.
        """
        firsts = np.where(keys > 0, self.ends[keys - 1], 0)
        counts = self.ends[keys] - firsts
        done, offsets = 0, np.arange(LENGTH)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        while done < len(keys):
            stop = max(done + 1, int(np.searchsorted(bounds, bounds[done] + _EXPANDED, "right")) - 1)
            which = np.repeat(np.arange(done, stop), counts[done:stop])
            inside = np.arange(len(which)) - (bounds[which] - bounds[done])
            theirs = self.places[firsts[which] + inside].astype(np.int64)
            same = np.ones(len(which), bool)
            for offset in offsets:
                same &= stream[places[which] + offset] == self.stream[theirs + offset]
            whole = np.bincount(which[same] - done, minlength=stop - done) == counts[done:stop]
            yield which[same], theirs[same], np.flatnonzero(whole) + done
            done = stop


def _place_type(stream: Ids) -> type:
    return np.uint32 if len(stream) < 1 << 32 else np.int64


class StreamBuilder:
    """Collects texts into a stream of ids: 4 bytes per word."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self._ids = array.array("I")
        self._starts = array.array("q")

    def add(self, text: str) -> None:
        """Appends one example's text."""
        self._starts.append(len(self._ids))
        self._ids.extend(padded(self.words.add(words_of(text))))

    def finish(self) -> tuple[Ids, Ids]:
        """(stream uint32 [n], starts int64 [examples])."""
        return np.frombuffer(self._ids, np.uint32), np.frombuffer(self._starts, np.int64)
