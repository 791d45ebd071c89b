"""The one record that every source yields. Text only."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Demonstration:
    """A solved example that a prompt may show (few-shot)."""

    source: str
    target: str


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One instance of one task, before any prompt formatting.

    Attributes:
      benchmark: name of the meta-dataset, e.g. ``super_natural_instructions``.
      task: name of the task inside the benchmark, as its public distribution spells it.
      example_id: stable id, unique within (task, split, template).
      split: one of ``SPLITS``.
      instruction: task-level instruction; empty for instance-level benchmarks, whose ``source``
        already holds the rendered prompt.
      source: the instance input.
      references: one or more correct targets; the first is trained on.
      options: the candidates of a classification task; empty means the task is generated.
      demonstrations: solved examples, for few-shot prompts.
      template: name of the prompt template that rendered ``source``; empty where there is one only.
      completion: the target continues ``source``, in the middle of a text or sentence: nothing but
        a space comes between them.
    """

    benchmark: str
    task: str
    example_id: str
    split: str
    instruction: str
    source: str
    references: tuple[str, ...]
    options: tuple[str, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    template: str = ""
    completion: bool = False
