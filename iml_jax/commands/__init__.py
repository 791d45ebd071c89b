"""The commands of ``iml``: name -> module and help line, importing none of them."""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType

from iml_jax.commands import registry  # noqa: F401  gin files may use its names from here on


@dataclasses.dataclass(frozen=True)
class Command:
    """One command; ``help`` equals the module's ``HELP``, repeated here so that listing imports nothing."""

    name: str
    help: str

    def load(self) -> ModuleType:
        """Imports the command's module, which has ``HELP``, ``CONFIGS`` and ``run(arguments, config)``."""
        return importlib.import_module(f"iml_jax.commands.{self.name}")


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "prepare", "Turn task files into a directory of tokenised, cached tasks and a mixture table."
        ),
        Command("plan", "Compile a run for a TPU slice that is not at hand: does it fit, and how fast."),
        Command("train", "Instruction-tune a model on a prepared directory; resumes where it stopped."),
        Command("evaluate", "Score a checkpoint on held-out tasks, per task, category and level."),
        Command("report", "Compare evaluations example by example: tables and one HTML page."),
        Command("generate", "Answer prompts with a checkpoint."),
        Command("convert", "Convert checkpoints between Orbax and PyTorch (Hugging Face)."),
        Command("tasks", "List the tasks that the sources offer, with category, role and metric."),
        Command(
            "leakage", "Audit a prepared directory for 13-gram overlap between training and evaluation tasks."
        ),
    )
}
