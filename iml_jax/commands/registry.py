"""The names that gin files may use: every configurable of the package, imported when it is used."""

from __future__ import annotations

from iml_jax.bench.sources import SOURCES
from iml_jax.config.registry import REGISTRY

# The variants of prompts, as `Mixture.train_prompts` and `Mixture.evaluation_prompts` take them.
PROMPTS: dict[str, str] = {
    "ZeroShot": "iml_jax.bench.variants:ZeroShot",
    "FewShot": "iml_jax.bench.variants:FewShot",
    "MetaICL": "iml_jax.bench.variants:MetaICL",
}
# Gin name -> module:class. Modules are imported only when a name is bound, built or shown.
NAMES: dict[str, str] = {
    "Model": "iml_jax.models.sizes:OptConfig",
    "Mesh": "iml_jax.parallel.mesh:MeshConfig",
    "Compilation": "iml_jax.parallel.compilation:CompilationConfig",
    "Distributed": "iml_jax.parallel.distributed:DistributedConfig",
    "Optimizer": "iml_jax.training.optimizer:OptimizerConfig",
    "Loader": "iml_jax.data.loader:LoaderConfig",
    "Checkpoints": "iml_jax.checkpoints.store:CheckpointConfig",
    "Train": "iml_jax.training.job:TrainConfig",
    "Hooks": "iml_jax.training.hooks:HooksConfig",
    "Telemetry": "iml_jax.training.monitor:TelemetryConfig",
    "Profiler": "iml_jax.training.profiling:ProfilerConfig",
    "Watchdog": "iml_jax.training.watchdog:WatchdogConfig",
    "Evaluate": "iml_jax.evaluation.engine.runner:EvaluateConfig",
    "Generate": "iml_jax.evaluation.engine.generation:GenerateConfig",
    "Prepare": "iml_jax.bench.mixtures:PrepareConfig",
    "Mixture": "iml_jax.bench.mixtures:MixtureConfig",
    "Subset": "iml_jax.bench.subsets:Subset",
    **PROMPTS,
    "Leakage": "iml_jax.bench.leakage:LeakageConfig",
    "Vocabulary": "iml_jax.data.tokenizer:VocabularyConfig",
    **SOURCES,
}

# Old -> new spelling of gin names that have changed since the last release: classes ("Name"), parameters
# ("Name.parameter"). The old ones are read with a warning; the next release removes them.
DEPRECATED: dict[str, str] = {}

REGISTRY.register(NAMES)
REGISTRY.deprecate(DEPRECATED)
