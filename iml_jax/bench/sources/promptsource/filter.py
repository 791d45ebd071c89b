"""Which templates of PromptSource turn their dataset into another task.

OPT-IML leaves such templates out of training and evaluation alike (section 2.3: question answering that is
turned into question generation, say); its list, made by hand, was not published. A template says of itself
whether it asks for what the dataset was made for (``original_task``), and that decides, but for two cases
that ``filtered_templates.tsv`` lists. Templates marked wrongly: they ask for the dataset's own
answer as their neighbours do, or they write explanations of a dataset of questions or claims. And datasets
none of whose templates is marked: what they ask for is all that PromptSource makes of them (OPT-IML
evaluates Blended Skill Talk, one of these), and only the templates that leave the dataset's category are
removed.

The table names every template of 256 datasets of commit 7dab96a (and of CrowS-Pairs) that is not marked as
the original task, or that is removed: with its decision (``removed``, ``kept``) and why. Templates without a
row go by what they say; where a dataset has none that is marked or kept, all are used that are not removed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.storage import tables

TABLE = Path(__file__).with_name("filtered_templates.tsv")
REMOVED, KEPT = "removed", "kept"


@functools.cache
def decisions() -> dict[tuple[str, str], tuple[str, str]]:
    """(task, template) -> (``removed`` or ``kept``, reason)."""
    return {
        (task_name(row["dataset"], row["subset"]), row["template"]): (row["decision"], row["reason"])
        for row in tables.rows(TABLE)
    }


def task_name(dataset: str, subset: str) -> str:
    """``DATASET`` or ``DATASET/SUBSET``."""
    return f"{dataset}/{subset}" if subset else dataset


def asking_for_the_task(task: str, templates: Sequence[PromptTemplate]) -> tuple[PromptTemplate, ...]:
    """Those of a dataset's templates that ask for what it is used for."""
    made = [decisions().get((task, template.name), ("", ""))[0] for template in templates]
    pairs = tuple(zip(templates, made, strict=True))
    own = tuple(t for t, decision in pairs if decision == KEPT or (t.original_task and decision != REMOVED))
    return own or tuple(template for template, decision in pairs if decision != REMOVED)


def flat(text: str) -> str:
    """A name as P3 spells it: what is no letter, digit or underscore is an underscore."""
    return re.sub(r"\W+", "_", text)


def spelling(text: str) -> str:
    """What all spellings of a P3 name share: exporters keep or cut the underscore of a final "?" or space."""
    return re.sub(r"[\W_]+", "_", text).strip("_")


@functools.cache
def tabulated() -> frozenset[str]:
    """The tasks that have a row in the table."""
    return frozenset(task for task, _ in decisions())


@functools.cache
def removed_prompts() -> frozenset[str]:
    """The spellings of P3's names of the removed templates, ``DATASET_SUBSET_TEMPLATE``."""
    removed = (key for key, (decision, _) in decisions().items() if decision == REMOVED)
    return frozenset(spelling(f"{task}_{template}") for task, template in removed)
