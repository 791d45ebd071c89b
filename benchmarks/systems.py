"""What the benchmarks of training compare: our train step, transformers' OPT, and turns taken fairly."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from iml_jax.data.batch import Batch
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.training.optimizer import OptimizerConfig
from iml_jax.training.step import TrainStep

OPTIMIZER = OptimizerConfig(peak_learning_rate=1e-4, warmup_steps=0, total_steps=1000)
System = Callable[[int], float]  # does so many steps, returns the last loss when it is there


def make_batch(config: OptConfig, rows: int, length: int, segments: int = 1) -> Batch:
    """Random tokens, each row whole of ``segments`` examples, all of them bearing loss."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, config.vocab_tokens, (rows, length + 1)).astype(np.int32)
    ids, positions = np.ones((rows, length), np.int32), np.zeros((rows, length), np.int32)
    for row in range(rows):
        cuts = np.sort(rng.choice(np.arange(1, length), segments - 1, replace=False))
        begins = np.concatenate([[0], cuts])
        ids[row] = 1 + np.searchsorted(cuts, np.arange(length), side="right")
        positions[row] = np.arange(length) - begins[ids[row] - 1]
    return Batch(tokens[:, :-1], tokens[:, 1:], np.ones((rows, length), np.float32), ids, positions)


def ours(config: OptConfig, batch: Batch) -> System:
    """The project's own train step on the mesh of one device."""
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    step = TrainStep(config, OPTIMIZER, mesh)
    state = step.init(0)
    on_device = jax.device_put(batch)

    def run(steps: int) -> float:
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, on_device)
        return float(metrics["loss"])

    return run


def hugging_face_config(config: OptConfig, **more: Any) -> Any:
    """transformers' name for the same shape, without dropout."""
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=config.vocab_rows,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        ffn_dim=config.ffn,
        word_embed_proj_dim=config.embed_dim,
        max_position_embeddings=config.max_positions,
        dropout=0.0,
        attention_dropout=0.0,
        init_std=0.006,
        **more,
    )


def _causal_sdpa(module: Any, query: Any, key: Any, value: Any, mask: Any, **_: Any) -> tuple[Any, None]:
    """sdpa that is told to be causal instead of being given a mask: only then PyTorch takes flash attention.

    transformers leaves the mask away by itself, but not under torch.compile before PyTorch 2.14.
    """
    import torch

    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0)
    return mixed.transpose(1, 2).contiguous(), None


def _torch_mask(attention: str, ids: Any) -> Any:
    """What keeps the segments of a row apart, in the form that ``attention`` takes; None: nothing does."""
    import torch

    if attention == "sdpa":
        same = ids[:, None, :, None] == ids[:, None, None, :]
        return same & torch.ones(same.shape[-2:], dtype=torch.bool, device=ids.device).tril()
    if attention == "flex_attention":
        from torch.nn.attention.flex_attention import create_block_mask

        def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
            return (query >= key) & (ids[row, query] == ids[row, key])

        rows, length = ids.shape
        return create_block_mask(sees, rows, None, length, length, device=ids.device)
    return None


def torch_system(
    config: OptConfig,
    batch: Batch,
    *,
    device: str = "cpu",
    attention: str = "sdpa",
    weights: str = "float32",
    compile: bool = True,
) -> System:
    """transformers' OPT in PyTorch with torch.compile, fused AdamW and clip, in ``config.compute_dtype``.

    Args:
      config: the shape.
      batch: rows on the host.
      device: ``cpu`` or ``cuda``.
      attention: ``sdpa`` with the segments' mask, ``causal`` (flash attention through sdpa; rows count as one
        segment, so it is less than was asked for and the fastest), ``flex_attention`` with a mask of blocks,
        or ``flash_attention_2`` where that package is installed (finds the segments by their positions).
      weights: dtype of parameters and moments; with ``float32`` autocast does products in the compute dtype.
      compile: torch.compile model and loss.
    """
    import torch
    from transformers import AttentionInterface, OPTForCausalLM

    torch.manual_seed(0)
    AttentionInterface.register("causal", _causal_sdpa)
    shape = hugging_face_config(config, attn_implementation=attention)
    model = OPTForCausalLM(shape).train().to(device=device, dtype=getattr(torch, weights))
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    fields = (batch.inputs, batch.targets, batch.segment_ids, batch.positions)
    inputs, targets, ids, positions = (torch.from_numpy(np.array(f)).long().to(device) for f in fields)
    mask = _torch_mask(attention, ids)
    compute = getattr(torch, config.compute_dtype)
    mixed = compute is not torch.float32 and weights == "float32"
    cast = torch.autocast(device, dtype=compute, enabled=mixed)

    def loss_of(inputs: Any, targets: Any) -> Any:
        with cast:
            logits = model(
                input_ids=inputs, attention_mask=mask, position_ids=positions, use_cache=False
            ).logits
            return torch.nn.functional.cross_entropy(
                logits.view(-1, config.vocab_rows).float(), targets.view(-1)
            )

    compiled = torch.compile(loss_of) if compile else loss_of

    def run(steps: int) -> float:
        for _ in range(steps):
            loss = compiled(inputs, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            adam.zero_grad(set_to_none=True)
        return float(loss.item())

    return run


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of one step, one number a round: wall clock, and this process's CPU."""

    wall: list[float]
    cpu: list[float]


def warm_up(name: str, make: Callable[[], System]) -> System:
    """Makes a system and does its first two steps, which compile; prints how long that took."""
    started = time.perf_counter()
    system = make()
    loss = system(1)
    print(f"{name}: first step {time.perf_counter() - started:.1f} s, loss {loss:.4f}", flush=True)
    system(1)
    return system


def in_turn(systems: Mapping[str, System], rounds: int, steps: int | Mapping[str, int]) -> dict[str, Times]:
    """Each system does ``steps`` steps a round; each round begins with another of them.

    Whatever else the machine does hits all of them so. A turn ends when its last loss is on the host.
    """
    names = list(systems)
    times = {name: Times([], []) for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            count = steps if isinstance(steps, int) else steps[name]
            began, spent = time.perf_counter(), time.process_time()
            systems[name](count)
            times[name].wall.append((time.perf_counter() - began) / count)
            times[name].cpu.append((time.process_time() - spent) / count)
    return times


def ratios(times: Times, to: Times) -> tuple[float, float, float]:
    """How many times as long a step takes as one of ``to``: (median, least, most) of the rounds."""
    each = [mine / theirs for mine, theirs in zip(times.wall, to.wall, strict=True)]
    return statistics.median(each), min(each), max(each)
