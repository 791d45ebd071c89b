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
from iml_jax.errors import UserError
from iml_jax.storage.sealed import fingerprint_of
from iml_jax.storage.writing import write_atomically

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
BOS, PAD, EOS, UNK = range(4)
ROW_MULTIPLE = 8  # OPT's 50265 ids become 50272 embedding rows
# Two or more line ends between two ASCII characters that are no white space.
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
    """Which vocabulary to prepare with: exactly one of the two.

    Attributes:
      directory: a Hugging Face OPT directory (vocab.json + merges.txt, or tokenizer.json).
      size: train a vocabulary of at most so many ids on the texts that are trained on.
    """

    directory: OptionalPath = ""
    size: int = 0

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
    prefixes one ``</s>``.
    """

    def __init__(self, vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], where: str) -> None:
        """Checks and builds; ``where`` is named in errors.

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

    @functools.cached_property
    def tokens(self) -> int:
        """Number of ids, the largest id + 1 (50265 for OPT)."""
        return max(self._vocabulary.values()) + 1

    @property
    def rows(self) -> int:
        """Embedding rows: ``tokens`` rounded up to a multiple of 8 (50272 for OPT)."""
        return -(-self.tokens // ROW_MULTIPLE) * ROW_MULTIPLE

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over vocabulary and merges."""
        return fingerprint_of([self._vocabulary, self._merges])

    def encode(self, text: str) -> list[int]:
        """Ids of any text, without specials (see the class). A lone surrogate counts as U+FFFD."""
        try:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            return self._tokenizer.encode(_without_surrogates(text), add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each text; paragraphs that they share (an instruction) are encoded once."""
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
        write_atomically(Path(directory, "tokenizer_config.json"), json.dumps(_CONFIG, indent=2) + "\n")


def load(directory: str | Path) -> Tokenizer:
    """Reads a Hugging Face OPT directory: vocab.json + merges.txt, else tokenizer.json.

    Raises:
      UserError: files are missing, malformed, or not OPT's byte-level BPE.
    """
    folder = Path(directory)
    if (folder / "vocab.json").is_file():
        vocabulary = _read_json(folder / "vocab.json")
        return Tokenizer(vocabulary, _read_merges(folder / "merges.txt"), str(folder / "vocab.json"))
    whole = folder / "tokenizer.json"
    if not whole.is_file():
        raise UserError(f"{folder}: neither vocab.json + merges.txt nor tokenizer.json is there")
    content = _read_json(whole)
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise UserError(f"{whole}: has no model.vocab; is this OPT's tokenizer?")
    byte_level = content.get("pre_tokenizer") or {}
    if (
        model.get("type", "BPE") != "BPE"
        or byte_level.get("type") != "ByteLevel"
        or content.get("normalizer")
    ):
        raise UserError(f"{whole}: not a byte-level BPE without a normalizer; is this OPT's tokenizer?")
    if byte_level.get("add_prefix_space"):
        raise UserError(f"{whole}: add_prefix_space is on; OPT's tokenizer has it off")
    vocabulary = dict(model["vocab"])
    for added in content.get("added_tokens", []):
        vocabulary.setdefault(added["content"], added["id"])
    merges: list[Any] = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    return Tokenizer(vocabulary, [tuple(merge) for merge in merges], str(whole))


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
    for index, special in enumerate(SPECIALS):
        if vocabulary.get(special) != index:
            raise UserError(
                f"{where}: {special} has id {vocabulary.get(special)}; OPT's vocabulary gives it {index}"
            )
    if not all(type(index) is int and index >= 0 for index in vocabulary.values()):
        raise UserError(f"{where}: an id is not a whole number >= 0")
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object is expected")
    return content


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); it belongs beside vocab.json") from None
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split()
        if len(parts) != 2:
            raise UserError(f"{path}:{number}: a merge is two symbols and one space, not {line!r:.60}")
        merges.append((parts[0], parts[1]))
    return merges
