"""Made-up evaluations to compare, whose texts try to break the page."""

from __future__ import annotations

import dataclasses

import numpy as np

from iml_jax.evaluation.metrics.levels import template_mean
from iml_jax.evaluation.results import Prediction, Results, TaskScore, TemplateScore

EVIL = "</script><script>alert('x')</script> <img src=x onerror=alert(1)> & \"quoted\" $x_1$"
OPTIONS = ("yes", "no", f"perhaps {EVIL}")
WRITING = f"Writing {EVIL}"
LEVELS = ("fully_held_out", "partially_supervised", "fully_supervised")


def make_results(seed: int, skill: float, *, tasks: int = 6, examples: int = 30, **metadata) -> Results:
    """Tasks over three levels and two categories, every second with two templates.

    Every third writes (Rouge), the others choose, rightly as often as ``skill`` says.
    """
    generator = np.random.default_rng(seed)
    scores, predictions = [], []
    for number in range(tasks):
        chooses = number % 3 != 2
        name = f"bench:task{number}:zero_shot"
        templates = ("", "again") if number % 2 else ("",)
        found = [
            _prediction(generator, (name, str(example), template), chooses, skill)
            for example in range(examples)
            for template in templates
        ]
        predictions += found
        by_template = {}
        for template in templates:
            points = [one.score for one in found if one.template == template]
            by_template[template] = TemplateScore(sum(points) / len(points), len(points))
        scores.append(TaskScore(
            name=name, benchmark="bench", task=f"task{number}", category="Choosing" if chooses else WRITING,
            level=LEVELS[number * 3 // tasks], metric="exact_match" if chooses else "rouge_l", split="test",
            score=template_mean(by_template), templates=by_template, constant_score=33.0,
            constant_answer="yes", examples=len(found), truncated=0, unfinished=0, dropped={},
        ))  # fmt: skip
    facts = {"step": seed, "checkpoint": f"run/checkpoints/{seed}", "manifest_fingerprint": "abc",
             "prefix": "none", "versions": {"jax": "1"}}  # fmt: skip
    return Results({**facts, **metadata}, tuple(scores), tuple(predictions))


def renamed(results: Results, old: str, new: str) -> Results:
    """The same evaluation, in which a task has another name."""
    tasks = (dataclasses.replace(one, name=new) if one.name == old else one for one in results.tasks)
    predictions = (
        dataclasses.replace(one, task=new) if one.task == old else one for one in results.predictions
    )
    return dataclasses.replace(results, tasks=tuple(tasks), predictions=tuple(predictions))


def _prediction(generator, name: tuple[str, str, str], chooses: bool, skill: float) -> Prediction:
    prompt, right = f"prompt {name[1]} {EVIL}", int(name[1]) % 3
    if chooses:
        chosen = right if generator.random() < skill else (right + 1) % 3
        values = generator.gamma(4, 2, 3) * -1 - 1
        values[chosen] = -0.5
        points = 100.0 * (chosen == right)
        references, options = (OPTIONS[right],), OPTIONS
        return Prediction(*name, prompt, OPTIONS[chosen], references, options, tuple(values), points, 0)
    points = float(np.clip(generator.normal(100 * skill, 20), 0, 100))
    text = f"text {generator.integers(5)} {EVIL}"
    return Prediction(*name, prompt, text, ("text 1", EVIL), (), (), points, 0)
