"""Evaluation speed against lm-evaluation-harness and transformers' generate, on this machine's CPU.

    python benchmarks/evaluation.py scoring [--rounds 2] [--items 20]
    python benchmarks/evaluation.py generation [--rounds 5]

OPT-125M's shape, random weights, float32. The systems take turns in one process; read the ratios, not the
absolute figures. Compilation is not counted: every system has done the same work once before.

  scoring     items of 4 options, prompts of 180-220 tokens, options of 2-6. Against HFLM of
              lm-evaluation-harness (pip install --target=DIR "lm_eval[hf]", PYTHONPATH=DIR), which gets token
              ids, so that it spends nothing on tokenising. Needs IML_SHARED for OPT's tokenizer, which HFLM
              asks for.
  generation  8 prompts of 128 tokens, 64 new tokens each, greedy. Against transformers' generate, sdpa.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iml_jax.evaluation.engine import generation, scoring
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.scoring import Candidates
from iml_jax.models import opt
from iml_jax.models.handle import Model
from iml_jax.models.sizes import SIZES
from iml_jax.parallel.mesh import MeshConfig, make_mesh

CONFIG = dataclasses.replace(SIZES["opt_125m"], compute_dtype="float32")
PROMPTS, PROMPT, NEW = 8, 128, 64
System = Callable[[], Any]


def torch_model() -> Any:
    """transformers' OPT of the same shape."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    shape = OPTConfig(
        vocab_size=CONFIG.vocab_rows,
        hidden_size=CONFIG.hidden,
        num_hidden_layers=CONFIG.layers,
        num_attention_heads=CONFIG.heads,
        ffn_dim=CONFIG.ffn,
        word_embed_proj_dim=CONFIG.embed_dim,
        attn_implementation="sdpa",
    )
    return OPTForCausalLM(shape).eval()


def our_model() -> tuple[Any, jax.sharding.Mesh]:
    """Random parameters on one device."""
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with jax.set_mesh(mesh):
        return opt.init_params(CONFIG, jax.random.key(0)), mesh


def scoring_systems(items: int, batch: int, rows: int) -> dict[str, System]:
    """The same items through both."""
    from lm_eval.models.huggingface import HFLM
    from transformers import GPT2TokenizerFast

    rng = np.random.default_rng(0)

    def ids(low: int, high: int) -> list[int]:
        return rng.integers(4, CONFIG.vocab_tokens, rng.integers(low, high + 1)).tolist()

    questions = [Candidates(ids(180, 220), [ids(2, 6) for _ in range(4)]) for _ in range(items)]
    params, mesh = our_model()
    folder = Path(os.environ["IML_SHARED"], "data", "tokenizer", "opt")
    tokenizer = GPT2TokenizerFast.from_pretrained(folder, pad_token="<pad>", eos_token="</s>")
    harness = HFLM(pretrained=torch_model(), tokenizer=tokenizer, batch_size=batch, device="cpu")
    requests = [(("", ""), list(one.prompt), list(option)) for one in questions for option in one.options]
    return {
        "ours": lambda: scoring.score(Model(CONFIG, params, mesh), questions, rows),
        "lm_eval": lambda: harness._loglikelihood_tokens(requests, disable_tqdm=True),
    }


def generation_systems() -> dict[str, System]:
    """The same prompts through both, always all 64 tokens."""
    import torch

    params, mesh = our_model()
    params["final_norm"]["bias"] = params["final_norm"]["bias"].at[0].set(20.0)
    table = params["token_embedding"]["embedding"]
    params["token_embedding"]["embedding"] = table.at[2, 0].set(-100.0)  # </s> is never written
    tokens = np.random.default_rng(0).integers(4, CONFIG.vocab_tokens, (PROMPTS, PROMPT))
    model, inputs = torch_model(), torch.from_numpy(tokens)

    def theirs() -> Any:
        with torch.no_grad():
            found = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=1,
            )
        assert found.shape == (PROMPTS, PROMPT + NEW)

    def ours() -> Any:
        found = generation.generate_greedily(
            Model(CONFIG, params, mesh), tokens.tolist(), GenerateConfig(NEW, PROMPTS)
        )
        assert all(len(answer.ids) == NEW for answer in found)

    return {"ours": ours, "transformers": theirs}


def main() -> None:
    """Run the rounds and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workload", choices=("scoring", "generation"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=20, help="questions a round (scoring)")
    parser.add_argument("--batch", type=int, default=8, help="lm-eval's batch size")
    parser.add_argument("--rows", type=int, default=32, help="our rows a call (scoring)")
    arguments = parser.parse_args()
    if arguments.workload == "scoring":
        systems = scoring_systems(arguments.items, arguments.batch, arguments.rows)
        work, unit = arguments.items, "items/s"
    else:
        systems, work, unit = generation_systems(), PROMPTS * NEW, "new tokens/s"
    names = list(systems)
    for name in names:
        started = time.perf_counter()
        if name != "lm_eval":  # nothing is compiled there
            systems[name]()
        print(f"{name}: first call {time.perf_counter() - started:.1f} s", flush=True)
    wall: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(arguments.rounds):
        for name in names[turn % 2 :] + names[: turn % 2]:
            began = time.perf_counter()
            systems[name]()
            wall[name].append(time.perf_counter() - began)
            print(f"round {turn + 1}: {name} {wall[name][-1]:.2f} s", flush=True)
    for name in names:
        middle = statistics.median(wall[name])
        ratios = [theirs / ours for theirs, ours in zip(wall[name], wall["ours"], strict=True)]
        print(
            f"{name:12} {work / middle:8.2f} {unit}; s {middle:.2f} ({min(wall[name]):.2f}-"
            f"{max(wall[name]):.2f}); ours is {statistics.median(ratios):.2f}x as fast "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
