"""A sample of the shared examples with every model's answer, for the page of ``iml report``."""

from __future__ import annotations

import random
from collections.abc import Sequence

from iml_jax.data.manifest import LEVELS
from iml_jax.evaluation.metrics.levels import TITLES
from iml_jax.evaluation.pages.compare import Comparison, Shared
from iml_jax.evaluation.pages.markup import attributes, cells, clip, name_of, table, text
from iml_jax.evaluation.results import Prediction

MOST_EXAMPLES = 1500  # on one page: a few megabytes, however many tasks there are
PROMPT, ANSWER, OPTION = 900, 600, 160  # characters shown
OPTIONS = 12  # options shown


def render(found: Comparison, per_task: int) -> str:
    """One fold a task, with its sample and how many examples are left out."""
    per_task = max(1, min(per_task, MOST_EXAMPLES // len(found.shared)))
    order = sorted(found.shared, key=lambda name: (LEVELS.index(found.place[name][0]), found.place[name][1]))
    parts, level = [], ""
    shown = order[:MOST_EXAMPLES]
    for name in shown:
        if found.place[name][0] != level:
            level = found.place[name][0]
            parts.append(f"<h3 {attributes(level=level)}>{text(TITLES[level])}</h3>")
        parts.append(_fold(found, name, per_task))
    if len(order) > len(shown):
        parts.append(f"<p class='note'>{len(order) - len(shown):,} further tasks are not shown here.</p>")
    about = (
        f"Up to {per_task} examples a task, drawn by chance: half of them, where there are as many, from "
        "those with other points, the rest from all. Every answer is in the .predictions.jsonl of each file."
    )
    return f"<p class='note'>{text(about)}</p>{''.join(parts)}"


def sample(shared: Sequence[Shared], count: int, seed: str) -> list[Shared]:
    """Half from the examples whose points differ, the rest from all others; in their order; repeatable."""
    draw = random.Random(seed)
    other_points = [i for i, one in enumerate(shared) if len({answer.score for answer in one.answers}) > 1]
    chosen = set(draw.sample(other_points, min(len(other_points), (count + 1) // 2)))
    rest = [i for i in range(len(shared)) if i not in chosen]
    chosen.update(draw.sample(rest, min(len(rest), count - len(chosen))))
    return [shared[i] for i in sorted(chosen)]


def _fold(found: Comparison, name: str, per_task: int) -> str:
    shared = found.shared[name]
    level, category = found.place[name]
    shown = sample(shared, per_task, name)
    different = sum(one.differs for one in shared)
    counts = f"{len(shown)} of {len(shared):,} examples; {different:,} answered otherwise"
    same = "" if any(one.differs for one in shown) else " class='same'"
    cards = "".join(_card(found, one) for one in shown)
    return (
        f"<details{same} {attributes(level=level, category=category, task=name)}><summary>"
        f"<b>{name_of(name)}</b> <span class='note'>{text(category)} · {counts}</span></summary>"
        f"{cards}</details>"
    )


def _card(found: Comparison, shared: Shared) -> str:
    first = shared.answers[0]
    template = f" · template {first.template}" if first.template else ""
    prompts = "".join(
        f"<pre>{text(clip(prompt, PROMPT, end=True))}</pre>"
        for prompt in dict.fromkeys(one.prompt for one in shared.answers)
    )
    verdicts = "".join(
        f"<tr><th>{text(source.letter)}</th>"
        f"<td>{text(clip(one.prediction, ANSWER)) or '<i>(nothing)</i>'}</td>"
        f"<td class='n'>{one.score:.1f}</td></tr>"
        for source, one in zip(found.sources, shared.answers, strict=True)
    )
    expected = text(clip(" / ".join(first.references), ANSWER))
    return (
        f"<article class='answer{'' if shared.differs else ' same'}'>"
        f"<p class='note'>{text(first.example_id)}{text(template)}</p>{prompts}"
        f"<p><b>Expected:</b> {expected}</p><table class='verdicts'><thead><tr><th></th><th>answer</th>"
        f"<th class='n'>points</th></tr></thead><tbody>{verdicts}</tbody></table>"
        f"{_options(found, shared)}</article>"
    )


def _options(found: Comparison, shared: Shared) -> str:
    """Each model's log-likelihood of each option, the chosen ones and the right ones marked."""
    options = shared.answers[0].options
    if not options or any(one.options != options for one in shared.answers):
        return ""
    right = set(shared.answers[0].references)
    order = sorted(range(len(options)), key=lambda i: (options[i] not in right, -_best(shared.answers, i)))
    rows = []
    for i in order[:OPTIONS]:
        values = [
            (f"{one.log_likelihoods[i]:.2f}", "n strong" if one.prediction == options[i] else "n")
            if i < len(one.log_likelihoods)
            else ("–", "n")
            for one in shared.answers
        ]
        label = text(clip(options[i], OPTION)) + (" <b>✓</b>" if options[i] in right else "")
        rows.append(cells([(label, ""), *values]))
    heads = [("option, log-likelihood in nats", ""), *((source.letter, "n") for source in found.sources)]
    more = f"<p class='note'>{len(options) - OPTIONS:,} more options</p>" if len(options) > OPTIONS else ""
    return table(heads, rows, "options") + more


def _best(answers: Sequence[Prediction], option: int) -> float:
    return max(
        (one.log_likelihoods[option] for one in answers if option < len(one.log_likelihoods)), default=0
    )
