"""Model directories as Hugging Face has them: ours out, OPT's in.

Fields and file names follow transformers (``models/opt/configuration_opt.py``); weights ``layout.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from iml_jax.checkpoints import layout
from iml_jax.checkpoints.model_card import model_card
from iml_jax.checkpoints.tensors import DTYPES, TensorFiles, write_safetensors
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.tokenizer import EOS, PAD, Tokenizer
from iml_jax.foundation.errors import UserError
from iml_jax.models.sizes import OptConfig
from iml_jax.storage import lease, local, paths
from iml_jax.storage.reading import read_json
from iml_jax.storage.writing import check_writable, write_atomically

MAX_SHARD_BYTES = 5_000_000_000
Progress = Callable[[int, int], None]  # takes how many tensors are done, and of how many
BOS_IN_OPT = EOS  # transformers' OPT starts texts with </s>, not <s>
# Names in config.json -> ours, with their type there.
_FIELDS = {
    "hidden_size": ("hidden", int),
    "num_hidden_layers": ("layers", int),
    "num_attention_heads": ("heads", int),
    "ffn_dim": ("ffn", int),
    "max_position_embeddings": ("max_positions", int),
    "do_layer_norm_before": ("pre_norm", bool),
    "dropout": ("dropout", float),
    "attention_dropout": ("attention_dropout", float),
}
_OF_THE_RUN = ("dropout", "attention_dropout")  # training may choose these; the weights do not depend on them
# What every OPT has and this implementation therefore takes for granted; absent means transformers' default,
# which is the first value.
_FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("relu",),
    "tie_word_embeddings": (True,),
    "enable_bias": (True,),
    "layer_norm_elementwise_affine": (True,),
    "_remove_final_layer_norm": (False,),
    "layerdrop": (0.0, 0),
    "pad_token_id": (PAD,),
    "eos_token_id": (EOS,),
}


def config_json(config: OptConfig, dtype: str, source: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of config.json for ``config``, weights in ``dtype``.

    Of weights that came with a config.json (``source``), that one: only the dtype, and dropout if it was
    trained from them with another, differ.
    """
    if source:
        trained_with = {theirs: getattr(config, _FIELDS[theirs][0]) for theirs in _OF_THE_RUN}
        changed = {name: value for name, value in trained_with.items() if source.get(name) != value}
        return {**source, **changed, "dtype" if "dtype" in source else "torch_dtype": dtype}
    ours = {theirs: getattr(config, name) for theirs, (name, _) in _FIELDS.items()}
    fixed = {name: values[0] for name, values in _FIXED.items()}
    return {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "vocab_size": config.vocab_rows,
        "word_embed_proj_dim": config.embed_dim,
        **ours,
        **fixed,
        "bos_token_id": BOS_IN_OPT,
        "use_cache": True,
        "torch_dtype": dtype,
    }


def generation_config_json(config: OptConfig, rows: int) -> dict[str, Any]:
    """The content of generation_config.json; padded vocabulary rows never win, as in our own decoding."""
    content: dict[str, Any] = {"bos_token_id": BOS_IN_OPT, "eos_token_id": EOS, "pad_token_id": PAD}
    if config.vocab_tokens < rows:
        content["suppress_tokens"] = list(range(config.vocab_tokens, rows))
    return content


def export(
    out: str | Path,
    config: OptConfig,
    params: Mapping[str, Any],
    tokenizer_directory: str | Path,
    *,
    dtype: str = "float32",
    run_config: str = "",
    updates: int = 0,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress = lambda done, total: None,
    source: Mapping[str, Any] | None = None,
    fingerprint: str = "",
) -> list[str]:
    """Writes a directory that transformers loads: weights, configs, tokenizer, model card.

    Args:
      out: an existing, empty directory (see ``staged``).
      config, params: the model; ``params`` may be lazy, one shard is held at a time.
      tokenizer_directory: of the run.
      dtype: ``float32`` (exact), ``float16`` or ``bfloat16`` (rounded to nearest).
      run_config: text of the run's config.gin, for the model card.
      updates: updates done, for the model card.
      progress: takes the numbers of tensors written, this one included, and of all.
      source: the config.json that the weights came with; the result has its number of vocabulary rows.
      fingerprint: of the tokenizer that the model was trained with; empty where it is not known.

    Returns:
      the names of the weight files.

    Raises:
      UserError: unknown dtype, value beyond its range, no tokenizer, or one that does not fit the model.
      Fault: a file cannot be written.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    tokenizer = tokenizers.load(tokenizer_directory, fingerprint)
    if tokenizer.tokens != config.vocab_tokens:
        counts = f"{tokenizer.tokens} ids, the model {config.vocab_tokens}"
        raise UserError(f"{tokenizer_directory}: has {counts}; name the tokenizer it was trained with")
    folder = Path(out)
    rows = _rows(config, source, str(tokenizer_directory))
    shapes = {name: _cut(name, shape, rows) for name, shape in layout.foreign_shapes(config).items()}

    def counted() -> Iterator[tuple[str, np.ndarray]]:
        for done, (name, tensor) in enumerate(layout.to_huggingface(config, params), start=1):
            progress(done, len(shapes))
            yield name, tensor[: shapes[name][0]]

    files = write_safetensors(folder, shapes, counted(), dtype=dtype, max_shard_bytes=max_shard_bytes)
    tokenizer.save(folder)
    _write_json(folder / "config.json", config_json(config, dtype, source))
    _write_json(folder / "generation_config.json", generation_config_json(config, rows))
    card = model_card(dataclasses.replace(config, vocab_rows=rows), dtype, updates, run_config)
    write_atomically(folder / "README.md", card)
    return files


def _rows(config: OptConfig, source: Mapping[str, Any] | None, where: str) -> int:
    """Vocabulary rows of the export: ours without the padding that ``source`` did not have."""
    if not source:
        return config.vocab_rows
    rows = source.get("vocab_size")
    same = all(
        source.get(theirs) == getattr(config, name)
        for theirs, (name, _) in _FIELDS.items()
        if theirs not in _OF_THE_RUN
    )
    if type(rows) is not int or not config.vocab_tokens <= rows <= config.vocab_rows or not same:
        raise UserError(f"{where}: the config.json kept in the checkpoint is of another model")
    return rows


def _cut(name: str, shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
    return (rows, *shape[1:]) if name.endswith(layout.EMBEDDING) else shape


def source_config(directory: str | Path) -> dict[str, Any]:
    """The content of a directory's config.json.

    Raises:
      UserError: it is missing, no JSON object, or no OPT.
    """
    file = Path(directory) / "config.json"
    if not file.exists():
        raise UserError(f"{file}: missing; name the directory of a Hugging Face OPT model")
    content = read_json(file)
    if not isinstance(content, dict) or content.get("model_type") != "opt":
        kind = content.get("model_type") if isinstance(content, dict) else None
        raise UserError(f"{file}: model_type is {kind!r}; only 'opt' can be converted")
    return content


def read_config(directory: str | Path, vocab_tokens: int) -> OptConfig:
    """The model that a directory's config.json describes.

    Args:
      directory: holds config.json.
      vocab_tokens: ids of its tokenizer; rows beyond are padding.

    Raises:
      UserError: config.json is missing, malformed, no OPT, or an OPT that this implementation is not.
    """
    file = Path(directory) / "config.json"
    content = source_config(directory)
    for name, values in _FIXED.items():
        if not any(content.get(name, values[0]) == value for value in values):
            raise UserError(f"{file}: {name} = {content[name]!r}; only {values[0]!r} is supported")
    fields = {ours: _typed(content, name, kind, file) for name, (ours, kind) in _FIELDS.items()}
    rows = _typed(content, "vocab_size", int, file)
    if vocab_tokens > rows:
        raise UserError(f"{file}: vocab_size {rows} is less than the {vocab_tokens} ids of its tokenizer")
    if fields["hidden"] % fields["heads"]:
        raise UserError(f"{file}: hidden_size {fields['hidden']} does not divide by {fields['heads']} heads")
    embed = content.get("word_embed_proj_dim")
    return OptConfig(
        vocab_rows=-(-rows // tokenizers.ROW_MULTIPLE) * tokenizers.ROW_MULTIPLE,
        vocab_tokens=vocab_tokens,
        embed_dim=fields["hidden"] if embed is None else _typed(content, "word_embed_proj_dim", int, file),
        embedding_dropout=0.0,
        **fields,
    )


def load(
    directory: str | Path,
    place: Callable[[layout.Path, np.ndarray], Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[OptConfig, dict[str, Any], Tokenizer]:
    """Reads a Hugging Face OPT directory: config, float32 parameters, tokenizer.

    Args:
      directory: config.json, safetensors or ``pytorch_model.bin`` (sharded or not), tokenizer files.
      place: what becomes of each finished parameter, see ``layout.from_huggingface``.
      progress: takes the numbers of tensors read and of all, after each.

    Raises:
      UserError: anything there is missing, malformed, of another shape, or not OPT.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise UserError(f"{directory}: no such directory")
    tokenizer = tokenizers.load(folder)
    config = read_config(folder, tokenizer.tokens)
    files = TensorFiles(folder)
    numbers = itertools.count(1)

    def read(name: str) -> np.ndarray:
        tensor = files.read(name)
        progress(next(numbers), len(files.shapes))
        if tensor.dtype.kind not in "iub" and (count := tensor.size - np.count_nonzero(np.isfinite(tensor))):
            raise UserError(f"{files.place}: {count} values of {name} are NaN or infinite; download it again")
        return tensor

    params = layout.from_huggingface(config, files.shapes, read, place=place, where=str(files.place))
    return config, params, tokenizer


@contextlib.contextmanager
def staged(out: str | Path) -> Iterator[Path]:
    """A temporary directory beside ``out`` that becomes ``out`` if the block succeeds, and vanishes if not.

    Raises:
      UserError: ``out`` is a file or a directory that is not empty.
      Fault: it cannot be written.
    """
    target = paths.absolute(out)
    _check_empty(target, out)
    check_writable(target, "name another directory", directory=True)
    with lease.hold(target.with_name(f".{target.name}.lease"), f"the conversion to {out}") as held:
        _check_empty(target, out)
        with local.replacing_directory(target, held) as temporary:
            yield temporary
            _check_empty(target, out)  # what somebody else put there meanwhile is not replaced


def _check_empty(target: Path, out: str | Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{out}: exists already; remove it or name another directory")


def _typed(content: Mapping[str, Any], name: str, kind: type, file: Path) -> Any:
    if name not in content:
        raise UserError(f"{file}: lacks {name}")
    value: Any = content[name]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{file}: {name} = {value!r} is no {kind.__name__}")
    if (type(value) is int and value < 1) or (type(value) is float and not 0 <= value < 1):
        raise UserError(f"{file}: {name} = {value!r} is out of range")
    return value


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_atomically(file, json.dumps(content, indent=2) + "\n")
