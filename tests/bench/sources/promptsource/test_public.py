"""The public templates, rows and rendered prompts: nothing lost, and rendered as PromptSource does it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gzip
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.base import OTHER_TASK
from iml_jax.bench.sources.formats.shortening import lost
from iml_jax.bench.sources.promptsource.filter import KEPT, REMOVED, asking_for_the_task, decisions, flat
from iml_jax.bench.sources.promptsource.rendering import Rendered, Renderer
from iml_jax.bench.sources.promptsource.rows import batches, rendered
from iml_jax.bench.sources.promptsource.source import PromptSource
from iml_jax.bench.sources.promptsource.template_pool import TemplateSet
from iml_jax.bench.sources.promptsource.templates import PromptTemplate, load_templates

ESCAPE = "3ed2dface8203c4c9dfb1a5dc58e41e0"
RANDOM = re.compile(r"\|\s*(choice|random)\b")


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "promptsource"


def _source(folder: Path, **settings: Any) -> PromptSource:
    data, templates = str(folder / "hf_jsonl"), str(folder / "templates")
    return PromptSource(data, templates, role_table=str(folder / "meta" / "t0_datasets.csv"), **settings)


def _library() -> jinja2.Environment:
    """The environment of promptsource/templates.py, but for its random filter."""
    environment = jinja2.Environment(loader=jinja2.BaseLoader())
    environment.globals.update(zip=zip)

    def most_frequent(items: Any) -> Any:
        counts = collections.Counter(items).most_common() if items else ()
        return [item for item, count in counts if count == counts[0][1]] if items else None

    environment.filters["highlight"] = lambda text: f"<span style='color: #F08080'>{text}</span>"
    environment.filters["most_frequent"] = most_frequent
    environment.filters["choice"] = environment.filters["random"]
    return environment


@functools.lru_cache(maxsize=4096)
def _compiled(environment: jinja2.Environment, source: str) -> jinja2.Template:
    return environment.from_string(source)


def _applied(
    environment: jinja2.Environment, template: PromptTemplate, row: dict[str, Any]
) -> list[str] | None:
    """``Template.apply``; None where it raises."""
    compiled = functools.partial(_compiled, environment)
    escaped = {
        key: value.replace("|||", ESCAPE) if isinstance(value, str) else value for key, value in row.items()
    }
    body = template.jinja.replace("}}", " | string | truncate(2048) }}")
    try:
        choices = None
        if template.answer_choices:
            text = compiled(template.answer_choices).render(**escaped)
            choices = [choice.strip().replace(ESCAPE, "|||") for choice in text.split("|||")]
        text = compiled(body).render(**escaped, answer_choices=choices)
    except (jinja2.TemplateError, TypeError, LookupError, ValueError):
        return None
    return [part.replace(ESCAPE, "|||").strip() for part in text.split("|||")]


def _rendered(
    source: PromptSource, rows: int, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, PromptTemplate, dict[str, Any], Any]]:
    """(task, template, row, what we make of it) of the first rows of every split."""
    for task in source.tasks():
        if only and task.task not in only:
            continue
        path = source._template_file(task.task)
        templates = load_templates(path) if task.splits else ()
        with TemplateSet(templates, path, source.value_limit) as rendering:
            seed_of = source._seed_of(task, templates)
            for split in task.splits:
                for batch in batches(itertools.islice(source._rows(task, split), rows)):
                    usable = [row for row in batch if not row.unusable]
                    outcomes_of = rendered(rendering, usable, range(len(templates)), seed_of)
                    for row, (_, outcomes) in zip(usable, outcomes_of, strict=True):
                        for template, made in zip(templates, outcomes, strict=True):
                            yield task.task, template, row.row, made


def test_rendered_as_the_library_renders(folder: Path) -> None:
    environment = _library()
    same = without = 0
    for task, template, row, made in _rendered(_source(folder, original_task_only=False), rows=8):
        if RANDOM.search(template.jinja) or RANDOM.search(template.answer_choices):
            continue
        parts = _applied(environment, template, row)
        if parts is None or not parts[0] or not any(parts[1:]):
            assert isinstance(made, str), (task, template.name)
            without += 1
        else:
            assert isinstance(made, Rendered), (task, template.name, made)
            assert made.prompt == parts[0]
            assert made.references == tuple(dict.fromkeys(part for part in parts[1:] if part))
            same += 1
    assert same > 1500
    assert without > 150


def test_rendered_as_p3_was(folder: Path) -> None:
    """Where P3 has the same row: its prompts and targets, character by character."""
    published: dict[str, dict[str, set[str]]] = {}
    for path in (folder / "p3_rendered").iterdir():
        prompts = published.setdefault(path.name.removesuffix(".jsonl.gz"), collections.defaultdict(set))
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                prompts[row["prompt"].strip()].add(row["completion"].removesuffix("<|endoftext|>").strip())
    found: collections.Counter[str] = collections.Counter()
    source = _source(folder, original_task_only=False)
    # TREC's completions are empty there; a question of Cosmos QA alone stands for many rows.
    for task, template, _, made in _rendered(source, rows=400, only=("commonsense_qa", "glue/qqp")):
        targets = published.get(flat(f"{task}_{template.name}"), {})
        if isinstance(made, Rendered) and made.prompt in targets:
            assert made.references[0] in targets[made.prompt]
            found[task] += 1
    assert found == {"commonsense_qa": 200, "glue/qqp": 6}


@pytest.mark.slow
def test_every_row_with_every_template_is_an_example_or_counted(folder: Path) -> None:
    source = _source(folder)
    total: collections.Counter[str] = collections.Counter()
    empty = []
    tasks = source.tasks()
    assert len(tasks) == 21
    assert [task.task for task in tasks if not task.splits] == ["gsm8k/main"]  # no templates upstream
    for task in tasks:
        templates = dataclasses.replace(source, original_task_only=False).templates(task)
        for split in task.splits:
            skipped: collections.Counter[str] = collections.Counter()
            examples = 0
            for example in source.examples(task, split, skipped):
                examples += 1
                assert example.source and example.references
                if task.metric == "accuracy" and split != "train":
                    assert example.references[0] in example.options
            rows = sum(1 for _ in source._rows(task, split))
            gone = lost(skipped)  # shortened prompts are examples all the same
            assert rows * templates == examples + sum(gone.values()), (task.task, split)
            total.update(gone, rows=rows, examples=examples)
            empty += [(task.task, split)] * (not examples)
    assert total == {
        "rows": 10_937,
        "examples": 72_526,
        "template without answer choices (the task is scored by accuracy)": 508,
        OTHER_TASK: 18_766,
        "template does not apply to every example": 400,  # super_glue/copa: cause or effect
        "target is not among the answer choices": 88,  # commonsense_qa: the fifth of four options
    }
    assert not empty
    # These have a test split that was published without labels (or, for commonsense_qa, without answers).
    for task in ("commonsense_qa", "piqa", "super_glue/boolq", "super_glue/rte"):
        assert "test" in source._dataset(task).splits
        assert next(info.splits[-1] for info in tasks if info.task == task) == "validation"


def test_every_public_template(folder: Path) -> None:
    source = _source(folder)
    known = source.known()
    assert len(known) == 256
    assert {row.task for row in known_tasks.every("promptsource")} >= set(known)
    templates = used = said = 0
    listed = {key for key in decisions() if key[0] != "crows_pairs"}  # not among these
    for task in known:
        path = source._template_file(task)
        found = load_templates(path)
        used += len(asking_for_the_task(task, found))
        for template in found:
            Renderer(template, path, 2048)  # compiles
            templates += 1
            said += template.original_task
            if (task, template.name) not in listed:
                assert template.original_task, (task, template.name)
            listed.discard((task, template.name))
    assert not listed  # no row of the table is of a template that is not there
    made = [decision for (task, _), (decision, _) in decisions().items() if task != "crows_pairs"]
    counts = (made.count(KEPT), made.count(REMOVED))
    assert (templates, said, used, *counts) == (1897, 1399, 1481, 93, 416)
    assert used == templates - made.count(REMOVED)
    # Every dataset keeps a template: OPT-IML counts them all as tasks.
    assert all(source._chosen(task) for task in known)
