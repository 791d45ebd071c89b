"""From a configuration to the jobs that are compiled, and from their results to the plan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.foundation.errors import UserError
from iml_jax.planning import analytic_comms, efficiency, roofline, room
from iml_jax.planning.job import DECODE, PREFILL, SCORE, TRAIN, Job
from iml_jax.planning.topology import KINDS, Topology
from iml_jax.training.telemetry import flops_per_step

if TYPE_CHECKING:
    from iml_jax.config import Config
    from iml_jax.data.loader import LoaderConfig
    from iml_jax.evaluation.engine.generation import GenerateConfig
    from iml_jax.evaluation.engine.runner import EvaluateConfig
    from iml_jax.models.sizes import OptConfig
    from iml_jax.parallel.mesh import MeshConfig
    from iml_jax.training.optimizer import OptimizerConfig

PLANNED_STEPS = 1000  # stands for Train.steps where it does not matter: it changes a constant of the schedule


@dataclasses.dataclass(frozen=True)
class Setting:
    """A configuration with everything filled in that a compilation needs."""

    model: OptConfig
    optimizer: OptimizerConfig
    mesh: MeshConfig
    rows: int
    length: int
    accumulation: int
    evaluate: EvaluateConfig
    generate: GenerateConfig


def setting(config: Config) -> Setting:
    """Reads what a plan needs from the configuration; ``Train.run_dir`` and ``prepared_dir`` may be unbound.

    Raises:
      UserError: the vocabulary's or the rows' size is left to a prepared directory that is not named, or a
        value is impossible.
    """
    model: OptConfig = config.build("Model")
    loader: LoaderConfig = config.build("Loader")
    optimizer: OptimizerConfig = config.build("Optimizer")
    evaluate: EvaluateConfig = config.build("Evaluate")
    prepared = config.value("Train", "prepared_dir") or evaluate.prepared_dir
    accumulation = config.value("Train", "accumulation")
    length = loader.length
    if model.vocab_rows == 0 or length == 0:
        if not prepared:
            what = "Model.vocab_rows" if model.vocab_rows == 0 else "Loader.length"
            raise UserError(
                f"{what} is 0, which leaves it to the prepared directory, and none is named: "
                f"give --gin.Train.prepared_dir=DIR or --gin.{what}=NUMBER"
            )
        from iml_jax.data import manifest as manifests
        from iml_jax.training.job import fit_vocabulary

        manifest = manifests.load(Path(prepared))
        model = fit_vocabulary(model, manifest.vocabulary, Path(prepared) / "manifest.json")
        length = length or manifest.length
    model.validate()
    if length > model.max_positions:
        raise UserError(f"Loader.length is {length}, but the model has {model.max_positions} positions")
    if not optimizer.total_steps:
        steps = max(PLANNED_STEPS, optimizer.warmup_steps)
        optimizer = dataclasses.replace(optimizer, total_steps=steps)
    return Setting(
        model, optimizer, config.build("Mesh"), loader.batch_size, length, accumulation, evaluate,
        config.build("Generate") if config.bound("Generate") else evaluate.generate,
    )  # fmt: skip


def job(planned: Setting, topology: Topology, program: str) -> Job:
    """The compilation of one program of a setting."""
    options = {}
    if program != TRAIN:
        options = {
            "score_rows": planned.evaluate.batch_size,
            "write_rows": planned.generate.batch_size,
            "max_new_tokens": planned.generate.max_new_tokens,
            "temperature": planned.generate.temperature,
            "top_k": planned.generate.top_k,
            "top_p": planned.generate.top_p,
        }
    return Job(
        program,
        topology,
        dataclasses.asdict(planned.model),
        dataclasses.asdict(planned.optimizer),
        dataclasses.asdict(planned.mesh),
        planned.rows,
        planned.length,
        planned.accumulation if program == TRAIN else 1,
        options,
    )


def attention_flops(planned: Setting, program: str) -> float:
    """FLOPs of the attention products by formula, all devices: kernels hide them from the compiler's text.

    Causal, so half of the pairs: forward 2 products, backward 5 with the kernels' recomputation of scores,
    each 2 FLOPs a pair and feature, halved; recomputation of whole layers adds a forward pass.
    """
    model = planned.model
    pairs = planned.rows * planned.length**2 * model.hidden * model.layers
    if program == TRAIN:
        return pairs * (2 + 5 + 2 * (model.remat in ("full", "offload")))
    return 2.0 * pairs if program in (SCORE, PREFILL) else 0.0


def model_flops(planned: Setting, program: str) -> float:
    """Model FLOPs of a step, all devices (``telemetry.flops_per_step``)."""
    whole = flops_per_step(planned.model, planned.rows, planned.length)
    return whole if program == TRAIN else whole / 3


def judge(planned: Setting, topology: Topology, program: str, result: dict[str, Any]) -> dict[str, Any]:
    """Adds to a compilation's result what the chip says about it: room, theory, roofline."""
    found = dict(result)
    if result["status"] not in ("compiled", "does_not_fit"):
        return found
    place = room.of(result, KINDS[topology.kind].usable_gib if topology.kind != "cpu" else None)
    if place is not None:
        found["room"] = dataclasses.asdict(place)
    mesh = result["devices"]["mesh"]
    found["needs"] = [
        dataclasses.asdict(need)
        for need in analytic_comms.needs(
            program, planned.model, mesh, planned.rows, planned.length, accumulation=planned.accumulation
        )
    ]
    if "flops" in result:
        flops = result["flops"] + (
            attention_flops(planned, program) / topology.devices if result.get("kernels") else 0.0
        )
        found["total_flops"] = flops
        if program != DECODE:
            found["model_flops"] = model_flops(planned, program)
        estimate = roofline.estimate(
            topology, flops, result["memory_bytes"], result["collectives"], found.get("model_flops", 0.0)
        )
        found["roofline"] = dataclasses.asdict(estimate) if estimate else None
        forecast = efficiency.expected(estimate) if estimate and program == TRAIN else None
        found["expected"] = dataclasses.asdict(forecast) if forecast else None
    return found


def programs(only: str) -> tuple[str, ...]:
    """The programs that ``--only`` leaves."""
    evaluation = (SCORE, PREFILL, DECODE)
    return {"train": (TRAIN,), "evaluate": evaluation}.get(only, (TRAIN, *evaluation))
