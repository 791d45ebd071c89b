"""One of several hosts (processes) that evaluate together; run by test_hosts.py.

one_host.py PREPARED OUTPUT PROCESS COUNT PORT DEVICES [KEEP]
Every host has DEVICES simulated devices; the mesh is 2 x 2 x 2 over all of them.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np


def main() -> None:
    """Evaluates; the first host saves. Answers are kept in KEEP."""
    prepared, output, process, count, port, devices = sys.argv[1:7]
    keep = Path(sys.argv[7]) if len(sys.argv) > 7 else None
    jax.config.update("jax_num_cpu_devices", int(devices))
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(process), initialization_timeout=120)

    from iml_jax.data import manifest as manifests
    from iml_jax.evaluation import results
    from iml_jax.evaluation.engine.generation import GenerateConfig
    from iml_jax.evaluation.engine.runner import EvaluateConfig, evaluate
    from iml_jax.models.handle import Model
    from support.random_opt import PRE_NORM, on_mesh, random_params

    vocabulary = manifests.load(prepared).vocabulary
    config = dataclasses.replace(PRE_NORM, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens)
    params, mesh = on_mesh(config, random_params(config, np.random.default_rng(5)), 2, 2, 2)
    asked = EvaluateConfig(batch_size=4, generate=GenerateConfig(max_new_tokens=5, batch_size=3))
    found = evaluate(Model(config, params, mesh), prepared, asked, log=print, keep=keep)
    if jax.process_index() == 0:
        results.save(found, output)


if __name__ == "__main__":
    main()
