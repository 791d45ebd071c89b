"""Which weight is which: one table between our parameter tree and transformers' ``OPTForCausalLM``.

Ours stacks the layers on axis 0 and keeps kernels as [in, out] with the heads apart; theirs has one
[out, in] matrix a layer (``transformers/models/opt/modeling_opt.py``). Both directions go tensor by
tensor, and every tensor is used exactly once or the whole is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from iml_jax.foundation.errors import UserError
from iml_jax.models import opt
from iml_jax.models.sizes import POSITION_OFFSET, OptConfig

PREFIX = "model.decoder."
HEAD = "lm_head.weight"
EMBEDDING = "embed_tokens.weight"
_FOREIGN_PREFIXES = (PREFIX, "decoder.", "model.")

Shape = tuple[int, ...]
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter of ours and the tensor (one a layer, where stacked) that it is over there.

    Attributes:
      path: keys into our tree.
      name: their name behind ``model.decoder.``, with ``{layer}`` where stacked.
      shape: ours, without the layer axis.
      foreign_shape: theirs.
      transposed: ours is [in, out] once its heads are merged, theirs [out, in].
      layers: length of the stacked axis 0, or 0 where the parameter is not stacked.
    """

    path: Path
    name: str
    shape: Shape
    foreign_shape: Shape
    transposed: bool = False
    layers: int = 0

    @property
    def full_shape(self) -> Shape:
        """Shape of the whole parameter, layer axis included."""
        return (self.layers, *self.shape) if self.layers else self.shape

    def names(self) -> tuple[str, ...]:
        """Their names for this parameter, layer by layer, without prefix."""
        return tuple(self.name.format(layer=layer) for layer in range(self.layers)) or (self.name,)

    def outward(self, array: np.ndarray) -> np.ndarray:
        """One layer of ours as theirs."""
        if self.transposed:
            return np.ascontiguousarray(array.reshape(self.foreign_shape[::-1]).T)
        return np.ascontiguousarray(array.reshape(self.foreign_shape))

    def inward(self, array: np.ndarray) -> np.ndarray:
        """One tensor of theirs as one layer of ours."""
        return (array.T if self.transposed else array).reshape(self.shape)


def table(config: OptConfig) -> tuple[Entry, ...]:
    """Every parameter of the model, in the order in which the data flows."""
    return (*_outer(config), *_layer(config), *_end(config))


def _outer(config: OptConfig) -> Iterator[Entry]:
    rows, embed, hidden = config.vocab_rows, config.embed_dim, config.hidden
    yield Entry(("token_embedding", "embedding"), EMBEDDING, (rows, embed), (rows, embed))
    positions = (config.max_positions + POSITION_OFFSET, hidden)
    yield Entry(("position_embedding", "embedding"), "embed_positions.weight", positions, positions)
    if embed != hidden:
        yield Entry(("project_in", "kernel"), "project_in.weight", (embed, hidden), (hidden, embed), True)


def _end(config: OptConfig) -> Iterator[Entry]:
    embed, hidden = config.embed_dim, config.hidden
    if config.pre_norm:
        for ours, theirs in (("scale", "weight"), ("bias", "bias")):
            yield Entry(("final_norm", ours), f"final_layer_norm.{theirs}", (hidden,), (hidden,))
    if embed != hidden:
        yield Entry(("project_out", "kernel"), "project_out.weight", (hidden, embed), (embed, hidden), True)


def _layer(config: OptConfig) -> Iterator[Entry]:
    hidden, ffn, heads = config.hidden, config.ffn, config.heads
    apart = (heads, hidden // heads)

    def entry(path: Path, name: str, shape: Shape, foreign: Shape, transposed: bool = False) -> Entry:
        return Entry(("layers", *path), f"layers.{{layer}}.{name}", shape, foreign, transposed, config.layers)

    def norm(ours: str, theirs: str) -> Iterator[Entry]:
        yield entry((ours, "scale"), f"{theirs}.weight", (hidden,), (hidden,))
        yield entry((ours, "bias"), f"{theirs}.bias", (hidden,), (hidden,))

    def dense(ours: Path, theirs: str, kernel: Shape, bias: Shape, foreign: Shape) -> Iterator[Entry]:
        yield entry((*ours, "kernel"), f"{theirs}.weight", kernel, foreign, True)
        yield entry((*ours, "bias"), f"{theirs}.bias", bias, foreign[:1])

    yield from norm("attention_norm", "self_attn_layer_norm")
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        path = ("attention", ours)
        yield from dense(path, f"self_attn.{theirs}", (hidden, *apart), apart, (hidden, hidden))
    path = ("attention", "output")
    yield from dense(path, "self_attn.out_proj", (*apart, hidden), (hidden,), (hidden, hidden))
    yield from norm("mlp_norm", "final_layer_norm")
    yield from dense(("mlp", "up"), "fc1", (hidden, ffn), (ffn,), (ffn, hidden))
    yield from dense(("mlp", "down"), "fc2", (ffn, hidden), (hidden,), (hidden, ffn))


def parameter_shapes(config: OptConfig) -> dict[str, Any]:
    """The parameter tree as float32 ``jax.ShapeDtypeStruct``: ``models.opt.abstract_params``."""
    return opt.abstract_params(config)


def flatten(params: Mapping[str, Any]) -> dict[Path, Any]:
    """Leaves of a nested dict by their path."""
    leaves: dict[Path, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            leaves |= {(key, *path): leaf for path, leaf in flatten(value).items()}
        else:
            leaves[(key,)] = value
    return leaves


def unflatten(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """The nested dict that ``flatten`` took apart."""
    root: dict[str, Any] = {}
    for path, leaf in leaves.items():
        tree = root
        for key in path[:-1]:
            tree = tree.setdefault(key, {})
        tree[path[-1]] = leaf
    return root


def foreign_shapes(config: OptConfig) -> dict[str, Shape]:
    """Their tensors with full names and shapes, in the order in which ``to_huggingface`` yields them."""
    return {PREFIX + name: entry.foreign_shape for entry in table(config) for name in entry.names()}


def to_huggingface(config: OptConfig, params: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields their tensors one by one, ``model.decoder.`` names, C-contiguous, dtype unchanged.

    ``params`` holds anything with ``shape`` that indexes to an array (numpy, jax, a lazy array), so
    no more than one layer of one parameter is in memory here.

    Raises:
      UserError: a parameter is missing, unknown or of another shape than ``config`` says.
    """
    leaves = flatten(params)
    entries = table(config)
    ours = {entry.path: entry.full_shape for entry in entries}
    _same_names({"/".join(p) for p in ours}, {"/".join(p) for p in leaves}, "the parameter tree")
    for path, shape in ours.items():
        if tuple(leaves[path].shape) != shape:
            found = _text(leaves[path].shape)
            raise UserError(f"parameter {'/'.join(path)} has shape {found}, the model wants {_text(shape)}")
    return _stream(entries, leaves)


def _stream(entries: tuple[Entry, ...], leaves: Mapping[Path, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for entry in entries:
        leaf = leaves[entry.path]
        for layer, name in enumerate(entry.names()):
            part = leaf[layer] if entry.layers else leaf
            yield PREFIX + name, entry.outward(np.asarray(part))


def from_huggingface(
    config: OptConfig,
    shapes: Mapping[str, Shape],
    read: Callable[[str], np.ndarray],
    *,
    place: Callable[[Path, np.ndarray], Any] | None = None,
    where: str = "the checkpoint",
) -> dict[str, Any]:
    """Builds our parameter tree (float32) from their tensors, all names and shapes checked first.

    Args:
      config: the model they must be.
      shapes: every tensor of theirs, by the name it has there (with or without ``model.``/``decoder.``).
      read: gives one tensor by that name, in any float dtype that float32 holds exactly.
      place: what becomes of a finished parameter (``jax.device_put`` with its sharding); default as is.
      where: the file or directory, for messages.

    Raises:
      UserError: a tensor is missing, unknown, given twice, of another shape, of a dtype that is no
        float of at most 32 bits, or ``lm_head.weight`` differs from the embedding it is tied to.
    """
    entries = table(config)
    sources, head = _canonical(shapes, where)
    _check_foreign(config, entries, sources, shapes, where)
    if head is not None:
        _check_head(sources[EMBEDDING], head, shapes, read, where)
    leaves: dict[Path, Any] = {}
    for entry in entries:
        full = np.zeros(entry.full_shape, np.float32)
        for layer, name in enumerate(entry.names()):
            tensor = _as_float32(read(sources[name]), sources[name], where)
            if name == EMBEDDING:  # rows of padding may be absent over there
                full[: tensor.shape[0]] = tensor
            else:
                full[layer if entry.layers else ...] = entry.inward(tensor)
        leaves[entry.path] = place(entry.path, full) if place else full
    return unflatten(leaves)


def _canonical(shapes: Mapping[str, Shape], where: str) -> tuple[dict[str, str], str | None]:
    """Names without prefix -> names as given, and the name of the output head if there is one."""
    sources: dict[str, str] = {}
    head = None
    for name in shapes:
        if name.removeprefix("model.") == HEAD:
            head = name
            continue
        prefix = next((p for p in _FOREIGN_PREFIXES if name.startswith(p)), "")
        short = name.removeprefix(prefix)
        if short in sources:
            raise UserError(f"{where}: {sources[short]} and {name} are the same weight; remove one of them")
        sources[short] = name
    return sources, head


def _check_foreign(
    config: OptConfig,
    entries: tuple[Entry, ...],
    sources: Mapping[str, str],
    shapes: Mapping[str, Shape],
    where: str,
) -> None:
    wanted = {name: entry for entry in entries for name in entry.names()}
    _same_names(set(wanted), set(sources), where)
    for name, entry in wanted.items():
        found = tuple(shapes[sources[name]])
        if name == EMBEDDING and len(found) == 2 and found[1] == config.embed_dim:
            if config.vocab_tokens <= found[0] <= config.vocab_rows:
                continue
            allowed = f"{config.vocab_tokens} to {config.vocab_rows}"
            raise UserError(f"{where}: {sources[name]} has {found[0]} rows, the vocabulary wants {allowed}")
        if found != entry.foreign_shape:
            wants = _text(entry.foreign_shape)
            raise UserError(f"{where}: {sources[name]} has shape {_text(found)}, the model wants {wants}")


def _check_head(
    embedding: str,
    head: str,
    shapes: Mapping[str, Shape],
    read: Callable[[str], np.ndarray],
    where: str,
) -> None:
    if tuple(shapes[head]) != tuple(shapes[embedding]):
        found, wanted = _text(shapes[head]), _text(shapes[embedding])
        raise UserError(f"{where}: {head} has shape {found}, the embedding it is tied to {wanted}")
    if not np.array_equal(read(head), read(embedding), equal_nan=False):
        raise UserError(f"{where}: {head} differs from {embedding}; OPT ties them, so this is another model")


def _same_names(wanted: set[str], found: set[str], where: str) -> None:
    for kind, names in (("lacks", wanted - found), ("has an unknown tensor", found - wanted)):
        if names:
            first, more = min(names), len(names) - 1
            raise UserError(f"{where} {kind}: {first}" + (f" (and {more} more)" if more else ""))


def _as_float32(tensor: np.ndarray, name: str, where: str) -> np.ndarray:
    if tensor.dtype.name not in ("float32", "float16", "bfloat16"):
        raise UserError(f"{where}: {name} is {tensor.dtype.name}; expected float32, float16 or bfloat16")
    return tensor.astype(np.float32, copy=False)


def _text(shape: Any) -> str:
    return "[" + ", ".join(str(n) for n in shape) + "]"
