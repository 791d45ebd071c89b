"""OPT's byte-level BPE (GPT-2's, with OPT's special ids), through `tokenizers`; no TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from iml_jax.config.paths import OptionalPath
from iml_jax.data import added_tokens
from iml_jax.data.added_tokens import WHOLE, AddedToken
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_json, read_lines
from iml_jax.storage.sealed import fingerprint_of
from iml_jax.storage.writing import write_atomically

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
BOS, PAD, EOS, UNK = range(4)
ROW_MULTIPLE = 8  # OPT's 50265 ids become 50272 embedding rows
# Two or more line ends between two ASCII characters that are no white space.
# Tokens that no text is encoded to: <mask>, <|endoftext|> and what fairseq pads its vocabularies with.
_UNMERGED = re.compile(r"<[^<>]*>|madeupword\d+")
_PARAGRAPHS = re.compile(r"(?<=[!-~])(\n\n+)(?=[!-~])")
# As Hugging Face's OPT repositories have it: `</s>` is also the beginning and the unknown token.
_CONFIG = {
    "tokenizer_class": "GPT2Tokenizer",
    "bos_token": "</s>",
    "eos_token": "</s>",
    "unk_token": "</s>",
    "pad_token": "<pad>",
    "add_bos_token": True,
    "add_prefix_space": False,
    "errors": "replace",
}


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    """Which vocabulary to prepare with: exactly one of the two."""

    directory: OptionalPath = dataclasses.field(
        default="",
        metadata={"help": "a Hugging Face OPT directory (vocab.json + merges.txt, or tokenizer.json)."},
    )
    size: int = dataclasses.field(
        default=0,
        metadata={
            "help": "train a vocabulary of at most this number of ids on the texts of the training tasks."
        },
    )

    def __post_init__(self) -> None:
        if bool(self.directory) == bool(self.size):
            raise UserError("Vocabulary: bind exactly one of Vocabulary.directory and Vocabulary.size")
        if self.size and self.size < len(SPECIALS) + 256:
            raise UserError(
                f"Vocabulary.size = {self.size}: at least {len(SPECIALS) + 256} (bytes, specials)"
            )


class Tokenizer:
    """Byte-level BPE with OPT's special ids ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3.

    ``encode`` never yields a special id. A literal ``</s>`` in a text is spelt out (``</``, ``s``, ``>``) as
    transformers does under ``split_special_tokens=True``; by default transformers would split it out as id 2,
    so that a text from the web could end its document or forge a target's end. On every other text
    the ids are those of transformers' OPT tokenizer with ``add_special_tokens=False``; its default
    prefixes one ``</s>``. That includes tokens that were added to OPT's vocabulary, which are one id each.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        merges: Sequence[tuple[str, str]],
        where: str,
        added: Sequence[AddedToken] = (),
    ) -> None:
        """Checks and builds; ``where`` is named in errors.

        Args:
          vocabulary, merges: of the BPE.
          where: names the files in errors.
          added: tokens beyond the BPE, by id.

        Raises:
          UserError: the special ids are not OPT's, a byte or a part of a merge has no id, or two share one.
        """
        _check(vocabulary, merges, where)
        self._vocabulary = vocabulary
        self._merges = tuple(merges)
        model = models.BPE(vocab=vocabulary, merges=list(merges), fuse_unk=False)
        self._tokenizer = tokenizers.Tokenizer(model)
        # `Any`: the stubs of tokenizers declare these setters read-only.
        settable: Any = self._tokenizer
        settable.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        settable.decoder = decoders.ByteLevel()
        self._added = tuple(added)
        self._tokenizer.add_tokens([token.foreign() for token in added])
        # A token that takes in line ends beside it, or holds some, reaches across paragraphs.
        self._apart = not any(token.lstrip or token.rstrip or "\n" in token.content for token in added)

    @functools.cached_property
    def tokens(self) -> int:
        """Number of ids, the largest id + 1 (50265 for OPT)."""
        return max(*self._vocabulary.values(), *(token.id for token in self._added)) + 1

    @property
    def rows(self) -> int:
        """Embedding rows: ``tokens`` rounded up to a multiple of 8 (50272 for OPT)."""
        return -(-self.tokens // ROW_MULTIPLE) * ROW_MULTIPLE

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over vocabulary, merges and added tokens."""
        added = [[dataclasses.asdict(token) for token in self._added]] if self._added else []
        return fingerprint_of([self._vocabulary, self._merges, *added])

    def encode(self, text: str) -> list[int]:
        """Ids of any text, without specials (see the class). A lone surrogate counts as U+FFFD."""
        try:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            return self._tokenizer.encode(_without_surrogates(text), add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each text; paragraphs that they share (an instruction) are encoded once."""
        if not self._apart:
            return [self.encode(text) for text in texts]
        places: dict[str, int] = {}
        parted = [[places.setdefault(part, len(places)) for part in _paragraphs(text)] for text in texts]
        try:
            encoded = self._tokenizer.encode_batch_fast(list(places), add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            return [self.encode(text) for text in texts]
        ids = [one.ids for one in encoded]
        return [[index for part in parts for index in ids[part]] for parts in parted]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, specials left out; bytes that are no UTF-8 become U+FFFD.

        Raises:
          ValueError: an id is outside the vocabulary.
        """
        kept = [int(index) for index in ids if int(index) not in range(len(SPECIALS))]
        if kept and not 0 <= min(kept) <= max(kept) < self.tokens:
            raise ValueError(f"token id outside 0..{self.tokens - 1}")
        return self._tokenizer.decode(kept, skip_special_tokens=False)

    def save(self, directory: str | Path) -> None:
        """Writes vocab.json, merges.txt and tokenizer_config.json, for transformers' AutoTokenizer too.

        Raises:
          Fault: a file cannot be written.
        """
        ordered = dict(sorted(self._vocabulary.items(), key=lambda item: item[1]))
        merges = "".join(f"{left} {right}\n" for left, right in self._merges)
        write_atomically(Path(directory, "vocab.json"), json.dumps(ordered, ensure_ascii=False))
        write_atomically(Path(directory, "merges.txt"), "#version: 0.2\n" + merges)
        config: dict[str, Any] = dict(_CONFIG)
        if self._added:
            config["added_tokens_decoder"] = {str(token.id): token.flags() for token in self._added}
        write_atomically(Path(directory, "tokenizer_config.json"), json.dumps(config, indent=2) + "\n")


def load(directory: str | Path, fingerprint: str = "") -> Tokenizer:
    """Reads a Hugging Face OPT directory: tokenizer.json, or vocab.json + merges.txt; and the added tokens.

    Args:
      directory: where.
      fingerprint: what the tokenizer must be, where a manifest or a checkpoint says so.

    Raises:
      UserError: files are missing, malformed or disagree, or are not OPT's byte-level BPE, or another
        tokenizer.
    """
    folder = Path(directory)
    parts = [_from_parts(folder)] if (folder / "vocab.json").exists() else []
    parts += [_from_whole(folder / WHOLE)] if (folder / WHOLE).exists() else []
    if not parts:
        raise UserError(f"{folder}: neither vocab.json + merges.txt nor tokenizer.json is there")
    if parts[0] != parts[-1]:
        raise UserError(
            f"{folder}: vocab.json and merges.txt disagree with tokenizer.json; remove what is out of date"
        )
    vocabulary, merges = parts[0]
    where = str(folder / ("vocab.json" if (folder / "vocab.json").exists() else WHOLE))
    _check(vocabulary, merges, where)
    added = added_tokens.read(folder, vocabulary, SPECIALS)
    _check_made(vocabulary, merges, {token.content for token in added}, where)
    tokenizer = Tokenizer(vocabulary, merges, where, added)
    if fingerprint and tokenizer.fingerprint != fingerprint:
        raise UserError(
            f"{folder}: not the tokenizer that is recorded ({tokenizer.fingerprint[:12]} here, "
            f"{fingerprint[:12]} recorded); copy the original one there"
        )
    return tokenizer


def _from_parts(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    return _read_object(folder / "vocab.json"), _read_merges(folder / "merges.txt")


def _from_whole(whole: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    content = _read_object(whole)
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise UserError(f"{whole}: has no model.vocab; is this OPT's tokenizer?")
    byte_level = content.get("pre_tokenizer")
    byte_level = byte_level if isinstance(byte_level, dict) else {}
    if (
        model.get("type", "BPE") != "BPE"
        or byte_level.get("type") != "ByteLevel"
        or content.get("normalizer")
    ):
        raise UserError(f"{whole}: not a byte-level BPE without a normalizer; is this OPT's tokenizer?")
    if byte_level.get("add_prefix_space"):
        raise UserError(f"{whole}: add_prefix_space is on; OPT's tokenizer has it off")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise UserError(f"{whole}: has no model.merges; is this OPT's tokenizer?")
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in merges]
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, (tuple, list)) or not all(isinstance(part, str) for part in pair):
            raise UserError(f"{whole}: merge {number} is {pair!r:.60}, not two symbols")
    return dict(model["vocab"]), [(*pair,) for pair in pairs]


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """Trains a byte-level BPE with OPT's special ids; the same texts give the same vocabulary.

    Args:
      texts: what to train on.
      size: ids at most, specials and the 256 bytes included; fewer when the texts give no more.
    """
    tokenizer: Any = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_without_surrogates(text) for text in texts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return Tokenizer(model["vocab"], [tuple(merge) for merge in model["merges"]], "trained vocabulary")


def _paragraphs(text: str) -> Iterator[str]:
    """Parts of a text that have the same ids alone as in it.

    The byte-level BPE first cuts a text by GPT-2's pattern, and merges nothing across a cut. Of several line
    ends between two words, the pattern cuts off all but the last (``\\s+(?!\\S)``), then the last (``\\s+``).
    """
    for number, part in enumerate(_PARAGRAPHS.split(text)):
        if number % 2:
            yield part[:-1]
            yield "\n"
        else:
            yield part


def _without_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _check(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], where: str) -> None:
    if not all(type(index) is int and index >= 0 for index in vocabulary.values()):
        raise UserError(f"{where}: an id is not a whole number >= 0")
    for index, special in enumerate(SPECIALS):
        if vocabulary.get(special) != index:
            raise UserError(
                f"{where}: {special} has id {vocabulary.get(special)}; OPT's vocabulary gives it {index}"
            )
    if len(set(vocabulary.values())) != len(vocabulary):
        raise UserError(f"{where}: two tokens share one id")
    missing = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(vocabulary))
    if missing:
        raise UserError(f"{where}: no id for the byte symbols {missing[:5]}; not a byte-level vocabulary")
    for number, merge in enumerate(merges):
        if len(merge) != 2 or not {*merge, "".join(merge)} <= vocabulary.keys():
            raise UserError(f"{where}: merge {number + 1} ({' '.join(merge)!r}) is not in the vocabulary")
    produced = {left + right for left, right in merges}
    if produced & set(SPECIALS):
        raise UserError(f"{where}: a merge spells the special token {min(produced & set(SPECIALS))}")


def _check_made(
    vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], added: set[str], where: str
) -> None:
    """UserError where a token can never be encoded, since no merge makes it: the merges were cut short."""
    made = {left + right for left, right in merges} | added
    unmade = [
        token
        for token in vocabulary
        if len(token) > 1 and token not in made and not _UNMERGED.fullmatch(token)
    ]
    if unmade:
        raise UserError(
            f"{where}: no merge makes {len(unmade)} of its tokens, the first {unmade[0]!r:.60}; the merges "
            "are cut short or of another tokenizer: copy both from one place"
        )


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object is expected")
    return content


def _read_merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in read_lines(path):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split()
        if len(parts) != 2:
            raise UserError(f"{path}:{number}: a merge is two symbols and one space, not {line!r:.60}")
        merges.append((parts[0], parts[1]))
    return merges
