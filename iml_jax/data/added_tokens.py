"""Tokens that were added to a tokenizer, as Hugging Face's files state them.

transformers 5 takes them from ``added_tokens_decoder`` in tokenizer_config.json; where that is absent from
added_tokens.json and from ``added_tokens`` in tokenizer.json; and named and extra special tokens from
tokenizer_config.json and special_tokens_map.json (``PreTrainedTokenizerBase._from_pretrained``). A token that
files state with different ids, or with one that transformers would not give it, is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_json

CONFIG, WHOLE = "tokenizer_config.json", "tokenizer.json"
_ADDED, _SPECIAL_MAP = "added_tokens.json", "special_tokens_map.json"
_NAMED = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_EXTRA = ("extra_special_tokens", "additional_special_tokens")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_LIMIT = 100_000  # tokens that somebody adds; a file may state any number


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A text that is one id wherever it stands; the flags are those of ``tokenizers.AddedToken``.

    Attributes:
      single_word: only where no letter or digit touches it.
      lstrip, rstrip: takes in the white space on that side.
      normalized: matched after all tokens that are not (nothing is normalised here).
      special: transformers' ``skip_special_tokens`` leaves it out of decoded text.
    """

    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    def foreign(self) -> tokenizers.AddedToken:
        """As the tokenizers library takes it."""
        return tokenizers.AddedToken(self.content, **{flag: getattr(self, flag) for flag in _FLAGS})

    def flags(self) -> dict[str, Any]:
        """As ``added_tokens_decoder`` of tokenizer_config.json holds it."""
        return {"content": self.content, **{flag: getattr(self, flag) for flag in _FLAGS}}


def read(folder: Path, vocabulary: Mapping[str, int], skip: Sequence[str]) -> tuple[AddedToken, ...]:
    """The added tokens of a tokenizer directory, by id.

    Args:
      folder: the directory.
      vocabulary: ids of the BPE, without what was added.
      skip: the model's own special tokens, which are not added.

    Raises:
      UserError: a file is malformed, or a token's id is not the one that transformers gives it.
    """
    config = _object(folder / CONFIG)
    if config.get("add_prefix_space"):
        raise UserError(f"{folder / CONFIG}: add_prefix_space is on; OPT's tokenizer has it off")
    stated: dict[str, AddedToken] = {}
    for token in _stated(folder, config):
        known = stated.setdefault(token.content, token)
        if known.id != token.id:
            raise UserError(
                f"{folder}: added token {token.content!r} has id {known.id} in one file and {token.id} in "
                "another; save the tokenizer again with transformers"
            )
    ordered = sorted((token for token in stated.values()), key=lambda token: token.id)
    ordered += _without_id(folder, config, stated)
    ordered = [token for token in ordered if token.content not in skip]
    if len(ordered) > _LIMIT:
        raise UserError(f"{folder}: {len(ordered)} added tokens; at most {_LIMIT} are read")
    return tuple(_checked(folder, vocabulary, ordered))


def _checked(folder: Path, vocabulary: Mapping[str, int], tokens: list[AddedToken]) -> Iterator[AddedToken]:
    """The tokens with the ids that the library gives them; a token that states another one is refused."""
    if not tokens:
        return
    library = tokenizers.Tokenizer(models.BPE(vocab=dict(vocabulary), merges=[]))
    library.add_tokens([token.foreign() for token in tokens])
    for token in tokens:
        given = library.token_to_id(token.content)
        if given is None or token.id not in (given, -1):
            raise UserError(
                f"{folder}: added token {token.content!r} has id {token.id}, but transformers gives it "
                f"{given}; number added tokens from the end of the vocabulary on, without a gap"
            )
        yield dataclasses.replace(token, id=given)


def _stated(folder: Path, config: Mapping[str, Any]) -> Iterator[AddedToken]:
    """Tokens with their ids, those first whose flags transformers takes."""
    decoder = config.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict):
        raise UserError(f"{folder / CONFIG}: added_tokens_decoder is no object; save the tokenizer again")
    for key, value in decoder.items():
        yield _token(value, key, folder / CONFIG)
    content = _object(folder / WHOLE) if (folder / WHOLE).is_file() else {}
    listed = content.get("added_tokens") or []
    if not isinstance(listed, list):
        raise UserError(f"{folder / WHOLE}: added_tokens is no list; save the tokenizer again")
    for value in listed:
        yield _token(value, value.get("id") if isinstance(value, dict) else None, folder / WHOLE)
    special = {text for text, _ in _special(folder, config)}
    for text, key in _object(folder / _ADDED).items():
        flags = {"content": text, "normalized": text not in special, "special": text in special}
        yield _token(flags, key, folder / _ADDED)


def _without_id(
    folder: Path, config: Mapping[str, Any], stated: Mapping[str, AddedToken]
) -> Iterator[AddedToken]:
    """Special tokens that no file gives an id; transformers adds them at the end (id -1 here)."""
    seen = set(stated)
    for text, flags in _special(folder, config):
        if text not in seen:
            seen.add(text)
            yield _token(
                {"normalized": False, **flags, "content": text, "special": True}, -1, folder / CONFIG
            )


def _special(folder: Path, config: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Text and flags of the named and extra special tokens, in transformers' order."""
    legacy = {} if "added_tokens_decoder" in config else _object(folder / _SPECIAL_MAP)
    whole = {**config, **legacy}
    values = [whole.get(name) for name in _NAMED]
    for name in _EXTRA:
        listed = whole.get(name)
        values += list(listed.values()) if isinstance(listed, dict) else listed or [] if listed else []
    found: list[tuple[str, dict[str, Any]]] = []
    for value in values:
        if isinstance(value, dict) and isinstance(value.get("content"), str):
            found.append((value["content"], {name: value[name] for name in _FLAGS if name in value}))
        elif isinstance(value, str):
            found.append((value, {}))
        elif value is not None:
            raise UserError(
                f"{folder / CONFIG}: special token {value!r:.60} is no text; save the tokenizer again"
            )
    return found


def _token(value: Any, key: Any, file: Path) -> AddedToken:
    """One token.

    Raises:
      UserError: its content, id or flags are of a wrong type.
    """
    try:
        number = int(key) if isinstance(key, str) and key.isascii() else key
        if type(number) is not int or number < -1 or not isinstance(value["content"], str):
            raise ValueError
        flags = {name: value[name] for name in _FLAGS if name in value}
        if not all(type(flag) is bool for flag in flags.values()):
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise UserError(
            f"{file}: added token {key!r:.40} is malformed ({value!r:.80}); save it again"
        ) from None
    flags.setdefault("normalized", not flags.get("special", False))
    return AddedToken(value["content"], number, **flags)


def _object(file: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where there is no such file."""
    if not file.exists():
        return {}
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: a JSON object is expected; save the tokenizer again")
    return content
